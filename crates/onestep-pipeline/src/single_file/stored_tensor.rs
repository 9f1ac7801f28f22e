//! How a tensor is made from what is stored.

use std::ops::Range;

/// Where the values of a tensor are stored, and what is to be done to them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredTensor {
    /// Name in the file.
    pub key: String,
    /// Shape in the file.
    pub stored_shape: Vec<usize>,
    /// Shape of the tensor that is made.
    pub shape: Vec<usize>,
    /// How it is made.
    pub transform: Transform,
}

/// What is done to a stored tensor. No transform changes a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transform {
    /// Nothing.
    None,
    /// These rows are taken, where a row is all that has the same first index.
    Rows(Range<usize>),
    /// The two axes of a matrix are exchanged.
    Transpose,
    /// Trailing axes of length 1 are dropped; the values stay as they are.
    DropTrailingOnes,
}

impl StoredTensor {
    /// The part of the stored bytes that is needed: offset and length, for elements of `element` bytes each.
    ///
    /// `None` if these numbers exceed 64 bits.
    pub fn byte_range(&self, element: usize) -> Option<Range<u64>> {
        let product = |shape: &[usize]| shape.iter().try_fold(element as u64, |bytes, &axis| bytes.checked_mul(axis as u64));
        match &self.transform {
            Transform::Rows(rows) => {
                let row = product(&self.stored_shape[1..])?;
                Some(row.checked_mul(rows.start as u64)?..row.checked_mul(rows.end as u64)?)
            }
            _ => Some(0..product(&self.stored_shape)?),
        }
    }

    /// Makes the tensor's bytes from those of [`byte_range`](Self::byte_range), for elements of `element` bytes each.
    ///
    /// Bytes of another length than that range are returned as they are.
    pub fn apply(&self, bytes: Vec<u8>, element: usize) -> Vec<u8> {
        let (Transform::Transpose, &[rows, columns]) = (&self.transform, &*self.shape) else { return bytes };
        if rows.checked_mul(columns).and_then(|count| count.checked_mul(element)) != Some(bytes.len()) {
            return bytes;
        }
        let mut transposed = Vec::with_capacity(bytes.len());
        for row in 0..rows {
            for column in 0..columns {
                let at = (column * rows + row) * element;
                transposed.extend_from_slice(&bytes[at..at + element]);
            }
        }
        transposed
    }
}
