//! From a model-space latent to an image: the half of the autoencoder that runs in the browser.

use burn::{module::Module, nn::conv::Conv2d, tensor::Tensor};

use crate::vae::{AutoencoderKl, VaeDecoder};

/// The decoding half of an [`AutoencoderKl`], with its scaling undone first.
#[derive(Module, Debug)]
pub struct Decoder {
    /// 1x1 in front of the decoder, where the model has one.
    pub post_quant_conv: Option<Conv2d>,
    /// The decoder.
    pub decoder: VaeDecoder,
    /// Latents were multiplied by this.
    pub scaling_factor: f64,
    /// This was taken from latents before that.
    pub shift_factor: f64,
}

impl Decoder {
    /// Keeps the decoding half of `vae`.
    pub fn new(vae: AutoencoderKl) -> Self {
        Self { post_quant_conv: vae.post_quant_conv, decoder: vae.decoder, scaling_factor: vae.scaling_factor, shift_factor: vae.shift_factor }
    }

    /// Model-space `latents` `[batch, latent channels, h, w]` to images of about -1..1, not clamped.
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
