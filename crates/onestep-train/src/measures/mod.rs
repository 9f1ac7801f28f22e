//! What sets and pairs of images are measured by: pure functions of their features, one file per measure.
//!
//! A set of images is a [`FeatureMatrix`], one row per image. Sums are f64. Sets have at least two images; what has fewer is refused
//! before anything is measured.

mod feature_matrix;
mod frechet;
mod kernel;
mod manifold;
mod pairs;

pub use feature_matrix::{FeatureMatrix, squared_distance};
pub use frechet::{Gaussian, frechet_distance};
pub use kernel::{KernelDistance, kernel_distance};
pub use manifold::{Manifold, manifold};
pub use pairs::{diversity, mean_distance, psnr};
