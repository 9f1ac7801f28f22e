//! Enlarging a feature map: nearest neighbour, then a convolution.

use burn::{
    module::Module,
    nn::conv::Conv2d,
    tensor::{
        Device, Tensor,
        module::interpolate,
        ops::{InterpolateMode, InterpolateOptions},
    },
};

use super::same_conv;

/// diffusers' `Upsample2D` with a convolution.
#[derive(Module, Debug)]
pub struct Upsample2d {
    /// 3x3, stride 1.
    pub conv: Conv2d,
}

impl Upsample2d {
    /// Keeps the number of channels.
    pub fn new(channels: usize, device: &Device) -> Self {
        Self { conv: same_conv(channels, channels, 3, device) }
    }

    /// `x` enlarged to `size` = `[height, width]`, or doubled without one.
    pub fn forward(&self, x: Tensor<4>, size: Option<[usize; 2]>) -> Tensor<4> {
        let [_, _, height, width] = x.dims();
        let size = size.unwrap_or([2 * height, 2 * width]);
        let options = InterpolateOptions::new(InterpolateMode::Nearest).with_align_corners(false).with_output_size(size);
        self.conv.forward(interpolate(x, options))
    }
}
