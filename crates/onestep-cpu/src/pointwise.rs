//! Pointwise functions of one or two tensors, written so that the compiler vectorises them, unlike those of the standard library.

use std::f32::consts::{FRAC_1_SQRT_2, LOG2_E};

use onestep_program::{Activation, BinaryKind, UnaryKind};

use crate::{
    memory::Memory,
    movement::{broadcast_strides, for_rows},
    reduce::vectorized,
    tensor::Tensor,
    threads,
};

/// Elements per task, and the cost of one element in multiply-adds.
const CHUNK: usize = 1 << 14;
const WORK: usize = 8;

/// Applies a function to each element, in place if the tensor is the only owner of its memory.
pub(crate) fn map(x: Tensor, function: impl Fn(f32) -> f32 + Send + Sync, memory: &Memory) -> Tensor {
    let shape = x.shape.clone();
    let mut elements = x.into_elements(memory);
    let parts = threads::parts_of(elements.len() * WORK);
    threads::for_chunks(&mut elements, CHUNK, parts, |_, chunk| each(chunk, &function));
    Tensor::new(elements, &shape)
}

#[inline(always)]
fn each(values: &mut [f32], function: impl Fn(f32) -> f32) {
    vectorized(|| {
        for value in values {
            *value = function(*value);
        }
    });
}

pub(crate) fn activate(values: &mut [f32], act: Activation) {
    match act {
        Activation::None => {}
        Activation::Relu => each(values, |x| x.max(0.0)),
        Activation::Silu => each(values, |x| swish(x, 1.0)),
        Activation::Gelu => each(values, gelu),
        Activation::QuickGelu => each(values, |x| swish(x, 1.702)),
    }
}

/// `a += b`.
pub(crate) fn add(a: &mut [f32], b: &[f32]) {
    vectorized(|| {
        for (a, b) in a.iter_mut().zip(b) {
            *a += b;
        }
    });
}

/// `a = b` for few elements, without the call of `copy_from_slice`.
pub(crate) fn set(a: &mut [f32], b: &[f32]) {
    vectorized(|| {
        let ((chunks, rest), (b_chunks, _)) = (a.as_chunks_mut::<8>(), b.as_chunks::<8>());
        for (a, b) in chunks.iter_mut().zip(b_chunks) {
            *a = *b;
        }
        for (a, b) in rest.iter_mut().zip(&b[8 * chunks.len()..]) {
            *a = *b;
        }
    });
}

/// `a = b + c`
pub(crate) fn set_sum(a: &mut [f32], b: &[f32], c: &[f32]) {
    vectorized(|| {
        for (a, (b, c)) in a.iter_mut().zip(b.iter().zip(c)) {
            *a = b + c;
        }
    });
}

pub(crate) fn unary(x: Tensor, kind: UnaryKind, memory: &Memory) -> Tensor {
    match kind {
        UnaryKind::Neg => map(x, |v| -v, memory),
        UnaryKind::Abs => map(x, f32::abs, memory),
        UnaryKind::Exp => map(x, f32::exp, memory),
        UnaryKind::Log => map(x, f32::ln, memory),
        UnaryKind::Sqrt => map(x, f32::sqrt, memory),
        UnaryKind::Recip => map(x, f32::recip, memory),
        UnaryKind::Sin => map(x, f32::sin, memory),
        UnaryKind::Cos => map(x, f32::cos, memory),
        UnaryKind::Tanh => map(x, f32::tanh, memory),
        UnaryKind::Erf => map(x, erf, memory),
        UnaryKind::Sigmoid => map(x, |v| 1.0 / (1.0 + (-v).exp()), memory),
        UnaryKind::Relu => map(x, |v| v.max(0.0), memory),
        UnaryKind::Silu => map(x, |v| swish(v, 1.0), memory),
        UnaryKind::Gelu => map(x, gelu, memory),
        UnaryKind::QuickGelu => map(x, |v| swish(v, 1.702), memory),
    }
}

pub(crate) fn binary(a: Tensor, b: &Tensor, kind: BinaryKind, output: &[usize], memory: &Memory) -> Tensor {
    match kind {
        BinaryKind::Add => zip(a, b, output, |a, b| a + b, memory),
        BinaryKind::Sub => zip(a, b, output, |a, b| a - b, memory),
        BinaryKind::Mul => zip(a, b, output, |a, b| a * b, memory),
        BinaryKind::Div => zip(a, b, output, |a, b| a / b, memory),
        BinaryKind::Pow => zip(a, b, output, f32::powf, memory),
        BinaryKind::Min => zip(a, b, output, f32::min, memory),
        BinaryKind::Max => zip(a, b, output, f32::max, memory),
    }
}

/// Applies a function of two tensors with broadcasting; in place if `a` has the output's shape and no other owner.
fn zip(a: Tensor, b: &Tensor, output: &[usize], function: impl Fn(f32, f32) -> f32 + Send + Sync, memory: &Memory) -> Tensor {
    if a.shape == output && b.shape == output {
        let mut elements = a.into_elements(memory);
        let parts = threads::parts_of(elements.len() * WORK);
        threads::for_chunks(&mut elements, CHUNK, parts, |index, chunk| {
            vectorized(|| {
                for (a, &b) in chunk.iter_mut().zip(&b.elements()[index * CHUNK..]) {
                    *a = function(*a, b);
                }
            });
        });
        return Tensor::new(elements, output);
    }
    let (a_strides, b_strides) = (broadcast_strides(&a.shape, output), broadcast_strides(&b.shape, output));
    let length = output.last().copied().unwrap_or(1);
    let step = |strides: &[usize]| strides.last().copied().unwrap_or(0);
    let (a_step, b_step) = (step(&a_strides), step(&b_strides));
    let mut result = memory.empty(output.iter().product());
    for_rows(output, [&a_strides, &b_strides], |[a_offset, b_offset]| {
        let (a, b) = (&a.elements()[a_offset..], &b.elements()[b_offset..]);
        result.extend((0..length).map(|index| function(a[index * a_step], b[index * b_step])));
    });
    Tensor::new(result, output)
}

/// x […,2D] with a last axis of a followed by b: `a · gelu(b)`.
pub(crate) fn geglu(x: &Tensor, output: &[usize], memory: &Memory) -> Tensor {
    let width = output.last().copied().unwrap_or(1);
    let mut result = memory.stale(output.iter().product());
    let parts = threads::parts_of(result.len() * 2 * WORK);
    threads::for_chunks(&mut result, width, parts, |index, row| {
        let (a, b) = x.elements()[index * 2 * width..][..2 * width].split_at(width);
        vectorized(|| {
            for (value, (a, &b)) in row.iter_mut().zip(a.iter().zip(b)) {
                *value = a * gelu(b);
            }
        });
    });
    Tensor::new(result, output)
}

/// Adding and subtracting this constant rounds to integers.
const ROUND: f32 = 12_582_912.0;
/// ln 2 as the sum of two numbers, the first of which has few digits, so that its multiples are exact.
const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
/// The arguments for which the result is a normal number.
const RANGE: [f32; 2] = [-87.3, 88.3];

/// e^x within two units in the last place. Arguments are clamped to those with a normal result; NaN stays NaN.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    let x = x.clamp(RANGE[0], RANGE[1]);
    let rounded = x * LOG2_E + ROUND;
    let whole = rounded - ROUND;
    let r = (x - whole * LN_2[0]) - whole * LN_2[1];
    // Cephes' polynomial for |r| up to half of ln 2.
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 0.5;
    let p = p * r * r + r + 1.0;
    // The integer part, in the lowest bits of `rounded`, becomes the exponent.
    let power = f32::from_bits(rounded.to_bits().wrapping_add(127) << 23);
    p * power
}

/// x / (1 + e^-kx).
#[inline(always)]
fn swish(x: f32, k: f32) -> f32 {
    x / (1.0 + exp(-k * x))
}

/// The error function within 3e-7: a polynomial near zero, 1 - e^polynomial elsewhere; constant from 4 on, where 1 - erf is below 2e-8.
#[inline(always)]
fn erf(x: f32) -> f32 {
    let s = x * x;
    let near = -5.967_617e-4 * s + 4.991_194e-3;
    let near = near * s - 2.676_813_5e-2;
    let near = near * s + 1.128_199_3e-1;
    let near = near * s - 3.761_253_4e-1;
    let near = near * s + 1.283_791_7e-1;
    let near = near * x + x;
    let t = x.abs();
    let t = if t > 4.0 { 4.0 } else { t };
    let t2 = t * t;
    let far = -1.728_534_7e-5 * t + 3.831_972e-4;
    let far = far * t2 + (-3.883_964_4e-3 * t + 2.425_462_2e-2);
    let far = far * t - 1.067_778_8e-1;
    let far = far * t - 6.348_468_7e-1;
    let far = far * t - 1.287_175_1e-1;
    let far = far * t - t;
    let tail = (1.0 - exp(far)).copysign(x);
    if t > 0.927_734_4 { tail } else { near }
}

/// GELU by the error function.
#[inline(always)]
fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x * FRAC_1_SQRT_2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_exponential_function() {
        let mut worst = 0f64;
        for step in -870_000..880_000 {
            let x = step as f32 * 1e-4;
            let expected = f64::from(x).exp();
            worst = worst.max((f64::from(exp(x)) - expected).abs() / expected);
        }
        assert!(worst < 2.5e-7, "{worst}");
        assert!(exp(f32::NAN).is_nan());
        assert_eq!(exp(0.0), 1.0);
    }

    #[test]
    fn swish_goes_to_zero_and_to_its_argument() {
        assert_eq!(swish(1e30, 1.0), 1e30);
        assert!(swish(-1e30, 1.0).abs() < 1e-7);
        assert!(swish(f32::NAN, 1.0).is_nan() && swish(f32::NEG_INFINITY, 1.0).is_infinite());
        assert!((swish(1.0, 1.702) - 1.0 / (1.0 + (-1.702f32).exp())).abs() < 1e-6);
    }

    /// Compared with the integral of e^(-t²) in f64.
    #[test]
    fn is_the_error_function() {
        let (mut integral, step) = (0f64, 1e-5);
        for index in 0..500_000 {
            let at = |offset: f64| (-((index as f64 + offset) * step).powi(2)).exp();
            integral += step / 6.0 * (at(0.0) + 4.0 * at(0.5) + at(1.0));
            let (x, expected) = ((index as f64 + 1.0) * step, integral * std::f64::consts::FRAC_2_SQRT_PI);
            assert!((f64::from(erf(x as f32)) - expected).abs() < 3e-7, "{x}");
            assert_eq!(erf(-x as f32), -erf(x as f32));
        }
        assert!(erf(f32::NAN).is_nan());
        assert_eq!((erf(f32::INFINITY), erf(f32::NEG_INFINITY), erf(0.0)), (1.0, -1.0, 0.0));
    }
}
