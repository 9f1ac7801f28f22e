//! Distances of latents: LatentLPIPS, how its network is learned, and E-LatentLPIPS, its ensemble over augmentations.

pub mod augmentation;
pub mod calibration;
pub mod classifier;
pub mod distance;
pub mod ensemble;
pub mod geometry;
pub mod metric_file;
pub mod overfit;
