//! The feed-forward layers of the text encoder.

use burn::{
    module::Module,
    nn::Linear,
    tensor::{Tensor, activation::gelu, activation::sigmoid},
};

/// `fc2(act(fc1(x)))`.
#[derive(Module, Debug)]
pub struct Mlp {
    /// To the inner size.
    pub fc1: Linear,
    /// Back to the outer size.
    pub fc2: Linear,
    /// Whether the activation is `x sigmoid(1.702 x)` rather than the exact GELU.
    pub quick: bool,
}

impl Mlp {
    /// `[batch, tokens, features]` to the same shape.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let x = self.fc1.forward(x);
        let x = if self.quick { x.clone() * sigmoid(x.mul_scalar(1.702)) } else { gelu(x) };
        self.fc2.forward(x)
    }
}
