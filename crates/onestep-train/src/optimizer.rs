//! AdamW with state that can be saved: burn's arithmetic, our bookkeeping.
//!
//! All parameters are stepped as one flat vector: a network of some hundred small tensors would otherwise spend most of a step, on a GPU, on
//! starting the update's few thousand kernels.

use burn::module::{Module, Param};
use burn::optim::{AdamW, AdamWConfig, AdamWState, AdaptiveMomentumState, Optimizer as _};
use burn::tensor::{Device, Gradients, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::{
    error::{Rule, TrainError},
    parameters::with_flat,
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

impl OptimizerOptions {
    /// What must hold for something to be trained with them; `rate` is the flag of the step size.
    pub fn rules(&self, rate: &str) -> Vec<Rule> {
        let decay = |beta: f32| (0.0..1.0).contains(&beta);
        vec![
            (format!("{rate} {}", self.learning_rate), self.learning_rate.is_finite() && self.learning_rate > 0.0, "a number above 0"),
            (format!("--decay-fraction {}", self.decay_fraction), (0.0..=1.0).contains(&self.decay_fraction), "a share from 0 to 1"),
            (format!("beta_1 = {}", self.beta_1), decay(self.beta_1), "a number from 0 to below 1"),
            (format!("beta_2 = {}", self.beta_2), decay(self.beta_2), "a number from 0 to below 1"),
            (format!("weight_decay = {}", self.weight_decay), self.weight_decay.is_finite() && self.weight_decay >= 0.0, "a number of at least 0"),
            (format!("clip_norm = {}", self.clip_norm), self.clip_norm > 0.0, "a number above 0"),
        ]
    }
}

/// The decays of the moments in a saved state, which may have changed on the way.
const DECAYS: &str = "decays";
/// See [`DECAYS`].
const MOMENTS: [&str; 2] = ["moment_1", "moment_2"];
/// See [`DECAYS`].
const TIME: &str = "time";

/// AdamW over one module.
pub struct Optimizer {
    options: OptimizerOptions,
    rule: AdamW,
    state: Option<AdamWState<1>>,
}

impl Optimizer {
    /// A fresh state.
    pub fn new(options: OptimizerOptions) -> Self {
        Self { rule: rule(&options), options, state: None }
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
        if let Some(state) = &mut self.state {
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
    /// norm says so. A parameter that the loss does not depend on has a gradient of zero.
    pub fn step<M: Module>(&mut self, module: M, gradients: FlatGradients, rate: f64) -> (M, f64) {
        let mut values = Values { gradients: gradients.0.into_iter(), values: Vec::new(), found: Vec::new() };
        module.visit(&mut values);
        if values.values.is_empty() {
            return (module, 0.0);
        }
        let gradient = Tensor::cat(values.found, 0);
        let norm = f64::from(gradient.clone().square().sum().into_scalar::<f32>()).sqrt();
        if !norm.is_finite() {
            return (module, norm);
        }
        let gradient = if norm > self.options.clip_norm { gradient.mul_scalar(self.options.clip_norm / norm) } else { gradient };
        let (values, next) = self.rule.step(rate, Tensor::cat(values.values, 0), gradient, self.state.take());
        self.state = next;
        (with_flat(module, values, |is_trained| is_trained), norm)
    }

    /// The moments and counters as one safetensors file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut tensors = Vec::new();
        if let Some(AdamWState { momentum }) = &self.state {
            for (name, moment) in MOMENTS.into_iter().zip([&momentum.moment_1, &momentum.moment_2]) {
                tensors.push((name.to_owned(), moment.to_data().try_to_vec::<f32>().unwrap_or_default()));
            }
            // Steps below 2^24 are exact in f32.
            tensors.push((TIME.into(), vec![momentum.time as f32]));
        }
        tensors.push((DECAYS.into(), vec![self.options.beta_1, self.options.beta_2]));
        let tensors: Vec<_> = tensors.into_iter().map(|(name, data)| (name, vec![data.len()], data)).collect();
        tensor_bytes(&tensors)
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
        self.state = None;
        if tensors.keys().any(|name| name != DECAYS) {
            let of = |name: &str| tensors.get(name).map(|(_, data)| data).ok_or_else(|| broken(name));
            let moment = |name| of(name).map(|data| Tensor::<1>::from_data(TensorData::new(data.clone(), [data.len()]), device));
            let time = of(TIME)?.first().copied().ok_or_else(|| broken(TIME))?;
            self.state = Some(AdamWState::new(AdaptiveMomentumState::new(time as usize, moment(MOMENTS[0])?, moment(MOMENTS[1])?)));
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

/// The parameters that are trained, and their gradients, each flat.
struct Values {
    gradients: std::vec::IntoIter<Option<Tensor<1>>>,
    values: Vec<Tensor<1>>,
    found: Vec<Tensor<1>>,
}

impl burn::module::ModuleVisitor for Values {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let gradient = self.gradients.next().flatten();
        if param.is_require_grad() {
            let value = param.val().inner();
            let elements = value.shape().num_elements();
            self.found.push(gradient.unwrap_or_else(|| Tensor::zeros([elements], &value.device())));
            self.values.push(value.reshape([elements]));
        }
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

    #[derive(Module, Debug)]
    struct Three {
        first: Param<Tensor<2>>,
        unused: Param<Tensor<1>>,
        last: Param<Tensor<3>>,
    }

    /// Each parameter by itself, in f64, as the paper has it.
    #[test]
    fn parameters_are_stepped_as_if_each_were_alone() {
        let device = Device::flex().autodiff();
        let tensor = |first: f32, count: usize| TensorData::new((0..count).map(|i| first + 0.1 * i as f32).collect::<Vec<_>>(), [count]);
        let mut net = Three {
            first: Param::from_tensor(Tensor::<1>::from_data(tensor(0.5, 6), &device).reshape([2, 3])),
            unused: Param::from_tensor(Tensor::from_data(tensor(2.0, 2), &device)),
            last: Param::from_tensor(Tensor::<1>::from_data(tensor(-1.0, 4), &device).reshape([1, 2, 2])),
        };
        let options = OptimizerOptions { weight_decay: 0.1, clip_norm: 0.5, ..OptimizerOptions::default() };
        let (decay, rate, [beta_1, beta_2]) = (0.1, 1e-2, [0.9f64, 0.999]);
        let mut optimizer = Optimizer::new(options);
        let start = [tensor(0.5, 6), tensor(2.0, 2), tensor(-1.0, 4)].map(|data| data.try_to_vec::<f32>().unwrap());
        let mut expected: Vec<f64> = start.concat().into_iter().map(f64::from).collect();
        let mut moments = vec![[0.0f64; 2]; expected.len()];
        for time in 1..6 {
            // Loss: Σ first² + Σ last³.
            let loss = net.first.val().square().sum() + net.last.val().powf_scalar(3.0).sum();
            let gradients = FlatGradients::take(&net, &mut loss.backward());
            let norm;
            (net, norm) = optimizer.step(net, gradients, rate);
            let slope = |place: usize, w: f64| {
                if place < 6 {
                    2.0 * w
                } else if place < 8 {
                    0.0
                } else {
                    3.0 * w * w
                }
            };
            let slopes: Vec<f64> = expected.iter().enumerate().map(|(place, &w)| slope(place, w)).collect();
            let length = slopes.iter().map(|slope| slope * slope).sum::<f64>().sqrt();
            assert!((norm - length).abs() < 1e-4 * length, "{norm} {length}");
            for ((w, moment), slope) in expected.iter_mut().zip(&mut moments).zip(slopes) {
                let slope = slope * (0.5 / length).min(1.0);
                *moment = [beta_1 * moment[0] + (1.0 - beta_1) * slope, beta_2 * moment[1] + (1.0 - beta_2) * slope * slope];
                let (first, second) = (moment[0] / (1.0 - beta_1.powi(time)), moment[1] / (1.0 - beta_2.powi(time)));
                *w -= rate * (first / (second.sqrt() + 1e-8) + decay * *w);
            }
        }
        let found: Vec<f32> = crate::parameters::flat(&net).into_iter().flat_map(|value| value.to_data().try_to_vec::<f32>().unwrap()).collect();
        for (found, expected) in found.iter().zip(&expected) {
            assert!((f64::from(*found) - expected).abs() < 1e-5, "{found} {expected}");
        }
        assert_eq!(net.last.val().dims(), [1, 2, 2]);
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
