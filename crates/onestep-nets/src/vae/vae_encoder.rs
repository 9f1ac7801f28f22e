//! From an image to the moments of its latent.

use burn::{
    module::Module,
    nn::{GroupNorm, GroupNormConfig, conv::Conv2d},
    tensor::{Device, Tensor, activation::silu},
};

use onestep_pipeline::config::AutoencoderKlConfig;

use super::{EPSILON, VaeMidBlock};
use crate::blocks::{Downsample2d, ResnetBlock2d, same_conv};

/// diffusers' `DownEncoderBlock2D`.
#[derive(Module, Debug)]
pub struct VaeDownBlock {
    /// Residual blocks.
    pub resnets: Vec<ResnetBlock2d>,
    /// One, except at the lowest resolution; pads below and right only.
    pub downsamplers: Vec<Downsample2d>,
}

impl VaeDownBlock {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = self.resnets.iter().fold(x, |x, resnet| resnet.forward(x, None));
        self.downsamplers.iter().fold(x, |x, downsampler| downsampler.forward(x))
    }
}

/// diffusers' `Encoder` with `double_z`.
#[derive(Module, Debug)]
pub struct VaeEncoder {
    /// First convolution.
    pub conv_in: Conv2d,
    /// Levels, highest resolution first.
    pub down_blocks: Vec<VaeDownBlock>,
    /// Lowest resolution.
    pub mid_block: VaeMidBlock,
    /// Normalisation of the result.
    pub conv_norm_out: GroupNorm,
    /// To twice the latent channels.
    pub conv_out: Conv2d,
}

impl VaeEncoder {
    pub(crate) fn new(config: &AutoencoderKlConfig, device: &Device) -> Self {
        let channels = &config.block_out_channels;
        let last = channels.len() - 1;
        let groups = config.norm_num_groups;
        let resnet = |input, output| ResnetBlock2d::new(input, output, None, groups, EPSILON, device);
        Self {
            conv_in: same_conv(config.in_channels, channels[0], 3, device),
            down_blocks: (0..=last)
                .map(|level| VaeDownBlock {
                    resnets: (0..config.layers_per_block)
                        .map(|i| {
                            let before = if i == 0 { level.saturating_sub(1) } else { level };
                            resnet(channels[before], channels[level])
                        })
                        .collect(),
                    downsamplers: (level != last).then(|| Downsample2d::new(channels[level], 0, device)).into_iter().collect(),
                })
                .collect(),
            mid_block: VaeMidBlock::new(channels[last], groups, config.mid_block_add_attention, device),
            conv_norm_out: GroupNormConfig::new(groups, channels[last]).with_epsilon(EPSILON).init(device),
            conv_out: same_conv(channels[last], 2 * config.latent_channels, 3, device),
        }
    }

    /// `[batch, in_channels, height, width]` to `[batch, 2 latent_channels, h, w]`.
    pub fn forward(&self, images: Tensor<4>) -> Tensor<4> {
        let x = self.conv_in.forward(images);
        let x = self.down_blocks.iter().fold(x, |x, block| block.forward(x));
        let x = self.mid_block.forward(x);
        self.conv_out.forward(silu(self.conv_norm_out.forward(x)))
    }
}
