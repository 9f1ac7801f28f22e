//! E-LatentLPIPS (Diffusion2GAN, section 3.1): LatentLPIPS averaged over random augmentations of both latents,
//! `d_E(x0, x1) = E_T[ d(T x0, T x1) ]`.
//!
//! As a loss, LatentLPIPS has flat regions and minima away from the target. E-LatentLPIPS has fewer of them. A training step estimates the
//! expectation by one sample of T.

use burn::tensor::Tensor;
use onestep_nets::LatentLpips;
use serde::{Deserialize, Serialize};

use super::latent_augmentation::{LatentAugmentation, LatentAugmentationOptions};

/// Options of E-LatentLPIPS.
#[derive(Clone, Debug, Default, PartialEq, clap::Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ELatentLpipsOptions {
    /// The distribution of T.
    #[command(flatten)]
    pub augmentation: LatentAugmentationOptions,
    /// Weight of the mean absolute difference of the latents, which is added to the distance.
    ///
    /// The latents are not augmented for it. It is 1 in the official package and 0 in the paper.
    #[arg(long, value_name = "WEIGHT")]
    pub absolute: f64,
}

/// The distances of model-space latents [N,C,H,W] under one sampled augmentation of N latents, or without one (LatentLPIPS): [N].
pub fn distance(metric: &LatentLpips, augmentation: Option<&LatentAugmentation>, absolute: f64, x0: Tensor<4>, x1: Tensor<4>) -> Tensor<1> {
    let [batch, ..] = x0.dims();
    let distance = match augmentation {
        Some(augmentation) => metric.forward(augmentation.apply(x0.clone()), augmentation.apply(x1.clone())),
        None => metric.forward(x0.clone(), x1.clone()),
    };
    if absolute == 0.0 {
        return distance;
    }
    let difference = (x0 - x1).abs().mean_dim(1).mean_dim(2).mean_dim(3).reshape([batch]);
    distance + difference.mul_scalar(absolute)
}
