//! The convolution that everything in Inception-v3 is made of.

use burn::{
    module::Module,
    nn::{
        PaddingConfig2d,
        conv::{Conv2d, Conv2dConfig},
    },
    tensor::{Device, Tensor, activation::relu},
};

use crate::blocks::FrozenBatchNorm2d;

/// Epsilon of every normalisation, fixed in torchvision.
const EPSILON: f64 = 0.001;

/// torchvision's `BasicConv2d`: `relu(bn(conv(x)))`.
#[derive(Module, Debug)]
pub struct InceptionConv {
    /// Without bias.
    pub conv: Conv2d,
    /// By the statistics of training.
    pub bn: FrozenBatchNorm2d,
}

impl InceptionConv {
    /// A kernel of `[height, width]`, both odd, that keeps height and width of the image.
    pub fn same(input: usize, output: usize, [height, width]: [usize; 2], device: &Device) -> Self {
        let (rows, columns) = (height / 2, width / 2);
        Self::new(input, output, [height, width], 1, PaddingConfig2d::Explicit(rows, columns, rows, columns), device)
    }

    /// A square kernel that stays inside the image.
    pub fn valid(input: usize, output: usize, kernel: usize, stride: usize, device: &Device) -> Self {
        Self::new(input, output, [kernel; 2], stride, PaddingConfig2d::Valid, device)
    }

    fn new(input: usize, output: usize, kernel: [usize; 2], stride: usize, padding: PaddingConfig2d, device: &Device) -> Self {
        let conv = Conv2dConfig::new([input, output], kernel).with_stride([stride; 2]).with_padding(padding).with_bias(false);
        Self { conv: conv.init(device), bn: FrozenBatchNorm2d::new(output, EPSILON, device) }
    }

    /// `[batch, input, height, width]` to `[batch, output, height', width']`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        relu(self.bn.forward(self.conv.forward(x)))
    }
}
