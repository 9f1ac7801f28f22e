//! From a latent to an image.

use burn::{
    module::Module,
    nn::{GroupNorm, GroupNormConfig, conv::Conv2d},
    tensor::{Device, Tensor, activation::silu},
};

use onestep_pipeline::config::AutoencoderKlConfig;

use super::{EPSILON, VaeMidBlock};
use crate::blocks::{ResnetBlock2d, Upsample2d, same_conv};

/// diffusers' `UpDecoderBlock2D`.
#[derive(Module, Debug)]
pub struct VaeUpBlock {
    /// Residual blocks.
    pub resnets: Vec<ResnetBlock2d>,
    /// One, except at the highest resolution.
    pub upsamplers: Vec<Upsample2d>,
}

impl VaeUpBlock {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = self.resnets.iter().fold(x, |x, resnet| resnet.forward(x, None));
        self.upsamplers.iter().fold(x, |x, upsampler| upsampler.forward(x, None))
    }
}

/// diffusers' `Decoder`.
#[derive(Module, Debug)]
pub struct VaeDecoder {
    /// First convolution.
    pub conv_in: Conv2d,
    /// Lowest resolution.
    pub mid_block: VaeMidBlock,
    /// Levels, lowest resolution first.
    pub up_blocks: Vec<VaeUpBlock>,
    /// Normalisation of the result.
    pub conv_norm_out: GroupNorm,
    /// To the image's channels.
    pub conv_out: Conv2d,
}

impl VaeDecoder {
    pub(crate) fn new(config: &AutoencoderKlConfig, device: &Device) -> Self {
        let channels = &config.block_out_channels;
        let last = channels.len() - 1;
        let groups = config.norm_num_groups;
        let resnet = |input, output| ResnetBlock2d::new(input, output, None, groups, EPSILON, device);
        Self {
            conv_in: same_conv(config.latent_channels, channels[last], 3, device),
            mid_block: VaeMidBlock::new(channels[last], groups, config.mid_block_add_attention, device),
            up_blocks: (0..=last)
                .rev()
                .map(|level| VaeUpBlock {
                    resnets: (0..=config.layers_per_block)
                        .map(|i| {
                            let before = if i == 0 { (level + 1).min(last) } else { level };
                            resnet(channels[before], channels[level])
                        })
                        .collect(),
                    upsamplers: (level != 0).then(|| Upsample2d::new(channels[level], device)).into_iter().collect(),
                })
                .collect(),
            conv_norm_out: GroupNormConfig::new(groups, channels[0]).with_epsilon(EPSILON).init(device),
            conv_out: same_conv(channels[0], config.out_channels, 3, device),
        }
    }

    /// `[batch, latent_channels, h, w]` to `[batch, out_channels, height, width]`.
    pub fn forward(&self, latents: Tensor<4>) -> Tensor<4> {
        let x = self.mid_block.forward(self.conv_in.forward(latents));
        let x = self.up_blocks.iter().fold(x, |x, block| block.forward(x));
        self.conv_out.forward(silu(self.conv_norm_out.forward(x)))
    }
}
