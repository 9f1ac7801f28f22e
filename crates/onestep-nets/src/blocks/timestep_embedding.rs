//! The two-layer network behind sinusoidal features.

use burn::{
    module::Module,
    nn::{Linear, LinearConfig},
    tensor::{Device, Tensor, activation::silu},
};

/// diffusers' `TimestepEmbedding`: `linear_2(silu(linear_1(x + cond_proj(condition))))`.
#[derive(Module, Debug)]
pub struct TimestepEmbedding {
    /// From a condition to the features, without bias (`time_cond_proj_dim`).
    pub cond_proj: Option<Linear>,
    /// From the features.
    pub linear_1: Linear,
    /// To the embedding.
    pub linear_2: Linear,
}

impl TimestepEmbedding {
    /// From `input` features to an embedding of `size`, without a condition.
    pub fn new(input: usize, size: usize, device: &Device) -> Self {
        Self { cond_proj: None, linear_1: LinearConfig::new(input, size).init(device), linear_2: LinearConfig::new(size, size).init(device) }
    }

    /// With a condition of `size` features.
    #[must_use]
    pub fn with_condition(mut self, size: usize, device: &Device) -> Self {
        let [input, _] = self.linear_1.weight.dims();
        self.cond_proj = Some(LinearConfig::new(size, input).with_bias(false).init(device));
        self
    }

    /// The number of features of the condition; none if it takes no condition.
    pub fn condition_size(&self) -> Option<usize> {
        self.cond_proj.as_ref().map(|linear| linear.weight.dims()[0])
    }

    /// `x` `[n, input]` and the condition `[n, condition_size]` to `[n, size]`. A missing condition adds nothing, as in diffusers; one that the
    /// network does not take is ignored.
    pub fn forward(&self, x: Tensor<2>, condition: Option<Tensor<2>>) -> Tensor<2> {
        let x = match self.cond_proj.as_ref().zip(condition) {
            Some((linear, condition)) => x + linear.forward(condition),
            None => x,
        };
        self.linear_2.forward(silu(self.linear_1.forward(x)))
    }
}
