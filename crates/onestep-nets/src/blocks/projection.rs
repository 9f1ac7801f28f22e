//! The projection before and after a transformer over a feature map.

use burn::{
    module::Module,
    nn::{
        Linear, LinearConfig,
        conv::{Conv2d, Conv2dConfig},
    },
    tensor::{Device, Tensor},
};

/// A linear map of the features of every pixel: stored as a matrix or as a 1x1 convolution (`use_linear_projection`).
///
/// Parameter names do not show the variant.
#[derive(Module, Debug)]
pub enum Projection {
    /// `use_linear_projection = true`.
    Linear(Linear),
    /// `use_linear_projection = false`.
    Conv(Conv2d),
}

impl Projection {
    /// A square projection of `channels` channels.
    pub fn new(channels: usize, linear: bool, device: &Device) -> Self {
        if linear {
            Self::Linear(LinearConfig::new(channels, channels).init(device))
        } else {
            Self::Conv(Conv2dConfig::new([channels, channels], [1, 1]).init(device))
        }
    }

    /// `[batch, channels, height, width]` to `[batch, height * width, channels]`.
    pub fn enter(&self, map: Tensor<4>) -> Tensor<3> {
        let [batch, channels, height, width] = map.dims();
        let tokens = |x: Tensor<4>| x.reshape([batch, channels, height * width]).swap_dims(1, 2);
        match self {
            Self::Linear(linear) => linear.forward(tokens(map)),
            Self::Conv(conv) => tokens(conv.forward(map)),
        }
    }

    /// `[batch, height * width, channels]` to `[batch, channels, height, width]` with the given `[height, width]`.
    pub fn leave(&self, tokens: Tensor<3>, [height, width]: [usize; 2]) -> Tensor<4> {
        let [batch, _, channels] = tokens.dims();
        let map = |x: Tensor<3>| x.swap_dims(1, 2).reshape([batch, channels, height, width]);
        match self {
            Self::Linear(linear) => map(linear.forward(tokens)),
            Self::Conv(conv) => conv.forward(map(tokens)),
        }
    }
}
