//! The kernel distance between two sets: KID (Bińkowski et al. 2018) if the features are Inception-v3's.
//!
//! The squared maximum mean discrepancy with the polynomial kernel `k(x,y) = (x·y/d + 1)³` of d features, by the unbiased estimator (Gretton
//! et al. 2012, equation 3). For two sets of one distribution its mean is 0, so it can be negative:
//! `Σ_{i≠j} k(xᵢ,xⱼ)/(m(m−1)) + Σ_{i≠j} k(yᵢ,yⱼ)/(m(m−1)) − 2·Σ_{ij} k(xᵢ,yⱼ)/m²`.

use nalgebra::DMatrix;
use onestep_noise::{Philox, Stream};
use serde::{Deserialize, Serialize};

use super::FeatureMatrix;

/// Number of random subsets, as in the authors' code.
const SUBSETS: u64 = 100;
/// Maximum images per subset, as in the authors' code.
const SUBSET_SIZE: usize = 1000;

/// Mean and standard deviation over the subsets.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct KernelDistance {
    /// Mean of the distance.
    pub mean: f64,
    /// Standard deviation of the distance.
    pub standard_deviation: f64,
    /// Images per subset and set.
    pub subset_size: usize,
}

/// The distance over 100 random subsets of each set, with 1,000 images or half the smaller set, whichever is less. `seed` determines the
/// subsets.
pub fn kernel_distance(a: &FeatureMatrix, b: &FeatureMatrix, seed: u64) -> KernelDistance {
    // Half a set, because subsets with all images would be equal and have no spread.
    let subset_size = (a.rows().min(b.rows()) / 2).clamp(2, SUBSET_SIZE).min(a.rows()).min(b.rows());
    let found: Vec<f64> = (0..SUBSETS)
        .map(|number| {
            let mut random = Philox::new(seed, Stream::Order, number);
            let mut chosen = |set: &FeatureMatrix| set.select(&random.permutation(set.rows())[..subset_size]);
            squared_discrepancy(&chosen(a), &chosen(b))
        })
        .collect();
    let mean = found.iter().sum::<f64>() / found.len() as f64;
    let variance = found.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / found.len() as f64;
    KernelDistance { mean, standard_deviation: variance.sqrt(), subset_size }
}

/// The estimate from two whole sets.
fn squared_discrepancy(a: &FeatureMatrix, b: &FeatureMatrix) -> f64 {
    let (x, y) = (a.to_f64(), b.to_f64());
    let kernel = |x: &DMatrix<f64>, y: &DMatrix<f64>| (x * y.transpose()).map(|product| (product / x.ncols() as f64 + 1.0).powi(3));
    let within = |x: &DMatrix<f64>| {
        let (kernel, count) = (kernel(x, x), x.nrows() as f64);
        (kernel.sum() - kernel.trace()) / (count * (count - 1.0))
    };
    within(&x) + within(&y) - 2.0 * kernel(&x, &y).mean()
}

#[cfg(test)]
mod tests {
    use super::super::feature_matrix::samples::{gaussian, reversed};
    use super::*;

    #[test]
    fn two_images_each_by_hand() {
        // One feature; {0, 1} and {2, 3}: within (0·1 + 1)³ = 1 and (6 + 1)³ = 343; between (1 + 1 + 27 + 64)/4.
        let (a, b) = (FeatureMatrix::new(1, vec![0.0, 1.0]), FeatureMatrix::new(1, vec![2.0, 3.0]));
        assert_eq!(squared_discrepancy(&a, &b), 1.0 + 343.0 - 2.0 * 93.0 / 4.0);
        let found = kernel_distance(&a, &b, 7);
        assert_eq!((found.subset_size, found.standard_deviation), (2, 0.0));
        assert!((found.mean - 297.5).abs() < 1e-12);
    }

    #[test]
    fn the_product_is_divided_by_the_number_of_features() {
        // Two features: (1·1 + 1·1)/2 + 1 = 2 everywhere.
        let ones = FeatureMatrix::new(2, vec![1.0; 4]);
        let zeros = FeatureMatrix::new(2, vec![0.0; 4]);
        assert_eq!(squared_discrepancy(&ones, &zeros), 8.0 + 1.0 - 2.0);
    }

    #[test]
    fn the_mean_is_0_for_one_distribution_and_not_for_two() {
        let means: Vec<f64> =
            (0..20).map(|seed| squared_discrepancy(&gaussian(2 * seed + 1, 60, 5, 0.0, 1.0), &gaussian(2 * seed + 2, 60, 5, 0.0, 1.0))).collect();
        assert!(means.iter().any(|&value| value < 0.0) && means.iter().any(|&value| value > 0.0), "{means:?}");
        assert!((means.iter().sum::<f64>() / 20.0).abs() < 0.02, "{means:?}");
        assert!(kernel_distance(&gaussian(1, 200, 5, 0.0, 1.0), &gaussian(2, 200, 5, 0.5, 1.0), 0).mean > 0.1);
    }

    #[test]
    fn the_seed_determines_the_subsets_and_the_order_of_the_sets_does_not_matter() {
        let (a, b) = (gaussian(1, 50, 4, 0.0, 1.0), gaussian(2, 70, 4, 0.2, 1.0));
        let found = kernel_distance(&a, &b, 3);
        assert_eq!(found, kernel_distance(&a, &b, 3));
        assert_ne!(found, kernel_distance(&a, &b, 4));
        assert_eq!(found.subset_size, 25);
        assert!((squared_discrepancy(&a, &b) - squared_discrepancy(&b, &reversed(&a))).abs() < 1e-12);
    }
}
