//! Attention in blocks of queries, because the scores of all queries would be the largest matrix of a network.

use crate::{memory::Memory, product::Panels, softmax::softmax, tensor::Tensor, threads};

/// Queries per block; a multiple of a tile's rows.
const QUERIES: usize = 48;
/// Cost of one exponential, in multiply-adds.
const SOFTMAX_WORK: usize = 16;

/// q [N,heads,Lq,D], k [N,heads,Lk,D], v [N,heads,Lk,Dv]: `softmax(scale·q·kᵀ)·v` of shape `output`, [N,heads,Lq,Dv]. If causal,
/// query i attends to the keys 0..=i.
pub(crate) fn attention([q, k, v]: [&Tensor; 3], scale: f32, causal: bool, output: &[usize], memory: &Memory) -> Tensor {
    let (queries, keys, width, features) = (q.shape[2], k.shape[2], q.shape[3], output[3]);
    let mut result = memory.zeros(output.iter().product());
    let heads: Vec<(Panels, Panels)> = (k.elements().chunks_exact(keys * width).zip(v.elements().chunks_exact(keys * features)))
        .map(|(k, v)| (Panels::transposed(k, keys, width), Panels::new(v, keys, features)))
        .collect();
    // Blocks of queries of all heads.
    let mut blocks = Vec::new();
    for ((head, q), result) in heads.iter().zip(q.elements().chunks_exact(queries * width)).zip(result.chunks_exact_mut(queries * features)) {
        for (block, (q, result)) in q.chunks(QUERIES * width).zip(result.chunks_mut(QUERIES * features)).enumerate() {
            blocks.push((head, block * QUERIES, q, result));
        }
    }
    let parts = threads::parts_of(heads.len() * queries * keys * (width + features + SOFTMAX_WORK));
    threads::for_each_of(
        blocks,
        parts,
        || memory.stale(QUERIES.min(queries) * keys),
        |scores, ((transposed_keys, values), first, q, result)| {
            let scores = &mut scores[..q.len() / width * keys];
            scores.fill(0.0);
            transposed_keys.multiply(q, scores);
            for (row, scores) in scores.chunks_exact_mut(keys).enumerate() {
                let visible = if causal { (first + row + 1).min(keys) } else { keys };
                scores[visible..].fill(0.0);
                softmax(&mut scores[..visible], scale);
            }
            values.multiply(scores, result);
        },
    );
    Tensor::new(result, output)
}
