//! Decodes model-space latents to images.

use burn::{module::Module, nn::conv::Conv2d, tensor::Tensor};

use crate::vae::{AutoencoderKl, AutoencoderTiny, TinyDecoder, VaeDecoder};

/// The decoder of an autoencoder, including the inverse of the latent scaling.
#[derive(Module, Debug)]
pub struct Decoder {
    /// The 1x1 convolution before the decoder, if the model has one.
    pub post_quant_conv: Option<Conv2d>,
    /// The decoder.
    pub decoder: DecoderNetwork,
    /// The factor that latents were multiplied by.
    pub scaling_factor: f64,
    /// The shift that was subtracted from latents before that.
    pub shift_factor: f64,
}

/// The network of a [`Decoder`]. Parameter names do not show the variant.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one of it")]
pub enum DecoderNetwork {
    /// Of an [`AutoencoderKl`].
    Kl(VaeDecoder),
    /// Of an [`AutoencoderTiny`].
    Tiny(TinyDecoder),
}

impl From<AutoencoderKl> for Decoder {
    fn from(vae: AutoencoderKl) -> Self {
        Self {
            post_quant_conv: vae.post_quant_conv,
            decoder: DecoderNetwork::Kl(vae.decoder),
            scaling_factor: vae.scaling_factor,
            shift_factor: vae.shift_factor,
        }
    }
}

impl From<AutoencoderTiny> for Decoder {
    fn from(vae: AutoencoderTiny) -> Self {
        Self { post_quant_conv: None, decoder: DecoderNetwork::Tiny(vae.decoder), scaling_factor: vae.scaling_factor, shift_factor: vae.shift_factor }
    }
}

impl Decoder {
    /// The decoder of `vae`.
    pub fn new(vae: impl Into<Self>) -> Self {
        vae.into()
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
        match &self.decoder {
            DecoderNetwork::Kl(decoder) => decoder.forward(x),
            DecoderNetwork::Tiny(decoder) => decoder.forward(x),
        }
    }
}
