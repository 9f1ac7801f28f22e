//! Decodes model-space latents to images.

use burn::{module::Module, nn::conv::Conv2d, tensor::Tensor};

use crate::vae::{AutoencoderKl, VaeDecoder};

/// The decoder of an [`AutoencoderKl`], including the inverse of the latent scaling.
#[derive(Module, Debug)]
pub struct Decoder {
    /// The 1x1 convolution before the decoder, if the model has one.
    pub post_quant_conv: Option<Conv2d>,
    /// The decoder.
    pub decoder: VaeDecoder,
    /// The factor that latents were multiplied by.
    pub scaling_factor: f64,
    /// The shift that was subtracted from latents before that.
    pub shift_factor: f64,
}

impl Decoder {
    /// The decoder of `vae`.
    pub fn new(vae: AutoencoderKl) -> Self {
        Self { post_quant_conv: vae.post_quant_conv, decoder: vae.decoder, scaling_factor: vae.scaling_factor, shift_factor: vae.shift_factor }
    }

    /// Decodes model-space `latents` `[batch, latent channels, h, w]` to images of about -1..1, not clamped.
    pub fn forward(&self, latents: Tensor<4>) -> Tensor<4> {
        let mut x = latents.div_scalar(self.scaling_factor);
        if self.shift_factor != 0.0 {
            x = x.add_scalar(self.shift_factor);
        }
        if let Some(conv) = &self.post_quant_conv {
            x = conv.forward(x);
        }
        self.decoder.forward(x)
    }
}
