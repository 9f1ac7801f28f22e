//! Operations that meet every element once, over slices of f32: flex's forms for every type of number are a quarter of a browser's module.

use burn_backend::ops::FloatTensorOps;
use burn_flex::{Flex, FlexTensor};
use onestep_program::{BinaryKind, ReduceKind};

use crate::dense::{elements, flex_shape, tensor};

pub(crate) fn binary(a: FlexTensor, b: FlexTensor, kind: BinaryKind, output: &[usize]) -> FlexTensor {
    match kind {
        BinaryKind::Add => zip(a, b, output, |a, b| a + b),
        BinaryKind::Sub => zip(a, b, output, |a, b| a - b),
        BinaryKind::Mul => zip(a, b, output, |a, b| a * b),
        BinaryKind::Div => zip(a, b, output, |a, b| a / b),
        BinaryKind::Pow => zip(a, b, output, f32::powf),
        BinaryKind::Min => zip(a, b, output, f32::min),
        BinaryKind::Max => zip(a, b, output, f32::max),
    }
}

/// With broadcasting; in the memory of `a` where nothing else reads it.
pub(crate) fn zip(a: FlexTensor, b: FlexTensor, output: &[usize], function: impl Fn(f32, f32) -> f32) -> FlexTensor {
    let spread = |x: FlexTensor| if x.layout().shape()[..] == flex_shape(output)[..] { x } else { Flex::float_expand(x, flex_shape(output)) };
    let mut data = elements(spread(a));
    let b = spread(b).to_contiguous();
    let b: &[f32] = b.storage();
    for (a, &b) in data.iter_mut().zip(b) {
        *a = function(*a, b);
    }
    tensor(data, output)
}

pub(crate) fn concat(parts: &[FlexTensor], axis: usize, output: &[usize]) -> FlexTensor {
    let parts: Vec<FlexTensor> = parts.iter().map(FlexTensor::to_contiguous).collect();
    let outer: usize = output[..axis].iter().product();
    let mut data = Vec::with_capacity(output.iter().product());
    for index in 0..outer {
        for part in &parts {
            let part: &[f32] = part.storage();
            let length = part.len() / outer;
            data.extend_from_slice(&part[index * length..][..length]);
        }
    }
    tensor(data, output)
}

/// Sums in f64, from the first to the last.
pub(crate) fn reduce(x: &FlexTensor, kind: ReduceKind, axis: usize, output: &[usize]) -> FlexTensor {
    let x = x.to_contiguous();
    let shape = x.layout().shape();
    let (length, inner) = (shape[axis], shape[axis + 1..].iter().product::<usize>());
    let values: &[f32] = x.storage();
    let mut data = Vec::with_capacity(values.len() / length);
    for block in values.chunks_exact(length * inner) {
        for at in 0..inner {
            let column = block[at..].iter().step_by(inner).copied();
            data.push(match kind {
                ReduceKind::Sum => column.map(f64::from).sum::<f64>() as f32,
                ReduceKind::Mean => (column.map(f64::from).sum::<f64>() / length as f64) as f32,
                ReduceKind::Max => column.fold(f32::NEG_INFINITY, |most, value| if value > most || value.is_nan() { value } else { most }),
            });
        }
    }
    tensor(data, output)
}
