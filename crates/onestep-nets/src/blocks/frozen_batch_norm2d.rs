//! Batch normalisation by fixed statistics.

use burn::{
    module::{Module, Param},
    nn::Initializer,
    tensor::{Device, Tensor},
};

/// PyTorch's `BatchNorm2d` after `eval()`: `(x - running_mean) / sqrt(running_var + epsilon) * weight + bias`, per channel.
///
/// burn's `BatchNorm` counts the statistics of every batch it sees on a device with gradients. This one counts them when it is asked to
/// ([`Self::fitted`]). None of its parameters asks for a gradient unless it is [trainable](Self::trainable); gradients pass through it to its input.
#[derive(Module, Debug)]
pub struct FrozenBatchNorm2d {
    /// `[channels]`.
    pub weight: Param<Tensor<1>>,
    /// `[channels]`.
    pub bias: Param<Tensor<1>>,
    /// `[channels]`.
    pub running_mean: Param<Tensor<1>>,
    /// `[channels]`, not negative.
    pub running_var: Param<Tensor<1>>,
    /// Added to the variance.
    pub epsilon: f64,
}

impl FrozenBatchNorm2d {
    /// Of `channels` channels, and the identity but for `epsilon` until weights are loaded.
    pub fn new(channels: usize, epsilon: f64, device: &Device) -> Self {
        let constant = |initializer: Initializer| initializer.init([channels], device).set_require_grad(false);
        Self {
            weight: constant(Initializer::Ones),
            bias: constant(Initializer::Zeros),
            running_mean: constant(Initializer::Zeros),
            running_var: constant(Initializer::Ones),
            epsilon,
        }
    }

    /// With a weight and a bias that ask for gradients; statistics never do.
    #[must_use]
    pub fn trainable(self) -> Self {
        Self { weight: self.weight.set_require_grad(true), bias: self.bias.set_require_grad(true), ..self }
    }

    /// With the mean and the variance of each channel of `x` `[batch, channels, height, width]`.
    #[must_use]
    pub fn fitted(self, x: &Tensor<4>) -> Self {
        let [mean, variance] = statistics(x.clone().detach());
        let constant = |value: Tensor<4>| Param::from_tensor(value.flatten(0, 3)).set_require_grad(false);
        Self { running_mean: constant(mean), running_var: constant(variance), ..self }
    }

    /// `[batch, channels, height, width]` to the same shape.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let statistics = [per_channel(self.running_mean.val()), per_channel(self.running_var.val())];
        self.normalise(x, statistics)
    }

    /// By the statistics of `x` itself, as PyTorch's `BatchNorm2d` in training: gradients pass through them too. `x` is
    /// `[batch, channels, height, width]`.
    pub fn forward_unfrozen(&self, x: Tensor<4>) -> Tensor<4> {
        let statistics = statistics(x.clone());
        self.normalise(x, statistics)
    }

    fn normalise(&self, x: Tensor<4>, [mean, variance]: [Tensor<4>; 2]) -> Tensor<4> {
        // One factor and one shift for each channel: two passes over the image instead of four.
        let factor = per_channel(self.weight.val()) / variance.add_scalar(self.epsilon).sqrt();
        let shift = per_channel(self.bias.val()) - mean * factor.clone();
        x * factor + shift
    }
}

/// Mean and variance of each channel of `[batch, channels, height, width]`: `[1, channels, 1, 1]`.
fn statistics(x: Tensor<4>) -> [Tensor<4>; 2] {
    let mean_of = |x: Tensor<4>| x.mean_dim(3).mean_dim(2).mean_dim(0);
    let mean = mean_of(x.clone());
    let variance = mean_of((x - mean.clone()).square());
    [mean, variance]
}

fn per_channel(values: Tensor<1>) -> Tensor<4> {
    let [channels] = values.dims();
    values.reshape([1, channels, 1, 1])
}
