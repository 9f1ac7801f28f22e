//! Group norm and layer norm.

use onestep_program::{Activation, DType, Op, ValueId};

use super::super::{case::Case, sketch::Sketch};
use super::common::{NORM, add};

pub(super) fn norms(cases: &mut Vec<Case>) {
    for (shape, groups, act) in [
        (vec![1, 4, 3, 5], 2, Activation::None),
        (vec![2, 6, 7, 1], 3, Activation::Silu),
        (vec![1, 8, 16, 16], 2, Activation::Silu),
        (vec![3, 5], 5, Activation::Gelu),
        (vec![2, 4, 3, 2, 2], 1, Activation::Relu),
        (vec![1, 32, 4, 4], 32, Activation::None),
        (vec![1, 2, 40, 41], 1, Activation::None),
    ] {
        add(cases, format!("group_norm: {groups} groups of {shape:?}, {act:?}"), NORM, |sketch| {
            // Away from zero, where a mean of squares minus a squared mean would cancel.
            let x = sketch.input_in(&shape, 3.0, 4.0);
            let (gamma, beta) = (sketch.weight(&[shape[1]], DType::F16), sketch.weight(&[shape[1]], DType::F32));
            let y = sketch.op(Op::GroupNorm { groups, epsilon: 1e-5, act }, &[x, gamma, beta], &shape);
            sketch.output(y);
        });
    }
    for shape in [vec![1], vec![4, 7], vec![3, 64], vec![2, 3, 65], vec![1, 17, 200], vec![1, 1, 1, 2, 3, 1500]] {
        add(cases, format!("layer_norm: {shape:?}"), NORM, |sketch| {
            let width = shape[shape.len() - 1];
            let x = sketch.input_in(&shape, -6.0, -5.0);
            let (gamma, beta) = (sketch.weight(&[width], DType::F32), sketch.weight(&[width], DType::F16));
            let y = sketch.op(Op::LayerNorm { epsilon: 1e-5, affine: true }, &[x, gamma, beta], &shape);
            let plain = sketch.op(Op::LayerNorm { epsilon: 1e-5, affine: false }, &[x], &shape);
            sketch.output(y);
            sketch.output(plain);
        });
    }
}

/// Adds a group norm of `x` as an output.
fn norm(sketch: &mut Sketch, x: ValueId, groups: usize) {
    let shape = sketch.shape(x);
    let (gamma, beta) = (sketch.weight(&[shape[1]], DType::F16), sketch.weight(&[shape[1]], DType::F32));
    let y = sketch.op(Op::GroupNorm { groups, epsilon: 1e-5, act: Activation::Silu }, &[x, gamma, beta], &shape);
    sketch.output(y);
}

/// Adds a convolution of `x` with a bias. A residual moves its result away from zero.
fn product(sketch: &mut Sketch, x: ValueId, columns: usize, kernel: [usize; 2], residual: bool, dtype: DType) -> ValueId {
    let shape = sketch.shape(x);
    let (w, bias) = (sketch.weight(&[columns, shape[1], kernel[0], kernel[1]], dtype), sketch.weight(&[columns], DType::F32));
    let out = [shape[0], columns, shape[2] + 2 * (kernel[0] / 2) + 1 - kernel[0], shape[3] + 2 * (kernel[1] / 2) + 1 - kernel[1]];
    let mut inputs = vec![x, w, bias];
    if residual {
        inputs.push(sketch.input_in(&out, 30.0, 34.0));
    }
    let [top, left] = kernel.map(|taps| taps / 2);
    let padding = [top, left, top, left];
    let op = Op::Conv2d { stride: [1, 1], padding, dilation: [1, 1], groups: 1, bias: true, act: Activation::None, residual };
    sketch.op(op, &inputs, &out)
}

/// Group norms of products, which write the statistics if they can.
pub(super) fn norms_of_products(cases: &mut Vec<Case>) {
    use DType::{F16, F32};
    for (x, columns, groups, kernel, residual, dtype) in [
        ([1, 8, 9, 8], 33, 11, [3, 3], false, F32),
        ([1, 9, 16, 13], 65, 13, [3, 3], true, F16),
        ([1, 32, 6, 7], 33, 11, [1, 2], false, F32),
        ([1, 31, 10, 13], 66, 3, [2, 1], true, F16),
        ([1, 37, 11, 13], 39, 13, [1, 1], true, F32),
        ([2, 36, 16, 12], 70, 10, [1, 1], false, F16),
        ([2, 8, 8, 8], 42, 14, [3, 3], true, F32),
        ([2, 36, 7, 9], 33, 1, [1, 1], false, F16),
        // Enough rows for 128-row tiles, one of which holds rows of two images, and rows past the last tile.
        ([2, 4, 64, 65], 70, 10, [3, 3], false, F32),
        ([1, 4, 96, 90], 66, 22, [3, 3], true, F16),
        ([2, 33, 64, 65], 66, 11, [1, 1], false, F16),
        ([1, 32, 91, 90], 70, 2, [1, 1], true, F32),
    ] {
        add(
            cases,
            format!("group_norm: {groups} groups of a convolution {kernel:?} of {x:?} to {columns}, {dtype:?}, residual {residual}"),
            NORM,
            |sketch| {
                let x = sketch.input(&x);
                let y = product(sketch, x, columns, kernel, residual, dtype);
                norm(sketch, y, groups);
            },
        );
    }
    for x in [[1, 36, 8, 8], [1, 9, 16, 4], [1, 12, 7, 9], [2, 12, 8, 8]] {
        add(cases, format!("group_norm: of an upsampling convolution of {x:?}"), NORM, |sketch| {
            let (x, w) = (sketch.input(&x), sketch.weight(&[4, 42, x[1], 2, 2], F16));
            let shape = sketch.shape(x);
            let y =
                sketch.op(Op::UpConv2d { bias: false, act: Activation::Gelu, residual: false }, &[x, w], &[shape[0], 42, 2 * shape[2], 2 * shape[3]]);
            norm(sketch, y, 14);
        });
    }
    for (x, height) in [([1, 195, 40], 13), ([2, 128, 33], 8), ([2, 65, 36], 5)] {
        add(cases, format!("group_norm: of {height} rows of tokens {x:?}"), NORM, |sketch| {
            let tokens = sketch.input(&x);
            let (w, residual) = (sketch.weight(&[36, x[2]], F16), sketch.input_in(&[x[0], x[1], 36], 5.0, 6.0));
            let y = sketch.op(Op::Linear { bias: false, act: Activation::QuickGelu, residual: true }, &[tokens, w, residual], &[x[0], x[1], 36]);
            let y = sketch.op(Op::Permute { axes: vec![0, 2, 1] }, &[y], &[x[0], 36, x[1]]);
            let y = sketch.op(Op::Reshape, &[y], &[x[0], 36, height, x[1] / height]);
            norm(sketch, y, 12);
        });
    }
    for (batch, columns, more) in [(1, [36, 40], false), (2, [40, 36], false), (1, [36, 33], false), (1, [36, 36], true)] {
        add(cases, format!("group_norm: of parts of {columns:?} channels and of both, {batch} images, copied part {more}"), NORM, |sketch| {
            let x = sketch.input(&[batch, 9, 16, 8]);
            let parts = columns.map(|columns| product(sketch, x, columns, [3, 3], false, F16));
            norm(sketch, parts[0], 4);
            let mut all = parts.to_vec();
            let mut channels = columns[0] + columns[1];
            if more {
                all.push(sketch.input(&[batch, 4, 16, 8]));
                channels += 4;
            }
            let both = sketch.op(Op::Concat { axis: 1 }, &all, &[batch, channels, 16, 8]);
            // A group spans both parts.
            norm(sketch, both, if channels == 69 { 3 } else { 4 });
            norm(sketch, parts[1], columns[1] / if columns[1] == 40 { 4 } else { 3 });
        });
    }
}
