//! The values of a running program.

use std::sync::Arc;

use crate::memory::{Buffer, Memory};

/// f32 elements in row-major order. Clones share their memory.
#[derive(Clone)]
pub(crate) struct Tensor {
    pub(crate) shape: Vec<usize>,
    elements: Arc<Buffer>,
}

impl Tensor {
    pub(crate) fn new(elements: impl Into<Buffer>, shape: &[usize]) -> Self {
        let elements = elements.into();
        debug_assert_eq!(elements.len(), shape.iter().product::<usize>());
        Self { shape: shape.to_vec(), elements: Arc::new(elements) }
    }

    pub(crate) fn elements(&self) -> &[f32] {
        &self.elements
    }

    /// The elements, moved if this is their only owner, else copied.
    pub(crate) fn into_elements(self, memory: &Memory) -> Buffer {
        Arc::try_unwrap(self.elements).unwrap_or_else(|shared| memory.copy_of(&shared))
    }

    /// The elements if this is their only owner, else the tensor.
    pub(crate) fn only(self) -> Result<Buffer, Self> {
        Arc::try_unwrap(self.elements).map_err(|elements| Self { shape: self.shape, elements })
    }

    /// The same elements under another shape.
    pub(crate) fn reshaped(self, shape: &[usize]) -> Self {
        Self { shape: shape.to_vec(), ..self }
    }
}
