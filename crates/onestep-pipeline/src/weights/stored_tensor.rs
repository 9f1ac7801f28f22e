//! A tensor as it is stored.

use onestep_program::{ElementType, element::coordinates};

/// What is known of a tensor before it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Lengths of the axes.
    pub shape: Vec<usize>,
    /// The type of the elements.
    pub element: ElementType,
    /// Size in bytes.
    pub bytes: u64,
}

impl TensorInfo {
    /// The number of elements.
    pub fn elements(&self) -> u64 {
        self.shape.iter().map(|&length| length as u64).product()
    }
}

/// A tensor that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredTensor {
    /// Lengths of the axes.
    pub shape: Vec<usize>,
    /// The type of the elements.
    pub element: ElementType,
    /// The elements: little-endian, row-major.
    pub bytes: Vec<u8>,
}

impl StoredTensor {
    /// A tensor of f32.
    pub fn of_f32(shape: Vec<usize>, values: &[f32]) -> Self {
        Self { shape, element: ElementType::F32, bytes: values.iter().flat_map(|value| value.to_le_bytes()).collect() }
    }

    /// The elements as f32 in row-major order; `None` for types that are not converted, see [`ElementType::to_f32`].
    pub fn to_f32(&self) -> Option<Vec<f32>> {
        self.element.to_f32(&self.bytes)
    }

    /// The index along each axis of the first element that is NaN or infinite.
    pub fn first_non_finite(&self) -> Option<Vec<usize>> {
        self.element.first_non_finite(&self.bytes).map(|number| coordinates(&self.shape, number))
    }
}
