//! The features of a set of images.

use nalgebra::DMatrix;

/// A row-major matrix [images, features].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FeatureMatrix {
    columns: usize,
    values: Vec<f32>,
}

impl FeatureMatrix {
    /// A matrix with `columns` features per row.
    ///
    /// # Panics
    /// If `values` does not fill whole rows.
    pub fn new(columns: usize, values: Vec<f32>) -> Self {
        assert!(columns > 0 && values.len().is_multiple_of(columns), "{} values do not fill rows of {columns}", values.len());
        Self { columns, values }
    }

    /// Number of images.
    pub fn rows(&self) -> usize {
        self.values.len() / self.columns.max(1)
    }

    /// Number of features per image.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The features of one image.
    pub fn row(&self, index: usize) -> &[f32] {
        &self.values[index * self.columns..(index + 1) * self.columns]
    }

    /// The rows at these indices, in this order; an index may repeat.
    pub fn select(&self, indices: &[usize]) -> Self {
        Self { columns: self.columns, values: indices.iter().flat_map(|&index| self.row(index).iter().copied()).collect() }
    }

    /// The same values in f64.
    pub(super) fn to_f64(&self) -> DMatrix<f64> {
        DMatrix::from_row_iterator(self.rows(), self.columns, self.values.iter().map(|&value| f64::from(value)))
    }
}

/// Squared Euclidean distance of two rows.
pub fn squared_distance(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2)).sum()
}

/// Random sets for the tests of the measures.
#[cfg(test)]
pub(super) mod samples {
    use onestep_noise::{Stream, normal};

    use super::FeatureMatrix;

    /// `rows` × `columns` independent normal values with this mean and standard deviation.
    pub fn gaussian(seed: u64, rows: usize, columns: usize, mean: f32, deviation: f32) -> FeatureMatrix {
        FeatureMatrix::new(columns, normal(seed, Stream::Image, 0, rows * columns).into_iter().map(|value| mean + deviation * value).collect())
    }

    /// The rows in reverse order.
    pub fn reversed(set: &FeatureMatrix) -> FeatureMatrix {
        set.select(&(0..set.rows()).rev().collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_and_selected() {
        let set = FeatureMatrix::new(2, vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!((set.rows(), set.columns(), set.row(1)), (3, 2, &[3.0, 4.0][..]));
        assert_eq!(set.select(&[2, 0, 2]), FeatureMatrix::new(2, vec![5.0, 6.0, 1.0, 2.0, 5.0, 6.0]));
        assert_eq!(set.to_f64()[(2, 1)], 6.0);
        assert_eq!(squared_distance(set.row(0), set.row(2)), 32.0);
    }
}
