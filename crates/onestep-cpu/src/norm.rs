//! Normalisation to zero mean and unit variance.
//!
//! Values may be far from zero compared with their standard deviation. Sums are therefore of differences from an element or a mean, means are in
//! f64, and the part of a mean that f32 cannot represent is subtracted separately. Both sums are computed in one pass, because the values are
//! usually not in the cache.

use onestep_program::Activation;

use crate::{
    memory::Memory,
    pointwise::activate,
    reduce::{sum, vectorized},
    tensor::Tensor,
    threads,
};

/// Cost per element in multiply-adds.
const WORK: usize = 8;
/// Elements per block, which stays in the L1 cache.
const PART: usize = 1 << 12;

/// The mean as the sum of two numbers, and the reciprocal of the standard deviation.
struct Statistics {
    mean: f32,
    rest: f32,
    scale: f64,
}

/// Mean and variance; those of the blocks are combined as in Chan, Golub and LeVeque, "Updating Formulae and a
/// Pairwise Algorithm for Computing Sample Variances" (1979).
fn statistics(values: &[f32], epsilon: f32) -> Statistics {
    let (mut count, mut mean, mut squares) = (0.0, 0.0, 0.0);
    for part in values.chunks(PART) {
        let first = part.first().copied().unwrap_or_default();
        let length = part.len() as f64;
        let exact = f64::from(first) + sum(part, |value| value - first) / length;
        let near = exact as f32;
        let remainder = exact - f64::from(near);
        let shift = exact - mean;
        squares +=
            sum(part, |value| (value - near) * (value - near)) - remainder * remainder * length + shift * shift * count * length / (count + length);
        count += length;
        mean += shift * length / count;
    }
    let variance = (squares / count).max(0.0);
    Statistics { mean: mean as f32, rest: (mean - f64::from(mean as f32)) as f32, scale: 1.0 / (variance + f64::from(epsilon)).sqrt() }
}

/// x [N,C,…], gamma [C], beta [C].
pub(crate) fn group_norm(x: Tensor, [gamma, beta]: [&[f32]; 2], groups: usize, epsilon: f32, act: Activation, memory: &Memory) -> Tensor {
    let shape = x.shape.clone();
    let pixels: usize = shape[2..].iter().product();
    let channels = shape[1] / groups;
    // A tensor with other owners is copied block by block.
    let (mut elements, shared) = match x.only() {
        Ok(elements) => (elements, None),
        Err(shared) => (memory.stale(shared.elements().len()), Some(shared)),
    };
    let parts = threads::parts_of(elements.len() * WORK);
    threads::for_chunks(&mut elements, channels * pixels, parts, |index, group| {
        let from = shared.as_ref().map(|shared| &shared.elements()[index * channels * pixels..][..channels * pixels]);
        let Statistics { mean, rest, scale } = statistics(from.unwrap_or(group), epsilon);
        let first = index % groups * channels;
        for (channel, row) in group.chunks_exact_mut(pixels).enumerate() {
            let factor = (scale * f64::from(gamma[first + channel])) as f32;
            let offset = beta[first + channel] - rest * factor;
            for (number, part) in row.chunks_mut(PART).enumerate() {
                if let Some(from) = from {
                    part.copy_from_slice(&from[channel * pixels + number * PART..][..part.len()]);
                }
                vectorized(|| {
                    for value in &mut *part {
                        *value = (*value - mean) * factor + offset;
                    }
                });
                activate(part, act);
            }
        }
    });
    Tensor::new(elements, &shape)
}

/// Over the last axis of x […,D]; with gamma [D] and beta [D] if `affine`.
pub(crate) fn layer_norm(x: Tensor, affine: Option<(&[f32], &[f32])>, epsilon: f32, memory: &Memory) -> Tensor {
    let shape = x.shape.clone();
    let width = shape.last().copied().unwrap_or(1);
    let mut elements = x.into_elements(memory);
    let parts = threads::parts_of(elements.len() * WORK);
    threads::for_chunks(&mut elements, width, parts, |_, row| {
        let Statistics { mean, rest, scale } = statistics(row, epsilon);
        let factor = scale as f32;
        vectorized(|| match affine {
            None => row.iter_mut().for_each(|value| *value = ((*value - mean) - rest) * factor),
            Some((gamma, beta)) => {
                for (value, (gamma, beta)) in row.iter_mut().zip(gamma.iter().zip(beta)) {
                    *value = ((*value - mean) - rest) * factor * gamma + beta;
                }
            }
        });
    });
    Tensor::new(elements, &shape)
}
