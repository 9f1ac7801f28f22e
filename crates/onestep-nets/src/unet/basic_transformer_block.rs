//! One transformer block: self-attention, attention to the text, feed-forward.

use burn::{
    module::Module,
    nn::{LayerNorm, LayerNormConfig},
    tensor::{Device, Tensor},
};

use super::FeedForward;
use crate::{blocks::CrossAttention, precision::layer_norm};

/// diffusers' `BasicTransformerBlock`; every part has its own normalisation in front and a residual connection around it.
#[derive(Module, Debug)]
pub struct BasicTransformerBlock {
    /// In front of `attn1`.
    pub norm1: LayerNorm,
    /// Among the places of the feature map.
    pub attn1: CrossAttention,
    /// In front of `attn2`.
    pub norm2: LayerNorm,
    /// To the text.
    pub attn2: CrossAttention,
    /// In front of `ff`.
    pub norm3: LayerNorm,
    /// Feed-forward.
    pub ff: FeedForward,
}

impl BasicTransformerBlock {
    /// Over `features` features, attending to text of `context` features.
    pub fn new(features: usize, context: usize, heads: usize, device: &Device) -> Self {
        let norm = || LayerNormConfig::new(features).with_epsilon(1e-5).init(device);
        Self {
            norm1: norm(),
            attn1: CrossAttention::new(features, features, heads, device),
            norm2: norm(),
            attn2: CrossAttention::new(features, context, heads, device),
            norm3: norm(),
            ff: FeedForward::new(features, device),
        }
    }

    /// `x` `[batch, places, features]`, `text` `[batch, tokens, context]`.
    pub fn forward(&self, x: Tensor<3>, text: Tensor<3>) -> Tensor<3> {
        let x = x.clone() + self.attn1.forward(layer_norm(&self.norm1, x), None);
        let x = x.clone() + self.attn2.forward(layer_norm(&self.norm2, x), Some(text));
        x.clone() + self.ff.forward(layer_norm(&self.norm3, x))
    }
}
