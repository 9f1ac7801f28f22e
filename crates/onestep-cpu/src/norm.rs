//! Norms: zero mean and unit variance.
//!
//! Values may be far from zero beside their spread. The sums are therefore of differences from an element, the mean is in f64, and what
//! f32 cannot hold of it is taken away after the subtraction.

use onestep_program::Activation;

use crate::{
    pointwise::activate,
    reduce::{sum, vectorized},
    tensor::Tensor,
    threads,
};

/// Passes over the elements of a norm, as multiply-adds.
const WORK: usize = 8;

/// The mean in two parts, and one divided by the deviation.
struct Statistics {
    mean: f32,
    rest: f32,
    scale: f64,
}

fn statistics(values: &[f32], epsilon: f32) -> Statistics {
    let first = values.first().copied().unwrap_or_default();
    let count = values.len() as f64;
    let exact = f64::from(first) + sum(values, |value| value - first) / count;
    let mean = exact as f32;
    let rest = exact - f64::from(mean);
    let variance = sum(values, |value| (value - mean) * (value - mean)) / count - rest * rest;
    Statistics { mean, rest: rest as f32, scale: 1.0 / (variance.max(0.0) + f64::from(epsilon)).sqrt() }
}

/// x [N,C,…], gamma [C], beta [C].
pub(crate) fn group_norm(x: Tensor, gamma: &[f32], beta: &[f32], groups: usize, epsilon: f32, act: Activation) -> Tensor {
    let shape = x.shape.clone();
    let pixels: usize = shape[2..].iter().product();
    let channels = shape[1] / groups;
    let mut elements = x.into_elements();
    let parts = threads::parts_of(elements.len() * WORK);
    threads::for_chunks(&mut elements, channels * pixels, parts, |index, group| {
        let Statistics { mean, rest, scale } = statistics(group, epsilon);
        let first = index % groups * channels;
        for (channel, row) in group.chunks_exact_mut(pixels).enumerate() {
            let factor = (scale * f64::from(gamma[first + channel])) as f32;
            let offset = beta[first + channel] - rest * factor;
            vectorized(|| {
                for value in &mut *row {
                    *value = (*value - mean) * factor + offset;
                }
            });
            activate(row, act);
        }
    });
    Tensor::new(elements, &shape)
}

/// Over the last axis of x […,D]; gamma [D] and beta [D] where there are any.
pub(crate) fn layer_norm(x: Tensor, affine: Option<(&[f32], &[f32])>, epsilon: f32) -> Tensor {
    let shape = x.shape.clone();
    let width = shape.last().copied().unwrap_or(1);
    let mut elements = x.into_elements();
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
