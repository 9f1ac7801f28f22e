//! The level between the two halves.

use burn::{module::Module, tensor::Tensor};

use super::Transformer2d;
use crate::blocks::ResnetBlock2d;

/// diffusers' `UNetMidBlock2DCrossAttn`: residual block, transformer, residual block.
#[derive(Module, Debug)]
pub struct MidBlock {
    /// The transformer.
    pub attentions: Vec<Transformer2d>,
    /// One residual block more than transformers.
    pub resnets: Vec<ResnetBlock2d>,
}

impl MidBlock {
    /// Keeps the shape of `x`.
    pub fn forward(&self, mut x: Tensor<4>, time: &Tensor<2>, text: &Tensor<3>) -> Tensor<4> {
        for (i, resnet) in self.resnets.iter().enumerate() {
            if let Some(attention) = i.checked_sub(1).and_then(|before| self.attentions.get(before)) {
                x = attention.forward(x, text.clone());
            }
            x = resnet.forward(x, Some(time.clone()));
        }
        x
    }
}
