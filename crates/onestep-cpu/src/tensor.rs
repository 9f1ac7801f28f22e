//! The values of a running program.

use std::sync::Arc;

/// f32 elements in row-major order. Clones share their memory.
#[derive(Clone)]
pub(crate) struct Tensor {
    pub(crate) shape: Vec<usize>,
    elements: Arc<Vec<f32>>,
}

impl Tensor {
    pub(crate) fn new(elements: Vec<f32>, shape: &[usize]) -> Self {
        debug_assert_eq!(elements.len(), shape.iter().product::<usize>());
        Self { shape: shape.to_vec(), elements: Arc::new(elements) }
    }

    pub(crate) fn elements(&self) -> &[f32] {
        &self.elements
    }

    /// The elements: moved out when this is their only owner, copied otherwise.
    pub(crate) fn into_elements(self) -> Vec<f32> {
        Arc::unwrap_or_clone(self.elements)
    }

    /// The same elements under another shape.
    pub(crate) fn reshaped(self, shape: &[usize]) -> Self {
        Self { shape: shape.to_vec(), ..self }
    }
}
