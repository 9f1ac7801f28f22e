//! burn's AdamW with a state that can be saved.
//!
//! All parameters are updated as one flat vector. Otherwise a network of some hundred small tensors would spend most of a step on a GPU on
//! launching the few thousand kernels of the update.

use burn::module::{Module, Param};
use burn::optim::{AdamW, AdamWConfig, AdamWState, AdaptiveMomentumState, Optimizer as _};
use burn::tensor::{Device, Gradients, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::{
    error::{Rule, TrainError},
    parameters::with_flat,
    store::{read_tensors, tensor_bytes},
};

/// Options of AdamW (Loshchilov and Hutter 2019), its learning rate schedule and gradient clipping.
#[derive(Clone, Debug, PartialEq, clap::Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimizerOptions {
    /// Learning rate after the warm-up.
    #[arg(long)]
    pub learning_rate: f64,
    /// Steps over which the learning rate rises linearly from 0.
    #[arg(long)]
    pub warmup_steps: u64,
    /// Fraction of the run, at its end, over which the learning rate falls linearly to 0.
    #[arg(long)]
    pub decay_fraction: f64,
    /// β₁, the decay of the first moment.
    #[arg(skip)]
    pub beta_1: f32,
    /// β₂, the decay of the second moment.
    #[arg(skip)]
    pub beta_2: f32,
    /// Decoupled weight decay.
    #[arg(skip)]
    pub weight_decay: f32,
    /// Largest norm of the gradient of all parameters; longer ones are scaled down.
    #[arg(skip)]
    pub clip_norm: f64,
}

impl Default for OptimizerOptions {
    fn default() -> Self {
        Self { learning_rate: 1e-3, warmup_steps: 200, decay_fraction: 0.2, beta_1: 0.9, beta_2: 0.999, weight_decay: 0.01, clip_norm: 1.0 }
    }
}

impl OptimizerOptions {
    /// The rules of [`check_options`](crate::error::check_options) for these options. `rate` is the flag of the learning rate.
    pub fn rules(&self, rate: &str) -> Vec<Rule> {
        let decay = |beta: f32| (0.0..1.0).contains(&beta);
        vec![
            (format!("{rate} {}", self.learning_rate), self.learning_rate.is_finite() && self.learning_rate > 0.0, "a number above 0"),
            (format!("--decay-fraction {}", self.decay_fraction), (0.0..=1.0).contains(&self.decay_fraction), "a fraction from 0 to 1"),
            (format!("beta_1 = {}", self.beta_1), decay(self.beta_1), "a number from 0 to below 1"),
            (format!("beta_2 = {}", self.beta_2), decay(self.beta_2), "a number from 0 to below 1"),
            (format!("weight_decay = {}", self.weight_decay), self.weight_decay.is_finite() && self.weight_decay >= 0.0, "a number of at least 0"),
            (format!("clip_norm = {}", self.clip_norm), self.clip_norm > 0.0, "a number above 0"),
        ]
    }
}

/// Tensors of a saved state: β₁ and β₂, which [`Optimizer::set_decays`] may have changed, …
const DECAYS: &str = "decays";
/// … the moments …
const MOMENTS: [&str; 2] = ["moment_1", "moment_2"];
/// … and the number of steps.
const TIME: &str = "time";

/// AdamW with its state, for one module.
pub struct Optimizer {
    options: OptimizerOptions,
    rule: AdamW,
    state: Option<AdamWState<1>>,
}

impl Optimizer {
    /// With moments of zero.
    pub fn new(options: OptimizerOptions) -> Self {
        Self { rule: rule(&options), options, state: None }
    }

    /// The learning rate at step `step` of `steps`: warm-up, constant, linear decay.
    pub fn rate(&self, step: u64, steps: u64) -> f64 {
        let warm = ((step + 1) as f64 / self.options.warmup_steps.max(1) as f64).min(1.0);
        let tail = self.options.decay_fraction * steps as f64;
        let left = if tail > 0.0 { ((steps - step) as f64 / tail).min(1.0) } else { 1.0 };
        self.options.learning_rate * warm.min(left)
    }

    /// Changes β₁ and β₂ for the steps that follow.
    ///
    /// AdamW divides the moments by the bias correction `1 − β^t`, which changes with β. The moments are rescaled so that the corrected moments
    /// stay the same; otherwise the next steps would be several times too long.
    pub fn set_decays(&mut self, beta_1: f32, beta_2: f32) {
        let old = (self.options.beta_1, self.options.beta_2);
        if (beta_1, beta_2) == old {
            return;
        }
        self.options = OptimizerOptions { beta_1, beta_2, ..self.options.clone() };
        self.rule = rule(&self.options);
        if let Some(state) = &mut self.state {
            let momentum = state.momentum.clone();
            let correction = |beta: f32| 1.0 - f64::from(beta).powf(momentum.time as f64);
            state.momentum = AdaptiveMomentumState::new(
                momentum.time,
                momentum.moment_1.mul_scalar(correction(beta_1) / correction(old.0)),
                momentum.moment_2.mul_scalar(correction(beta_2) / correction(old.1)),
            );
        }
    }

    /// Performs one update. Returns the module and the norm of the gradient before clipping.
    ///
    /// If that norm is not finite, nothing is updated. The gradient of a parameter that the loss does not depend on is zero.
    pub fn step<M: Module>(&mut self, module: M, gradients: FlatGradients, rate: f64) -> (M, f64) {
        let mut values = Values { gradients: gradients.0.into_iter(), values: Vec::new(), trained: Vec::new() };
        module.visit(&mut values);
        if values.values.is_empty() {
            return (module, 0.0);
        }
        let gradient = Tensor::cat(values.trained, 0);
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

    /// Loads the state that [`Optimizer::to_bytes`] wrote.
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

/// The gradients of a module's parameters, each flat, in the module's order; None for a parameter without gradient.
#[derive(Default)]
pub struct FlatGradients(Vec<Option<Tensor<1>>>);

impl FlatGradients {
    /// Takes the gradients of `module` out of those of a backward pass.
    pub fn take<M: Module>(module: &M, gradients: &mut Gradients) -> Self {
        let mut collect = Collect { gradients, flat: Vec::new() };
        module.visit(&mut collect);
        Self(collect.flat)
    }

    /// The sum of the gradients of two backward passes; the default is zero.
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

/// Collects the trained parameters and their gradients, each flat.
struct Values {
    gradients: std::vec::IntoIter<Option<Tensor<1>>>,
    values: Vec<Tensor<1>>,
    trained: Vec<Tensor<1>>,
}

impl burn::module::ModuleVisitor for Values {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let gradient = self.gradients.next().flatten();
        if param.is_require_grad() {
            let value = param.val().inner();
            let elements = value.shape().num_elements();
            self.trained.push(gradient.unwrap_or_else(|| Tensor::zeros([elements], &value.device())));
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

    /// The derivative of the loss is always 0.01, so the length of each step of AdamW is the learning rate, for all β₁ and β₂.
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

    /// Compares with AdamW on single parameters in f64, written as in the paper.
    #[test]
    fn the_flat_update_is_the_update_of_each_parameter() {
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
            let slope = |index: usize, w: f64| {
                if index < 6 {
                    2.0 * w
                } else if index < 8 {
                    0.0
                } else {
                    3.0 * w * w
                }
            };
            let slopes: Vec<f64> = expected.iter().enumerate().map(|(index, &w)| slope(index, w)).collect();
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
    fn other_decays_keep_the_step_length_and_are_saved() {
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
