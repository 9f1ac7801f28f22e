//! The Fréchet distance between two Gaussians with the means and covariances of two sets.
//!
//! `|μ₁ − μ₂|² + Tr(Σ₁ + Σ₂ − 2·(Σ₁Σ₂)^½)` (Dowson and Landau 1982). With features of Inception-v3 this is the FID (Heusel et al. 2017);
//! values in other feature spaces cannot be compared with FIDs.
//!
//! The matrix square root is not computed. With `Σ = FᵀF` for both sets, the nonzero eigenvalues of `Σ₁Σ₂` are those of
//! `(F₁F₂ᵀ)(F₁F₂ᵀ)ᵀ`, so the trace of the root is the sum of the singular values of `F₁F₂ᵀ`. This has two advantages: the error of a singular
//! value is ε times the largest one, while the root of an eigenvalue would have an error of √ε; and sets with fewer images than features,
//! which have singular covariances, need no special case.

use nalgebra::{DMatrix, RowDVector, SVD, SymmetricEigen};

use super::FeatureMatrix;

/// Maximum iterations per singular value or eigenvalue: a bound for input that is not finite, far above the normal number.
const SWEEPS: usize = 100;

/// Mean and covariance of a set.
#[derive(Clone, Debug)]
pub struct Gaussian {
    /// [features].
    mean: RowDVector<f64>,
    /// F of Σ = FᵀF: [at most images and features, features].
    factor: DMatrix<f64>,
}

impl Gaussian {
    /// The Gaussian of a set of at least two images, with the unbiased covariance (divided by images − 1).
    pub fn of(set: &FeatureMatrix) -> Self {
        let mut rows = set.to_f64();
        let (count, features) = rows.shape();
        let mean = rows.row_mean();
        for mut row in rows.row_iter_mut() {
            row -= &mean;
        }
        rows /= (count.max(2) as f64 - 1.0).sqrt();
        if count <= features {
            return Self { mean, factor: rows };
        }
        // More images than features: Σ = V·Λ·Vᵀ gives the smaller factor Λ^½·Vᵀ. Directions at rounding level are dropped.
        let covariance = rows.tr_mul(&rows);
        let Some(eigen) = SymmetricEigen::try_new(covariance, f64::EPSILON, SWEEPS * features) else { return Self { mean, factor: rows } };
        let least = eigen.eigenvalues.amax() * features as f64 * f64::EPSILON;
        let kept: Vec<usize> = (0..features).filter(|&index| eigen.eigenvalues[index] > least).collect();
        let factor =
            DMatrix::from_fn(kept.len(), features, |row, column| eigen.eigenvalues[kept[row]].sqrt() * eigen.eigenvectors[(column, kept[row])]);
        Self { mean, factor }
    }
}

/// The squared Fréchet distance, as papers report it, at least 0; NaN for features that are not finite.
pub fn frechet_distance(a: &Gaussian, b: &Gaussian) -> f64 {
    let means = (&a.mean - &b.mean).norm_squared();
    let variances = a.factor.norm_squared() + b.factor.norm_squared();
    let Some(shared) = sum_of_singular_values(&a.factor * b.factor.transpose()) else { return f64::NAN };
    let distance = means + variances - 2.0 * shared;
    // Equal sets differ by rounding only.
    if distance < 1e-12 * (means + variances) { 0.0 } else { distance }
}

fn sum_of_singular_values(matrix: DMatrix<f64>) -> Option<f64> {
    if matrix.is_empty() {
        return Some(0.0);
    }
    if matrix.iter().any(|value| !value.is_finite()) {
        return None;
    }
    let sweeps = SWEEPS * matrix.nrows().max(matrix.ncols());
    Some(SVD::try_new_unordered(matrix, false, false, f64::EPSILON, sweeps)?.singular_values.sum())
}

#[cfg(test)]
mod tests {
    use super::super::feature_matrix::samples::{gaussian, reversed};
    use super::*;

    fn distance(a: &FeatureMatrix, b: &FeatureMatrix) -> f64 {
        frechet_distance(&Gaussian::of(a), &Gaussian::of(b))
    }

    #[test]
    fn one_feature_by_hand() {
        // Means 1 and 5, variances 2 and 8: 4² + 2 + 8 − 2·√16.
        let (a, b) = (FeatureMatrix::new(1, vec![0.0, 2.0]), FeatureMatrix::new(1, vec![3.0, 7.0]));
        assert!((distance(&a, &b) - 18.0).abs() < 1e-12, "{}", distance(&a, &b));
    }

    #[test]
    fn independent_features_add_up() {
        // Two features without covariance; variances (4/3, 4/3) and (12, 4/3), means differ by (3, 0): 9 + (√12 − √(4/3))².
        let a = FeatureMatrix::new(2, vec![1.0, 1.0, 1.0, -1.0, -1.0, 1.0, -1.0, -1.0]);
        let b = FeatureMatrix::new(2, vec![6.0, 1.0, 6.0, -1.0, 0.0, 1.0, 0.0, -1.0]);
        let expected = 9.0 + (12f64.sqrt() - (4.0f64 / 3.0).sqrt()).powi(2);
        assert!((distance(&a, &b) - expected).abs() < 1e-12, "{} {expected}", distance(&a, &b));
    }

    #[test]
    fn covariance_counts_and_not_variances_alone() {
        // x = y against x = −y, variance 2 each: Σ₁Σ₂ = 0, so all four variances stay.
        let a = FeatureMatrix::new(2, vec![1.0, 1.0, -1.0, -1.0]);
        let b = FeatureMatrix::new(2, vec![1.0, -1.0, -1.0, 1.0]);
        assert!((distance(&a, &b) - 8.0).abs() < 1e-12, "{}", distance(&a, &b));
    }

    #[test]
    fn equal_sets_have_distance_0_with_any_number_of_images() {
        for (rows, columns) in [(2, 1), (3, 40), (40, 40), (41, 40), (300, 7)] {
            let set = gaussian(3, rows, columns, 0.5, 2.0);
            assert_eq!(distance(&set, &set), 0.0, "{rows} {columns}");
            assert_eq!(distance(&set, &reversed(&set)), 0.0, "{rows} {columns}");
        }
        let one_image_twice = FeatureMatrix::new(3, vec![1.0, 2.0, 3.0, 1.0, 2.0, 3.0]);
        assert_eq!(distance(&one_image_twice, &one_image_twice), 0.0);
    }

    #[test]
    fn both_ways_to_the_covariance_agree_and_order_does_not_matter() {
        // Duplicated features: the rank is half the columns, and 30 images take another branch than 90.
        let doubled = |set: &FeatureMatrix| {
            let values = (0..set.rows()).flat_map(|row| [set.row(row), set.row(row)].concat()).collect();
            FeatureMatrix::new(2 * set.columns(), values)
        };
        for (few, many) in [(30, 90), (30, 30), (90, 90)] {
            let (a, b) = (gaussian(1, few, 20, 0.0, 1.0), gaussian(2, many, 20, 0.3, 1.5));
            let (single, twice) = (distance(&a, &b), distance(&doubled(&a), &doubled(&b)));
            assert!((twice / single - 2.0).abs() < 1e-9, "{single} {twice}");
            assert!((distance(&b, &a) / single - 1.0).abs() < 1e-9);
            assert!((distance(&reversed(&a), &b) / single - 1.0).abs() < 1e-9);
        }
    }

    #[test]
    fn large_samples_come_near_the_distributions() {
        // Per feature 0.5² + (2 − 1)²; 8 features.
        let found = distance(&gaussian(5, 4000, 8, 0.0, 1.0), &gaussian(6, 4000, 8, 0.5, 2.0));
        assert!((found - 10.0).abs() < 0.5, "{found}");
    }

    #[test]
    fn what_is_not_finite_is_nan_and_ends() {
        let broken = FeatureMatrix::new(2, vec![f32::NAN, 1.0, 2.0, 3.0, 4.0, 5.0]);
        assert!(distance(&broken, &gaussian(1, 3, 2, 0.0, 1.0)).is_nan());
    }
}
