//! The autoencoder's level between convolutions and latent.

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};

use super::EPSILON;
use crate::blocks::{AttentionBlock, ResnetBlock2d};

/// diffusers' `UNetMidBlock2D`: residual block, attention (`mid_block_add_attention`), residual block.
#[derive(Module, Debug)]
pub struct VaeMidBlock {
    /// One, or none.
    pub attentions: Vec<AttentionBlock>,
    /// Two.
    pub resnets: Vec<ResnetBlock2d>,
}

impl VaeMidBlock {
    pub(crate) fn new(channels: usize, groups: usize, attention: bool, device: &Device) -> Self {
        Self {
            attentions: attention.then(|| AttentionBlock::new(channels, groups, EPSILON, device)).into_iter().collect(),
            resnets: (0..2).map(|_| ResnetBlock2d::new(channels, channels, None, groups, EPSILON, device)).collect(),
        }
    }

    /// Keeps the shape of `x`.
    pub fn forward(&self, mut x: Tensor<4>) -> Tensor<4> {
        for (i, resnet) in self.resnets.iter().enumerate() {
            if let Some(attention) = i.checked_sub(1).and_then(|before| self.attentions.get(before)) {
                x = attention.forward(x);
            }
            x = resnet.forward(x, None);
        }
        x
    }
}
