//! One level of the expanding half.

use burn::{module::Module, tensor::Tensor};

use super::Transformer2d;
use crate::blocks::{ResnetBlock2d, Upsample2d};

/// diffusers' `UpBlock2D`, or `CrossAttnUpBlock2D` when it has attentions.
#[derive(Module, Debug)]
pub struct UpBlock {
    /// Residual blocks; each gets its input concatenated with one skip tensor of the contracting half.
    pub resnets: Vec<ResnetBlock2d>,
    /// One transformer behind each residual block, or none at all.
    pub attentions: Vec<Transformer2d>,
    /// One, except at the highest resolution.
    pub upsamplers: Vec<Upsample2d>,
}

impl UpBlock {
    /// Takes the last intermediates from `skips`, and enlarges to the size of the one that is then last.
    pub fn forward(&self, mut x: Tensor<4>, time: &Tensor<2>, text: &Tensor<3>, skips: &mut Vec<Tensor<4>>) -> Tensor<4> {
        for step in 0..self.resnets.len() {
            x = self.join(step, x, skips.pop(), time, text);
        }
        self.enlarge(x, skips)
    }

    /// Residual block `step` on the input concatenated with its skip tensor, then its transformer, if there is one.
    pub fn join(&self, step: usize, mut x: Tensor<4>, skip: Option<Tensor<4>>, time: &Tensor<2>, text: &Tensor<3>) -> Tensor<4> {
        if let Some(skip) = skip {
            x = Tensor::cat(vec![x, skip], 1);
        }
        x = self.resnets[step].forward(x, Some(time.clone()));
        match self.attentions.get(step) {
            Some(attention) => attention.forward(x, text.clone()),
            None => x,
        }
    }

    /// Enlarges to the size of the last of `skips`, except at the highest resolution.
    pub fn enlarge(&self, mut x: Tensor<4>, skips: &[Tensor<4>]) -> Tensor<4> {
        for upsampler in &self.upsamplers {
            let size = skips.last().map(|skip| {
                let [_, _, height, width] = skip.dims();
                [height, width]
            });
            x = upsampler.forward(x, size);
        }
        x
    }
}
