//! One level of the contracting half.

use burn::{module::Module, tensor::Tensor};

use super::Transformer2d;
use crate::blocks::{Downsample2d, ResnetBlock2d};

/// diffusers' `DownBlock2D`, or `CrossAttnDownBlock2D` when it has attentions.
#[derive(Module, Debug)]
pub struct DownBlock {
    /// Residual blocks.
    pub resnets: Vec<ResnetBlock2d>,
    /// One transformer behind each residual block, or none at all.
    pub attentions: Vec<Transformer2d>,
    /// One, except at the lowest resolution.
    pub downsamplers: Vec<Downsample2d>,
}

impl DownBlock {
    /// Returns the result and pushes every intermediate that the expanding half will want onto `skips`.
    pub fn forward(&self, mut x: Tensor<4>, time: &Tensor<2>, text: &Tensor<3>, skips: &mut Vec<Tensor<4>>) -> Tensor<4> {
        for (i, resnet) in self.resnets.iter().enumerate() {
            x = resnet.forward(x, Some(time.clone()));
            if let Some(attention) = self.attentions.get(i) {
                x = attention.forward(x, text.clone());
            }
            skips.push(x.clone());
        }
        for downsampler in &self.downsamplers {
            x = downsampler.forward(x);
            skips.push(x.clone());
        }
        x
    }
}
