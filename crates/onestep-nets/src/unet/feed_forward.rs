//! The gated feed-forward layers of transformer blocks.

use burn::{
    module::Module,
    nn::{Linear, LinearConfig},
    tensor::{Device, Tensor, activation::gelu},
};

/// `GEGLU`: a projection to twice the size, half of which gates the other half through the exact GELU.
#[derive(Module, Debug)]
pub struct Geglu {
    /// To values, then gates.
    pub proj: Linear,
}

impl Geglu {
    /// `[batch, tokens, input]` to `[batch, tokens, output]`.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [value, gate]: [Tensor<3>; 2] = halves(self.proj.forward(x));
        value * gelu(gate)
    }
}

/// Splits the last axis in two.
fn halves(x: Tensor<3>) -> [Tensor<3>; 2] {
    let [batch, tokens, features] = x.dims();
    let half = features / 2;
    [x.clone().slice([0..batch, 0..tokens, 0..half]), x.slice([0..batch, 0..tokens, half..features])]
}

/// The layers of a [`FeedForward`]; number 1 is diffusers' dropout, which has no parameters.
#[derive(Module, Debug)]
pub struct FeedForwardNet {
    /// `net.0`.
    pub at_0: Geglu,
    /// `net.2`.
    pub at_2: Linear,
}

/// diffusers' `FeedForward` with `activation_fn = "geglu"` and a factor of 4.
#[derive(Module, Debug)]
pub struct FeedForward {
    /// Its layers.
    pub net: FeedForwardNet,
}

impl FeedForward {
    /// Over `features` features.
    pub fn new(features: usize, device: &Device) -> Self {
        let inner = 4 * features;
        Self {
            net: FeedForwardNet {
                at_0: Geglu { proj: LinearConfig::new(features, 2 * inner).init(device) },
                at_2: LinearConfig::new(inner, features).init(device),
            },
        }
    }

    /// `[batch, tokens, features]` to the same shape.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.net.at_2.forward(self.net.at_0.forward(x))
    }
}
