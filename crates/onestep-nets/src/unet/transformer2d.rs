//! Transformer blocks over the tokens of a feature map.

use burn::{
    module::Module,
    nn::{GroupNorm, GroupNormConfig},
    tensor::{Device, Tensor},
};

use super::BasicTransformerBlock;
use crate::{blocks::Projection, precision::group_norm};

/// diffusers' `Transformer2DModel` for continuous input.
#[derive(Module, Debug)]
pub struct Transformer2d {
    /// Normalisation in front, with epsilon 1e-6 whatever the U-Net's is.
    pub norm: GroupNorm,
    /// Into the transformer.
    pub proj_in: Projection,
    /// The blocks.
    pub transformer_blocks: Vec<BasicTransformerBlock>,
    /// Back to the feature map.
    pub proj_out: Projection,
}

/// The sizes of a [`Transformer2d`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Transformer2dShape {
    /// Channels of the feature map.
    pub channels: usize,
    /// Features of a text token.
    pub context: usize,
    /// Attention heads.
    pub heads: usize,
    /// Transformer blocks.
    pub layers: usize,
    /// Groups of the normalisation.
    pub groups: usize,
    /// Matrices instead of 1x1 convolutions around the blocks.
    pub linear_projection: bool,
}

impl Transformer2d {
    pub(crate) fn new(shape: Transformer2dShape, device: &Device) -> Self {
        let Transformer2dShape { channels, context, heads, layers, groups, linear_projection } = shape;
        Self {
            norm: GroupNormConfig::new(groups, channels).with_epsilon(1e-6).init(device),
            proj_in: Projection::new(channels, linear_projection, device),
            transformer_blocks: (0..layers).map(|_| BasicTransformerBlock::new(channels, context, heads, device)).collect(),
            proj_out: Projection::new(channels, linear_projection, device),
        }
    }

    /// `x` `[batch, channels, height, width]`, `text` `[batch, tokens, context]`; the input is added to the result.
    pub fn forward(&self, x: Tensor<4>, text: Tensor<3>) -> Tensor<4> {
        let [_, _, height, width] = x.dims();
        let tokens = self.proj_in.enter(group_norm(&self.norm, x.clone()));
        let tokens = self.transformer_blocks.iter().fold(tokens, |tokens, block| block.forward(tokens, text.clone()));
        x + self.proj_out.leave(tokens, [height, width])
    }
}
