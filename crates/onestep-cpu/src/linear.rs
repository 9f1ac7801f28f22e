//! Linear layers and matrix products.

use onestep_program::Activation;

use crate::{
    memory::Memory,
    pointwise::{activate, add},
    product::Panels,
    tensor::Tensor,
    threads,
};

/// x […,K], weight [D,K] as panels, bias [D], residual […,D]: `act(x·weightᵀ + bias) + residual`.
pub(crate) fn linear(
    x: &Tensor,
    weight: &Panels,
    bias: Option<&[f32]>,
    act: Activation,
    residual: Option<&[f32]>,
    output: &[usize],
    memory: &Memory,
) -> Tensor {
    let (features, summed) = (weight.columns(), x.shape.last().copied().unwrap_or(1));
    let mut result = memory.zeros(output.iter().product());
    let rows = result.len() / features;
    let parts = threads::parts_of(result.len() * summed).min(rows);
    let rows_of_part = rows.div_ceil(parts);
    threads::for_chunks(&mut result, rows_of_part * features, parts, |part, result| {
        let first = part * rows_of_part;
        if let Some(bias) = bias {
            for row in result.chunks_exact_mut(features) {
                row.copy_from_slice(bias);
            }
        }
        weight.multiply(&x.elements()[first * summed..][..result.len() / features * summed], result);
        activate(result, act);
        if let Some(residual) = residual {
            add(result, &residual[first * features..][..result.len()]);
        }
    });
    Tensor::new(result, output)
}

/// a […,M,K], b […,K,N], leading axes broadcast.
pub(crate) fn mat_mul(a: &Tensor, b: &Tensor, output: &[usize], memory: &Memory) -> Tensor {
    let leading = output.len() - 2;
    let (rows, columns, summed) = (output[leading], output[leading + 1], a.shape[a.shape.len() - 1]);
    // The index of the operand's matrix that output matrix `index` uses.
    let matrix = |shape: &[usize], mut index: usize| {
        let shape = &shape[..shape.len() - 2];
        let (mut number, mut stride) = (0, 1);
        for axis in (0..leading).rev() {
            let along = index % output[axis];
            index /= output[axis];
            if let Some(axis) = (axis + shape.len()).checked_sub(leading) {
                number += if shape[axis] == 1 { 0 } else { along * stride };
                stride *= shape[axis];
            }
        }
        number
    };
    let mut result = memory.zeros(output.iter().product());
    let parts = threads::parts_of(result.len() * summed);
    threads::for_chunks(&mut result, rows * columns, parts, |index, result| {
        let a = &a.elements()[matrix(&a.shape, index) * rows * summed..][..rows * summed];
        let b = &b.elements()[matrix(&b.shape, index) * summed * columns..][..summed * columns];
        Panels::new(b, summed, columns).multiply(a, result);
    });
    Tensor::new(result, output)
}
