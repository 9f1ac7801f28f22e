//! The residual block of U-Net and autoencoder.

use burn::{
    module::Module,
    nn::{
        GroupNorm, GroupNormConfig, Linear, LinearConfig,
        conv::{Conv2d, Conv2dConfig},
    },
    tensor::{Device, Tensor, activation::silu},
};

use super::same_conv;
use crate::precision::group_norm;

/// diffusers' `ResnetBlock2D` with `resnet_time_scale_shift = "default"`:
/// `x' = shortcut(x) + conv2(silu(norm2(conv1(silu(norm1(x))) + time_emb_proj(silu(t)))))`.
#[derive(Module, Debug)]
pub struct ResnetBlock2d {
    /// Normalisation of the input.
    pub norm1: GroupNorm,
    /// 3x3.
    pub conv1: Conv2d,
    /// From the time embedding to a shift of every channel; absent in the autoencoder.
    pub time_emb_proj: Option<Linear>,
    /// Normalisation in the middle.
    pub norm2: GroupNorm,
    /// 3x3.
    pub conv2: Conv2d,
    /// 1x1, where the number of channels changes.
    pub conv_shortcut: Option<Conv2d>,
}

impl ResnetBlock2d {
    /// A block from `input` to `output` channels, conditioned on `time` features if given.
    pub fn new(input: usize, output: usize, time: Option<usize>, groups: usize, epsilon: f64, device: &Device) -> Self {
        let norm = |channels: usize| GroupNormConfig::new(groups, channels).with_epsilon(epsilon).init(device);
        Self {
            norm1: norm(input),
            conv1: same_conv(input, output, 3, device),
            time_emb_proj: time.map(|features| LinearConfig::new(features, output).init(device)),
            norm2: norm(output),
            conv2: same_conv(output, output, 3, device),
            conv_shortcut: (input != output).then(|| Conv2dConfig::new([input, output], [1, 1]).init(device)),
        }
    }

    /// `x` is `[batch, input, height, width]`; `time` is the time embedding **after** SiLU, `[batch or 1, features]`.
    pub fn forward(&self, x: Tensor<4>, time: Option<Tensor<2>>) -> Tensor<4> {
        let mut hidden = self.conv1.forward(silu(group_norm(&self.norm1, x.clone())));
        if let (Some(linear), Some(time)) = (&self.time_emb_proj, time) {
            let shift = linear.forward(time);
            let [batch, channels] = shift.dims();
            hidden = hidden + shift.reshape([batch, channels, 1, 1]);
        }
        let hidden = self.conv2.forward(silu(group_norm(&self.norm2, hidden)));
        let shortcut = match &self.conv_shortcut {
            Some(conv) => conv.forward(x),
            None => x,
        };
        shortcut + hidden
    }
}
