//! Measures of sets and pairs of images: pure functions of their features, one file per measure.
//!
//! A set of images is a [`FeatureMatrix`], one row per image, with at least two rows. Sums are f64.

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
