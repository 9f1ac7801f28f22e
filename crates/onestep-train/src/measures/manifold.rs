//! Precision, recall, density and coverage, by balls around each image that reach to its k-th nearest neighbour in the same set.
//!
//! Precision and recall are those of Kynkäänniemi et al. 2019 with k = 3. Density and coverage are those of Naeem et al. 2020 with k = 5, which
//! are less sensitive to outliers. A ball includes its boundary.

use serde::{Deserialize, Serialize};

use super::{FeatureMatrix, feature_matrix::squared_distance};

/// k of precision and recall.
const PRECISION_NEIGHBOURS: usize = 3;
/// k of density and coverage.
const COVERAGE_NEIGHBOURS: usize = 5;

/// How a generated set and a reference set cover each other.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifold {
    /// Fraction of the generated images inside a ball of the reference.
    pub precision: f64,
    /// Fraction of the reference images inside a ball of the generated set.
    pub recall: f64,
    /// Mean number of reference balls that contain a generated image, divided by k: 1 in expectation if both sets have one distribution.
    pub density: f64,
    /// Fraction of the reference balls that contain a generated image.
    pub coverage: f64,
}

/// Compares a generated set with a reference. In a set of k images or fewer, the farthest image counts as the k-th neighbour.
pub fn manifold(reference: &FeatureMatrix, generated: &FeatureMatrix) -> Manifold {
    let (count, generated_count) = (reference.rows(), generated.rows());
    let [narrow, wide] = radii(reference, [PRECISION_NEIGHBOURS, COVERAGE_NEIGHBOURS]);
    let [generated_narrow] = radii(generated, [PRECISION_NEIGHBOURS]);
    let mut precise = vec![false; generated_count];
    let (mut recalled, mut covered, mut balls) = (0usize, 0usize, 0usize);
    for index in 0..count {
        let (mut is_recalled, mut inside) = (false, 0);
        for other in 0..generated_count {
            let distance = squared_distance(reference.row(index), generated.row(other));
            precise[other] |= distance <= narrow[index];
            is_recalled |= distance <= generated_narrow[other];
            inside += usize::from(distance <= wide[index]);
        }
        recalled += usize::from(is_recalled);
        covered += usize::from(inside > 0);
        balls += inside;
    }
    let neighbours = COVERAGE_NEIGHBOURS.min(count - 1);
    Manifold {
        precision: precise.iter().filter(|&&inside| inside).count() as f64 / generated_count as f64,
        recall: recalled as f64 / count as f64,
        density: balls as f64 / (neighbours * generated_count) as f64,
        coverage: covered as f64 / count as f64,
    }
}

/// For each k the squared distance from every image to its k-th nearest neighbour.
fn radii<const N: usize>(set: &FeatureMatrix, neighbours: [usize; N]) -> [Vec<f64>; N] {
    let mut found = [const { Vec::new() }; N];
    for index in 0..set.rows() {
        let mut distances: Vec<f64> =
            (0..set.rows()).filter(|&other| other != index).map(|other| squared_distance(set.row(index), set.row(other))).collect();
        distances.sort_by(f64::total_cmp);
        for (radii, neighbours) in found.iter_mut().zip(neighbours) {
            radii.push(distances[neighbours.min(distances.len()) - 1]);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::feature_matrix::samples::{gaussian, reversed};
    use super::*;

    fn line(values: &[f32]) -> FeatureMatrix {
        FeatureMatrix::new(1, values.to_vec())
    }

    #[test]
    fn six_images_on_a_line_by_hand() {
        // Third neighbours of 0, 1, 2, 3, 4, 5 are 3, 2, 2, 2, 2, 3 away; fifth ones 5, 4, 3, 3, 4, 5.
        let reference = line(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(radii(&reference, [3, 5]), [vec![9.0, 4.0, 4.0, 4.0, 4.0, 9.0], vec![25.0, 16.0, 9.0, 9.0, 16.0, 25.0]]);
        // 7 is in the narrow ball of 5 (radius 3), 20, 21 and 22 are in none; no generated ball, 13 to 15 wide, misses any but 0 to 4:
        // third neighbours are 15, 13, 14 and 15 away, so that 7's reaches all, the others' begin at 7.
        let generated = line(&[7.0, 20.0, 21.0, 22.0]);
        let found = manifold(&reference, &generated);
        assert_eq!((found.precision, found.recall), (0.25, 1.0));
        // Wide balls with 7 in them: of 3 (radius 3: no, 4 away), of 4 (radius 4, 3 away), of 5 (radius 5, 2 away).
        assert_eq!((found.density, found.coverage), (2.0 / 20.0, 2.0 / 6.0));
    }

    #[test]
    fn equal_sets_are_whole() {
        for rows in [2, 3, 6, 40] {
            let set = gaussian(1, rows, 3, 0.0, 1.0);
            let found = manifold(&set, &reversed(&set));
            assert_eq!((found.precision, found.recall, found.coverage), (1.0, 1.0, 1.0), "{rows}");
            assert!(found.density > 0.0);
        }
    }

    #[test]
    fn far_sets_have_nothing_in_common() {
        let found = manifold(&gaussian(1, 30, 4, 0.0, 1.0), &gaussian(2, 20, 4, 100.0, 1.0));
        assert_eq!(found, Manifold { precision: 0.0, recall: 0.0, density: 0.0, coverage: 0.0 });
    }

    #[test]
    fn one_distribution_has_a_density_near_1_and_a_narrow_set_a_low_recall() {
        let reference = gaussian(1, 400, 4, 0.0, 1.0);
        let same = manifold(&reference, &gaussian(2, 400, 4, 0.0, 1.0));
        assert!((same.density - 1.0).abs() < 0.15 && same.coverage > 0.9 && same.recall > 0.6, "{same:?}");
        let narrow = manifold(&reference, &gaussian(3, 400, 4, 0.0, 0.2));
        assert!(narrow.precision > 0.95 && narrow.recall < 0.1 && narrow.density > 1.1, "{narrow:?}");
    }
}
