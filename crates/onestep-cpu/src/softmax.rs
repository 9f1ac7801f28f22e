//! Softmax of a row of scores, and over one axis of a tensor.

use crate::{
    memory::Memory,
    pointwise::exp,
    reduce::{maximum, vectorized},
    tensor::Tensor,
};

/// `softmax(scale · scores)` in place.
pub(crate) fn softmax(scores: &mut [f32], scale: f32) {
    // With a negative scale, the smallest score has the largest exponent.
    let most = if scale >= 0.0 { maximum(scores) } else { -maximum_of_negated(scores) };
    let sum = vectorized(|| {
        let (parts, rest) = scores.as_chunks_mut::<16>();
        let mut lanes = [0.0f32; 16];
        for part in parts {
            for (lane, score) in lanes.iter_mut().zip(part) {
                *score = exp(scale * (*score - most));
                *lane += *score;
            }
        }
        let mut sum: f32 = lanes.iter().sum();
        for score in rest {
            *score = exp(scale * (*score - most));
            sum += *score;
        }
        sum
    });
    let factor = 1.0 / sum;
    for score in scores {
        *score *= factor;
    }
}

fn maximum_of_negated(scores: &[f32]) -> f32 {
    scores.iter().fold(f32::NEG_INFINITY, |most, &score| most.max(-score))
}

/// Softmax over one axis.
pub(crate) fn softmax_over(x: Tensor, axis: usize, memory: &Memory) -> Tensor {
    let shape = x.shape.clone();
    let (length, inner) = (shape[axis], shape[axis + 1..].iter().product::<usize>());
    let mut elements = x.into_elements(memory);
    let mut column = vec![0.0; length];
    for block in elements.chunks_exact_mut(length * inner) {
        if inner == 1 {
            softmax(block, 1.0);
            continue;
        }
        for at in 0..inner {
            for (to, from) in column.iter_mut().zip(block[at..].iter().step_by(inner)) {
                *to = *from;
            }
            softmax(&mut column, 1.0);
            for (to, from) in block[at..].iter_mut().step_by(inner).zip(&column) {
                *to = *from;
            }
        }
    }
    Tensor::new(elements, &shape)
}
