//! Perceptual distances of latents: LatentLPIPS, how its network is trained, and E-LatentLPIPS, its average over augmentations.
//!
//! - [`latent_vgg`]: trains the features, a VGG-16 that classifies latents;
//! - [`calibration`]: trains the heads on two-alternative forced choices, as LPIPS does;
//! - [`e_latent_lpips`] with [`latent_augmentation`] and its [`geometry`]: the loss of the distillation;
//! - [`distance`] and [`overfit`]: commands that examine a metric;
//! - [`metric_file`]: a metric on disk.

pub mod calibration;
pub mod distance;
pub mod e_latent_lpips;
pub mod geometry;
pub mod latent_augmentation;
pub mod latent_vgg;
pub mod metric_file;
pub mod overfit;
