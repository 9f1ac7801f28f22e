//! Reductions: sums and maxima in SIMD lanes.

use onestep_program::ReduceKind;

use crate::{memory::Memory, tensor::Tensor};

/// Runs a closure compiled for the widest SIMD instructions of this CPU.
#[inline(always)]
pub(crate) fn vectorized<R>(work: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(work)
}

/// The sum of `of` over all elements; blocks of 1,024 are summed in f32, the blocks in f64.
pub(crate) fn sum(values: &[f32], of: impl Fn(f32) -> f32) -> f64 {
    vectorized(|| {
        let mut total = 0.0;
        for chunk in values.chunks(1024) {
            let (parts, rest) = chunk.as_chunks::<16>();
            let mut lanes = [0.0f32; 16];
            for part in parts {
                for (lane, &value) in lanes.iter_mut().zip(part) {
                    *lane += of(value);
                }
            }
            total += lanes.iter().map(|&lane| f64::from(lane)).sum::<f64>() + rest.iter().map(|&value| f64::from(of(value))).sum::<f64>();
        }
        total
    })
}

/// The largest element; NaN is ignored.
pub(crate) fn maximum(values: &[f32]) -> f32 {
    vectorized(|| {
        let (parts, rest) = values.as_chunks::<16>();
        let mut lanes = [f32::NEG_INFINITY; 16];
        for part in parts {
            for (lane, &value) in lanes.iter_mut().zip(part) {
                *lane = if value > *lane { value } else { *lane };
            }
        }
        lanes.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max)
    })
}

/// Reduces one axis, which remains with length 1. Sums are in f64 and in order.
pub(crate) fn reduce(x: &Tensor, kind: ReduceKind, axis: usize, output: &[usize], memory: &Memory) -> Tensor {
    let (length, inner) = (x.shape[axis], x.shape[axis + 1..].iter().product::<usize>());
    let mut result = memory.empty(x.elements().len() / length);
    for block in x.elements().chunks_exact(length * inner) {
        for at in 0..inner {
            let column = block[at..].iter().step_by(inner).copied();
            result.push(match kind {
                ReduceKind::Sum => column.map(f64::from).sum::<f64>() as f32,
                ReduceKind::Mean => (column.map(f64::from).sum::<f64>() / length as f64) as f32,
                ReduceKind::Max => column.fold(f32::NEG_INFINITY, |most, value| if value > most || value.is_nan() { value } else { most }),
            });
        }
    }
    Tensor::new(result, output)
}
