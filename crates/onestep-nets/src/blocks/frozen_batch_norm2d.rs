//! Batch normalisation by statistics that were counted elsewhere.

use burn::{
    module::{Module, Param},
    nn::Initializer,
    tensor::{Device, Tensor},
};

/// PyTorch's `BatchNorm2d` after `eval()`: `(x - running_mean) / sqrt(running_var + epsilon) * weight + bias`, per channel.
///
/// burn's `BatchNorm` counts the statistics of every batch it sees on a device with gradients. This one never does, and
/// none of its parameters asks for a gradient; gradients pass through it to its input.
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

    /// With the mean and the variance of each channel of `x` `[batch, channels, height, width]`.
    #[must_use]
    pub fn fitted(self, x: &Tensor<4>) -> Self {
        let [batch, channels, height, width] = x.dims();
        let rows = x.clone().detach().swap_dims(0, 1).reshape([channels, batch * height * width]);
        let mean = rows.clone().mean_dim(1);
        let variance = (rows - mean.clone()).square().mean_dim(1).reshape([channels]);
        let constant = |value: Tensor<1>| Param::from_tensor(value).set_require_grad(false);
        Self { running_mean: constant(mean.reshape([channels])), running_var: constant(variance), ..self }
    }

    /// `[batch, channels, height, width]` to the same shape.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        // One factor and one shift for each channel: two passes over the picture instead of four.
        let factor = self.weight.val() / self.running_var.val().add_scalar(self.epsilon).sqrt();
        let shift = self.bias.val() - self.running_mean.val() * factor.clone();
        let [channels] = factor.dims();
        x * factor.reshape([1, channels, 1, 1]) + shift.reshape([1, channels, 1, 1])
    }
}
