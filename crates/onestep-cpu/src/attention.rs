//! Attention, some queries at a time: the scores of all would be the largest matrix of a network.

use crate::{
    pointwise::exp,
    product::Panels,
    reduce::{maximum, vectorized},
    tensor::Tensor,
    threads,
};

/// Queries whose scores are in memory at once; a multiple of a tile's rows.
const QUERIES: usize = 48;

/// q [N,heads,Lq,D], k [N,heads,Lk,D], v [N,heads,Lk,Dv]: `softmax(scale·q·kᵀ)·v`, [N,heads,Lq,Dv], which is `output`. Causal: query i
/// sees keys 0..=i.
pub(crate) fn attention(q: &Tensor, k: &Tensor, v: &Tensor, scale: f32, causal: bool, output: &[usize]) -> Tensor {
    let (queries, keys, width, features) = (q.shape[2], k.shape[2], q.shape[3], output[3]);
    let mut result = vec![0.0; output.iter().product()];
    let parts = threads::parts_of(result.len() * keys * 2);
    threads::for_chunks(&mut result, queries * features, parts, |head, result| {
        let transposed_keys = Panels::transposed(&k.elements()[head * keys * width..][..keys * width], keys, width);
        let values = Panels::new(&v.elements()[head * keys * features..][..keys * features], keys, features);
        let q = &q.elements()[head * queries * width..][..queries * width];
        let mut scores = vec![0.0; QUERIES.min(queries) * keys];
        for (block, (q, result)) in q.chunks(QUERIES * width).zip(result.chunks_mut(QUERIES * features)).enumerate() {
            let scores = &mut scores[..q.len() / width * keys];
            scores.fill(0.0);
            transposed_keys.multiply(q, scores);
            for (row, scores) in scores.chunks_exact_mut(keys).enumerate() {
                let seen = if causal { (block * QUERIES + row + 1).min(keys) } else { keys };
                scores[seen..].fill(0.0);
                softmax(&mut scores[..seen], scale);
            }
            values.multiply(scores, result);
        }
    });
    Tensor::new(result, output)
}

/// `softmax(scale · scores)` in place.
pub(crate) fn softmax(scores: &mut [f32], scale: f32) {
    // A negative scale would make the least score the one to subtract.
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
