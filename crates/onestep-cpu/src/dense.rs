//! Between flex's tensors and plain vectors of f32.

use burn_backend::{Shape, TensorData};
use burn_flex::FlexTensor;

/// A flex tensor of these elements; a program's scalar (no axes) becomes one axis of length 1.
pub(crate) fn tensor(data: Vec<f32>, shape: &[usize]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(data, flex_shape(shape)))
}

/// The shape under which flex holds a value of this shape.
pub(crate) fn flex_shape(shape: &[usize]) -> Shape {
    if shape.is_empty() { Shape::from(vec![1]) } else { Shape::from(shape.to_vec()) }
}

/// The elements in row-major order: moved out when the tensor is their only owner, copied otherwise.
pub(crate) fn elements(tensor: FlexTensor) -> Vec<f32> {
    // Every tensor of this crate is made as f32 and flex keeps the type, so this cannot fail.
    tensor.into_data().try_into_vec::<f32>().unwrap_or_default()
}

/// Applies `function` to every element, in place when the tensor is the only owner of its memory.
pub(crate) fn map(tensor: FlexTensor, function: impl Fn(f32) -> f32) -> FlexTensor {
    let shape = tensor.layout().shape().to_vec();
    let mut data = elements(tensor);
    for element in &mut data {
        *element = function(*element);
    }
    self::tensor(data, &shape)
}
