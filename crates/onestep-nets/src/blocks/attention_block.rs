//! Attention between the tokens of a feature map, as the autoencoder's middle block has it.

use burn::{
    module::Module,
    nn::{GroupNorm, GroupNormConfig, Linear, LinearConfig},
    tensor::{Device, Tensor},
};

use super::scaled_dot_product;

/// Normalisation, single-head attention with biases, and a residual connection.
#[derive(Module, Debug)]
pub struct AttentionBlock {
    /// Normalisation in front.
    pub group_norm: GroupNorm,
    /// Queries (`query` in old files).
    pub to_q: Linear,
    /// Keys (`key` in old files).
    pub to_k: Linear,
    /// Values (`value` in old files).
    pub to_v: Linear,
    /// Output projection, a list of one (`proj_attn` in old files).
    pub to_out: Vec<Linear>,
}

impl AttentionBlock {
    /// A block over `channels` channels, normalised in `groups` groups.
    pub fn new(channels: usize, groups: usize, epsilon: f64, device: &Device) -> Self {
        let linear = || LinearConfig::new(channels, channels).init(device);
        Self {
            group_norm: GroupNormConfig::new(groups, channels).with_epsilon(epsilon).init(device),
            to_q: linear(),
            to_k: linear(),
            to_v: linear(),
            to_out: vec![linear()],
        }
    }

    /// `[batch, channels, height, width]` to the same shape.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [batch, channels, height, width] = x.dims();
        let tokens = self.group_norm.forward(x.clone()).reshape([batch, channels, height * width]).swap_dims(1, 2);
        let mixed = scaled_dot_product(self.to_q.forward(tokens.clone()), self.to_k.forward(tokens.clone()), self.to_v.forward(tokens), 1, false);
        let mixed = self.to_out.iter().fold(mixed, |x, linear| linear.forward(x));
        x + mixed.swap_dims(1, 2).reshape([batch, channels, height, width])
    }
}
