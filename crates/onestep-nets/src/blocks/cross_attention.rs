//! diffusers' `Attention` as transformer blocks use it.

use burn::{
    module::Module,
    nn::{Linear, LinearConfig},
    tensor::{Device, Tensor},
};

use super::scaled_dot_product;

/// Multi-head attention from a sequence to another one, or to itself.
#[derive(Module, Debug)]
pub struct CrossAttention {
    /// Queries, without bias.
    pub to_q: Linear,
    /// Keys, without bias.
    pub to_k: Linear,
    /// Values, without bias.
    pub to_v: Linear,
    /// The output projection: a list of one, as diffusers has dropout behind it.
    pub to_out: Vec<Linear>,
    /// Number of heads.
    pub heads: usize,
}

impl CrossAttention {
    /// Attention of `heads` heads over `features` features, with keys and values from `context` features.
    pub fn new(features: usize, context: usize, heads: usize, device: &Device) -> Self {
        let linear = |input: usize| LinearConfig::new(input, features).with_bias(false).init(device);
        Self {
            to_q: linear(features),
            to_k: linear(context),
            to_v: linear(context),
            to_out: vec![LinearConfig::new(features, features).init(device)],
            heads,
        }
    }

    /// `x` is `[batch, tokens, features]`, `context` `[batch, keys, context features]`; without it `x` attends to itself.
    pub fn forward(&self, x: Tensor<3>, context: Option<Tensor<3>>) -> Tensor<3> {
        let context = context.unwrap_or_else(|| x.clone());
        let mixed = scaled_dot_product(self.to_q.forward(x), self.to_k.forward(context.clone()), self.to_v.forward(context), self.heads, false);
        self.to_out.iter().fold(mixed, |x, linear| linear.forward(x))
    }
}
