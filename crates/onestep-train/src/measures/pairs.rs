//! Measures of image pairs, and of the diversity among images of one prompt.

use super::{FeatureMatrix, feature_matrix::squared_distance};

/// Mean distance between row i of `a` and row i of `b`: the Euclidean distance divided by √features, which is a root mean square difference
/// and does not grow with the number of features.
pub fn mean_distance(a: &FeatureMatrix, b: &FeatureMatrix) -> f64 {
    (0..a.rows()).map(|row| distance(a.row(row), b.row(row))).sum::<f64>() / a.rows() as f64
}

/// Mean over prompts of the mean pairwise distance among the prompt's images (DreamDiv, with the features of `set` instead of DreamSim's).
/// `set` has `noises` consecutive rows per prompt.
pub fn diversity(set: &FeatureMatrix, noises: usize) -> f64 {
    let mut sum = 0.0;
    for first in 0..set.rows() {
        let end = (first / noises + 1) * noises;
        sum += (first + 1..end).map(|second| distance(set.row(first), set.row(second))).sum::<f64>();
    }
    let prompts = set.rows() / noises;
    sum / (prompts * noises * (noises - 1) / 2) as f64
}

/// Peak signal-to-noise ratio in dB, 10·log₁₀(4/MSE) with the MSE over all pairs; pixels in −1…1. None if all pairs are identical.
pub fn psnr<'a>(pairs: impl Iterator<Item = (&'a [f32], &'a [f32])>) -> Option<f64> {
    let (mut sum, mut count) = (0.0, 0usize);
    for (a, b) in pairs {
        sum += squared_distance(a, b);
        count += a.len();
    }
    (sum != 0.0).then(|| 10.0 * (4.0 * count as f64 / sum).log10())
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    (squared_distance(a, b) / a.len() as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::super::feature_matrix::samples::{gaussian, reversed};
    use super::*;

    #[test]
    fn distances_by_hand() {
        // √((9 + 16)/2) and 0.
        let (a, b) = (FeatureMatrix::new(2, vec![0.0, 0.0, 5.0, 5.0]), FeatureMatrix::new(2, vec![3.0, 4.0, 5.0, 5.0]));
        assert!((mean_distance(&a, &b) - 12.5f64.sqrt() / 2.0).abs() < 1e-12);
        assert_eq!(mean_distance(&a, &a), 0.0);
    }

    #[test]
    fn diversity_by_hand_and_within_prompts_only() {
        // {0, 1, 3}: (1 + 3 + 2)/3 = 2; {100, 100, 100}: 0.
        let set = FeatureMatrix::new(1, vec![0.0, 1.0, 3.0, 100.0, 100.0, 100.0]);
        assert_eq!(diversity(&set, 3), 1.0);
        let set = gaussian(1, 24, 5, 0.0, 1.0);
        assert!((diversity(&set, 8) - diversity(&reversed(&set), 8)).abs() < 1e-12);
    }

    #[test]
    fn psnr_by_hand() {
        // Every value differs by 0.02: MSE 0.0004, a ratio of 10⁴.
        let (a, b) = ([0.5f32; 6], [0.52f32; 6]);
        assert!((psnr([(&a[..], &b[..])].into_iter()).unwrap() - 40.0).abs() < 1e-4);
        assert_eq!(psnr([(&a[..], &a[..])].into_iter()), None);
    }
}
