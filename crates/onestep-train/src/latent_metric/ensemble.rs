//! E-LatentLPIPS: the distance behind one random change of both latents, `d_E(x0, x1) = E_T[ d(T x0, T x1) ]`.
//!
//! As a loss the plain distance has flat places and minima that are not the target; with a fresh change T in every step these go away.

use burn::tensor::Tensor;
use onestep_nets::LatentLpips;
use serde::{Deserialize, Serialize};

use super::augmentation::{Augmentation, AugmentationOptions};

/// How the distance is used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EnsembleOptions {
    /// The changes; without groups this is plain LatentLPIPS.
    pub augmentation: AugmentationOptions,
    /// Weight of the mean absolute difference of the unchanged latents, which the official package adds with weight 1 and the paper does not.
    pub absolute: f64,
}

impl Default for EnsembleOptions {
    fn default() -> Self {
        Self { augmentation: AugmentationOptions::default(), absolute: 0.0 }
    }
}

/// The distances of model-space latents [N,C,H,W] behind one draw: [N]. The draw is made with [`AugmentationOptions::draw`] for N samples.
pub fn distance(metric: &LatentLpips, draw: &Augmentation, absolute: f64, x0: Tensor<4>, x1: Tensor<4>) -> Tensor<1> {
    let [batch, ..] = x0.dims();
    let distance = metric.forward(draw.apply(x0.clone()), draw.apply(x1.clone()));
    if absolute == 0.0 {
        return distance;
    }
    let difference = (x0 - x1).abs().mean_dim(1).mean_dim(2).mean_dim(3).reshape([batch]);
    distance + difference.mul_scalar(absolute)
}
