//! LatentLPIPS: a perceptual distance that is computed on latents, without decoding them (Diffusion2GAN, section 3.1).

mod classifier;
mod latent_lpips_config;
mod latent_lpips_model;
mod latent_vgg;

pub use classifier::LatentClassifier;
pub use latent_lpips_config::{FEATURES, LatentLpipsConfig, LatentScaling, MetricSpace, NormKind};
pub use latent_lpips_model::LatentLpips;
pub use latent_vgg::LatentVgg;
