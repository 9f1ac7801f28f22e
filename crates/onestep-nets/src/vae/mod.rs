//! diffusers' `AutoencoderKL` and `AutoencoderTiny`.

mod autoencoder_kl;
mod autoencoder_tiny;
mod latent_distribution;
mod vae_decoder;
mod vae_encoder;
mod vae_mid_block;

pub use autoencoder_kl::AutoencoderKl;
pub use autoencoder_tiny::{AutoencoderTiny, TinyBlock, TinyBlockConvs, TinyDecoder, TinyEncoder, TinyLayer};
pub use latent_distribution::LatentDistribution;
pub use vae_decoder::{VaeDecoder, VaeUpBlock};
pub use vae_encoder::{VaeDownBlock, VaeEncoder};
pub use vae_mid_block::VaeMidBlock;

/// Epsilon of every group normalisation of `AutoencoderKL`, fixed in diffusers.
pub(crate) const EPSILON: f64 = 1e-6;
