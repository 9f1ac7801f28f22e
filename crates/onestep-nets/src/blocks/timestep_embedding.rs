//! The two-layer network behind sinusoidal features.

use burn::{
    module::Module,
    nn::{Linear, LinearConfig},
    tensor::{Device, Tensor, activation::silu},
};

/// diffusers' `TimestepEmbedding`: `linear_2(silu(linear_1(x)))`.
#[derive(Module, Debug)]
pub struct TimestepEmbedding {
    /// From the features.
    pub linear_1: Linear,
    /// To the embedding.
    pub linear_2: Linear,
}

impl TimestepEmbedding {
    /// From `input` features to an embedding of `size`.
    pub fn new(input: usize, size: usize, device: &Device) -> Self {
        Self { linear_1: LinearConfig::new(input, size).init(device), linear_2: LinearConfig::new(size, size).init(device) }
    }

    /// `[n, input]` to `[n, size]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.linear_2.forward(silu(self.linear_1.forward(x)))
    }
}
