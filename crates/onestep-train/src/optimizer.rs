//! AdamW with state that can be saved: burn's arithmetic, our bookkeeping.
//!
//! Each parameter is stepped as a flat vector, so that the moments of all ranks are kept alike and written to one safetensors file.

use burn::module::{Module, ModuleMapper, Param};
use burn::optim::{AdamW, AdamWConfig, AdamWState, AdaptiveMomentumState, Optimizer as _};
use burn::tensor::{Device, Gradients, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::{
    error::TrainError,
    parameters::replace,
    store::{read_tensors, tensor_bytes},
};

/// The constants of AdamW (Loshchilov and Hutter 2019) and of clipping.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimizerOptions {
    /// Step size after the warm-up.
    pub learning_rate: f64,
    /// Steps over which the rate rises linearly from 0.
    pub warmup_steps: u64,
    /// Fraction of the run, at its end, over which the rate falls linearly to 0.
    pub decay_fraction: f64,
    /// Decay of the first moment.
    pub beta_1: f32,
    /// Decay of the second moment.
    pub beta_2: f32,
    /// Decoupled weight decay.
    pub weight_decay: f32,
    /// Largest norm of all gradients together.
    pub clip_norm: f64,
}

impl Default for OptimizerOptions {
    fn default() -> Self {
        Self { learning_rate: 1e-3, warmup_steps: 200, decay_fraction: 0.2, beta_1: 0.9, beta_2: 0.999, weight_decay: 0.01, clip_norm: 1.0 }
    }
}

/// The decays of the moments in a saved state, which may have changed on the way.
const DECAYS: &str = "decays";

/// AdamW over one module.
pub struct Optimizer {
    options: OptimizerOptions,
    rule: AdamW,
    states: Vec<Option<AdamWState<1>>>,
}

impl Optimizer {
    /// A fresh state.
    pub fn new(options: OptimizerOptions) -> Self {
        Self { rule: rule(&options), options, states: Vec::new() }
    }

    /// The rate at step `step` of `steps`: warm-up, constant, linear decay.
    pub fn rate(&self, step: u64, steps: u64) -> f64 {
        let warm = ((step + 1) as f64 / self.options.warmup_steps.max(1) as f64).min(1.0);
        let tail = self.options.decay_fraction * steps as f64;
        let left = if tail > 0.0 { ((steps - step) as f64 / tail).min(1.0) } else { 1.0 };
        self.options.learning_rate * warm.min(left)
    }

    /// From now on with other decays of the moments.
    ///
    /// What the moments stand for stays: AdamW divides them by `1 − β^t`, which jumps with β. Taken over as they are, second moments that
    /// were gathered slowly would seem much too small, and the steps would be several times too long.
    pub fn set_decays(&mut self, beta_1: f32, beta_2: f32) {
        let old = (self.options.beta_1, self.options.beta_2);
        if (beta_1, beta_2) == old {
            return;
        }
        self.options = OptimizerOptions { beta_1, beta_2, ..self.options.clone() };
        self.rule = rule(&self.options);
        for state in self.states.iter_mut().flatten() {
            let momentum = state.momentum.clone();
            let gathered = |beta: f32| 1.0 - f64::from(beta).powf(momentum.time as f64);
            state.momentum = AdaptiveMomentumState::new(
                momentum.time,
                momentum.moment_1.mul_scalar(gathered(beta_1) / gathered(old.0)),
                momentum.moment_2.mul_scalar(gathered(beta_2) / gathered(old.1)),
            );
        }
    }

    /// One update; returns the module and the norm of its gradients before clipping. Gradients that are not finite change nothing, and the
    /// norm says so.
    pub fn step<M: Module>(&mut self, module: M, gradients: FlatGradients, rate: f64) -> (M, f64) {
        let norm = gradients.norm();
        if !norm.is_finite() {
            return (module, norm);
        }
        let factor = if norm > self.options.clip_norm { self.options.clip_norm / norm } else { 1.0 };
        self.states.resize_with(gradients.0.len(), || None);
        let mut update = Update { rule: &self.rule, rate, factor, gradients: gradients.0.into_iter(), states: self.states.iter_mut() };
        (module.map(&mut update), norm)
    }

    /// The moments and counters as one safetensors file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut tensors = Vec::new();
        for (index, state) in self.states.iter().enumerate() {
            if let Some(state) = state {
                let values = |tensor: &Tensor<1>| tensor.to_data().try_to_vec::<f32>().unwrap_or_default();
                tensors.push((format!("{index:05}.moment_1"), values(&state.momentum.moment_1)));
                tensors.push((format!("{index:05}.moment_2"), values(&state.momentum.moment_2)));
                // Steps below 2^24 are exact in f32.
                tensors.push((format!("{index:05}.time"), vec![state.momentum.time as f32]));
            }
        }
        tensors.push((DECAYS.into(), vec![self.options.beta_1, self.options.beta_2]));
        let tensors: Vec<_> = tensors.into_iter().map(|(name, data)| (name, vec![data.len()], data)).collect();
        tensor_bytes(&tensors, &[("parameters", self.states.len().to_string())])
    }

    /// Takes up the state that [`Optimizer::to_bytes`] wrote.
    ///
    /// # Errors
    /// Bytes that are not such a file.
    pub fn load(&mut self, bytes: &[u8], device: &Device) -> Result<(), TrainError> {
        let tensors = read_tensors(bytes, "state/optimizer.safetensors")?;
        let broken = |name: &str| {
            TrainError::input(format!("state/optimizer.safetensors has no {name}: the checkpoint is not of this command; start from an older one"))
        };
        if let Some((_, decays)) = tensors.get(DECAYS)
            && let &[beta_1, beta_2] = decays.as_slice()
        {
            self.options = OptimizerOptions { beta_1, beta_2, ..self.options.clone() };
            self.rule = rule(&self.options);
        }
        let count = tensors.keys().filter_map(|name| name.get(..5)?.parse::<usize>().ok()).max().map_or(0, |last| last + 1);
        self.states = (0..count).map(|_| None).collect();
        for (index, state) in self.states.iter_mut().enumerate() {
            let Some((_, moment_1)) = tensors.get(&format!("{index:05}.moment_1")) else { continue };
            let name = format!("{index:05}.moment_2");
            let (_, moment_2) = tensors.get(&name).ok_or_else(|| broken(&name))?;
            let name = format!("{index:05}.time");
            let time = tensors.get(&name).and_then(|(_, data)| data.first()).ok_or_else(|| broken(&name))?;
            let tensor = |data: &Vec<f32>| Tensor::<1>::from_data(TensorData::new(data.clone(), [data.len()]), device);
            let momentum = AdaptiveMomentumState::new(*time as usize, tensor(moment_1), tensor(moment_2));
            *state = Some(AdamWState::new(momentum));
        }
        Ok(())
    }
}

fn rule(options: &OptimizerOptions) -> AdamW {
    AdamWConfig::new().with_beta_1(options.beta_1).with_beta_2(options.beta_2).with_epsilon(1e-8).with_weight_decay(options.weight_decay).build()
}

/// The gradients of a module's parameters, each flat, in the module's own order; none where a parameter has none.
#[derive(Default)]
pub struct FlatGradients(Vec<Option<Tensor<1>>>);

impl FlatGradients {
    /// Takes those of `module` out of a backward pass.
    pub fn take<M: Module>(module: &M, gradients: &mut Gradients) -> Self {
        let mut collect = Collect { gradients, flat: Vec::new() };
        module.visit(&mut collect);
        Self(collect.flat)
    }

    /// The sum of two backward passes; an empty one is zero.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        if self.0.is_empty() {
            return other;
        }
        let sum = |pair| match pair {
            (Some(a), Some(b)) => Some(a + b),
            (a, b) => a.or(b),
        };
        Self(self.0.into_iter().zip(other.0).map(sum).collect())
    }

    /// The norm of all together.
    pub fn norm(&self) -> f64 {
        let squares: Vec<Tensor<1>> = self.0.iter().flatten().map(|gradient| gradient.clone().square().sum()).collect();
        if squares.is_empty() { 0.0 } else { f64::from(Tensor::cat(squares, 0).sum().into_scalar::<f32>()).sqrt() }
    }
}

/// Takes each parameter's gradient, flat, out of the gradients.
struct Collect<'a> {
    gradients: &'a mut Gradients,
    flat: Vec<Option<Tensor<1>>>,
}

impl burn::module::ModuleVisitor for Collect<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let gradient = param.val().grad_remove(self.gradients);
        self.flat.push(gradient.map(|gradient| {
            let elements = gradient.shape().num_elements();
            gradient.reshape([elements])
        }));
    }
}

struct Update<'a> {
    rule: &'a AdamW,
    rate: f64,
    factor: f64,
    gradients: std::vec::IntoIter<Option<Tensor<1>>>,
    states: std::slice::IterMut<'a, Option<AdamWState<1>>>,
}

impl ModuleMapper for Update<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (Some(gradient), Some(state)) = (self.gradients.next(), self.states.next()) else { return param };
        let Some(gradient) = gradient else { return param };
        let gradient = if self.factor == 1.0 { gradient } else { gradient.mul_scalar(self.factor) };
        let value = param.val().inner();
        let elements = value.shape().num_elements();
        let (value, next) = self.rule.step(self.rate, value.reshape([elements]), gradient, state.take());
        *state = next;
        replace(param, value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Module, Debug)]
    struct One {
        w: Param<Tensor<1>>,
    }

    /// The derivative of the loss is always 0.01, so each step of AdamW is as long as its rate, whatever the decays.
    fn stepped(one: One, optimizer: &mut Optimizer) -> (One, f64) {
        let before = f64::from(one.w.val().into_scalar::<f32>());
        let gradients = FlatGradients::take(&one, &mut one.w.val().mul_scalar(0.01).sum().backward());
        let (one, _) = optimizer.step(one, gradients, 1e-3);
        let after = f64::from(one.w.val().into_scalar::<f32>());
        (one, before - after)
    }

    #[test]
    fn other_decays_change_no_step_s_length_and_are_kept() {
        let device = Device::flex().autodiff();
        let options = OptimizerOptions { weight_decay: 0.0, ..OptimizerOptions::default() };
        let mut one = One { w: Param::from_tensor(Tensor::from_data([1.0], &device)) };
        let mut optimizer = Optimizer::new(options.clone());
        let mut length = 0.0;
        for _ in 0..40 {
            (one, length) = stepped(one, &mut optimizer);
        }
        assert!((length - 1e-3).abs() < 2e-5, "{length}");
        optimizer.set_decays(0.0, 0.99);
        (one, length) = stepped(one, &mut optimizer);
        assert!((length - 1e-3).abs() < 2e-5, "{length}");

        let mut resumed = Optimizer::new(options);
        resumed.load(&optimizer.to_bytes(), &device.inner()).unwrap();
        resumed.set_decays(0.0, 0.99);
        assert_eq!(resumed.to_bytes(), optimizer.to_bytes());
        drop(one);
    }
}
