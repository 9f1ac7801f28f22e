//! The autoencoder itself.

use burn::{
    module::Module,
    nn::conv::{Conv2d, Conv2dConfig},
    tensor::{Device, Tensor},
};

use onestep_pipeline::config::AutoencoderKlConfig;

use super::{LatentDistribution, VaeDecoder, VaeEncoder};
use crate::Init;

/// A variational autoencoder between images and latents.
///
/// "Model space" is where the U-Net works: `(latent - shift_factor) * scaling_factor`.
#[derive(Module, Debug)]
pub struct AutoencoderKl {
    /// Image to moments.
    pub encoder: VaeEncoder,
    /// Latent to image.
    pub decoder: VaeDecoder,
    /// 1x1 behind the encoder (`use_quant_conv`).
    pub quant_conv: Option<Conv2d>,
    /// 1x1 in front of the decoder (`use_post_quant_conv`).
    pub post_quant_conv: Option<Conv2d>,
    /// Factor to model space.
    pub scaling_factor: f64,
    /// Shift to model space, 0 where the configuration has none.
    pub shift_factor: f64,
}

impl Init for AutoencoderKlConfig {
    type Network = AutoencoderKl;

    fn init(&self, device: &Device) -> AutoencoderKl {
        AutoencoderKl::new(self, device)
    }
}

impl AutoencoderKl {
    /// Initial weights; called by [`Init::init`].
    pub(crate) fn new(config: &AutoencoderKlConfig, device: &Device) -> Self {
        let pointwise = |channels: usize| Conv2dConfig::new([channels, channels], [1, 1]).init(device);
        Self {
            encoder: VaeEncoder::new(config, device),
            decoder: VaeDecoder::new(config, device),
            quant_conv: config.use_quant_conv.then(|| pointwise(2 * config.latent_channels)),
            post_quant_conv: config.use_post_quant_conv.then(|| pointwise(config.latent_channels)),
            scaling_factor: config.scaling_factor,
            shift_factor: config.shift_factor.unwrap_or(0.0),
        }
    }

    /// `images` `[batch, in_channels, height, width]` within -1..1.
    pub fn encode(&self, images: Tensor<4>) -> LatentDistribution {
        let mut moments = self.encoder.forward(images);
        if let Some(conv) = &self.quant_conv {
            moments = conv.forward(moments);
        }
        LatentDistribution::from_moments(moments)
    }

    /// `latents` `[batch, latent_channels, h, w]`, not in model space, to images of about -1..1, not clamped.
    pub fn decode(&self, latents: Tensor<4>) -> Tensor<4> {
        let latents = match &self.post_quant_conv {
            Some(conv) => conv.forward(latents),
            None => latents,
        };
        self.decoder.forward(latents)
    }

    /// `(latents - shift_factor) * scaling_factor`.
    pub fn to_model_space(&self, latents: Tensor<4>) -> Tensor<4> {
        latents.sub_scalar(self.shift_factor).mul_scalar(self.scaling_factor)
    }

    /// `latents / scaling_factor + shift_factor`.
    pub fn from_model_space(&self, latents: Tensor<4>) -> Tensor<4> {
        latents.div_scalar(self.scaling_factor).add_scalar(self.shift_factor)
    }
}
