//! Tensors as the bytes of a safetensors file.

use safetensors::{Dtype, tensor::TensorView};

/// f32 tensors (name, lengths of the axes, elements in row-major order) as the bytes of a safetensors file; equal tensors give equal bytes.
/// A tensor is left out if its shape does not fit its elements.
pub fn tensor_bytes(tensors: &[(String, Vec<usize>, Vec<f32>)]) -> Vec<u8> {
    let data: Vec<Vec<u8>> = tensors.iter().map(|(_, _, data)| data.iter().flat_map(|value| value.to_le_bytes()).collect()).collect();
    let views = tensors
        .iter()
        .zip(&data)
        .filter_map(|((name, shape, _), bytes)| Some((name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).ok()?)));
    safetensors::serialize(views, None).unwrap_or_default()
}
