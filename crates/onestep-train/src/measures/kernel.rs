//! The kernel distance of two sets, KID where the features are Inception-v3's (Bińkowski et al. 2018).
//!
//! The squared maximum mean discrepancy under the polynomial kernel `k(x,y) = (x·y/d + 1)³` of d features, by the estimator without bias
//! (Gretton et al. 2012, equation 3), so that it is 0 in the mean, and below 0 as often as above, for two sets of one distribution:
//! `Σ_{i≠j} k(xᵢ,xⱼ)/(m(m−1)) + Σ_{i≠j} k(yᵢ,yⱼ)/(m(m−1)) − 2·Σ_{ij} k(xᵢ,yⱼ)/m²`.

use nalgebra::DMatrix;
use onestep_noise::{Philox, Stream};
use serde::{Deserialize, Serialize};

use super::FeatureMatrix;

/// Subsets that are drawn, and the most images in one, as in the authors' code.
const SUBSETS: u64 = 100;
const SUBSET_SIZE: usize = 1000;

/// Mean and standard deviation over the subsets.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct KernelDistance {
    /// The distance.
    pub mean: f64,
    /// How far one subset's is from another's.
    pub deviation: f64,
    /// Images of each set in a subset.
    pub subset: usize,
}

/// The distance over 100 subsets of 1,000 images of each set, or of half of the smaller set if that is less; `seed` names the subsets.
pub fn kernel_distance(a: &FeatureMatrix, b: &FeatureMatrix, seed: u64) -> KernelDistance {
    // Half of a set: subsets of the whole would all be the same, and tell nothing of the spread.
    let subset = (a.rows().min(b.rows()) / 2).clamp(2, SUBSET_SIZE).min(a.rows()).min(b.rows());
    let found: Vec<f64> = (0..SUBSETS)
        .map(|number| {
            let mut draw = Philox::new(seed, Stream::Order, number);
            let mut chosen = |set: &FeatureMatrix| set.select(&draw.permutation(set.rows())[..subset]);
            squared_discrepancy(&chosen(a), &chosen(b))
        })
        .collect();
    let mean = found.iter().sum::<f64>() / found.len() as f64;
    let variance = found.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / found.len() as f64;
    KernelDistance { mean, deviation: variance.sqrt(), subset }
}

/// The estimate from all of two sets.
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
        assert_eq!((found.subset, found.deviation), (2, 0.0));
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
    fn one_distribution_is_0_apart_in_the_mean_and_two_are_not() {
        let means: Vec<f64> =
            (0..20).map(|seed| squared_discrepancy(&gaussian(2 * seed + 1, 60, 5, 0.0, 1.0), &gaussian(2 * seed + 2, 60, 5, 0.0, 1.0))).collect();
        assert!(means.iter().any(|&value| value < 0.0) && means.iter().any(|&value| value > 0.0), "{means:?}");
        assert!((means.iter().sum::<f64>() / 20.0).abs() < 0.02, "{means:?}");
        assert!(kernel_distance(&gaussian(1, 200, 5, 0.0, 1.0), &gaussian(2, 200, 5, 0.5, 1.0), 0).mean > 0.1);
    }

    #[test]
    fn the_seed_names_the_subsets_and_the_order_of_the_sets_is_nothing() {
        let (a, b) = (gaussian(1, 50, 4, 0.0, 1.0), gaussian(2, 70, 4, 0.2, 1.0));
        let found = kernel_distance(&a, &b, 3);
        assert_eq!(found, kernel_distance(&a, &b, 3));
        assert_ne!(found, kernel_distance(&a, &b, 4));
        assert_eq!(found.subset, 25);
        assert!((squared_discrepancy(&a, &b) - squared_discrepancy(&b, &reversed(&a))).abs() < 1e-12);
    }
}
