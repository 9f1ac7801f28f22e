//! Halving a feature map by a convolution of stride 2.

use burn::{
    module::Module,
    nn::{
        PaddingConfig2d,
        conv::{Conv2d, Conv2dConfig},
    },
    tensor::{Device, Tensor},
};

/// diffusers' `Downsample2D` with a convolution.
#[derive(Module, Debug)]
pub struct Downsample2d {
    /// 3x3, stride 2.
    pub conv: Conv2d,
}

impl Downsample2d {
    /// `padding` as in diffusers: 1 pads every side, 0 pads the bottom and the right side only.
    pub fn new(channels: usize, padding: usize, device: &Device) -> Self {
        let padding = match padding {
            0 => PaddingConfig2d::Explicit(0, 0, 1, 1),
            pad => PaddingConfig2d::Explicit(pad, pad, pad, pad),
        };
        let conv = Conv2dConfig::new([channels, channels], [3, 3]).with_stride([2, 2]).with_padding(padding).init(device);
        Self { conv }
    }

    /// `[batch, channels, height, width]` to half of height and width.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.conv.forward(x)
    }
}
