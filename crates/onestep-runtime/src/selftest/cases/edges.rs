//! Edge cases.

use onestep_program::{Activation, DType, Op, ReduceKind, UnaryKind};

use super::super::case::{Case, Tolerance};
use super::common::{NORM, add};

pub(super) fn edges(cases: &mut Vec<Case>) {
    add(cases, "outputs that are inputs, weights and their reshapes", Tolerance::Exact, |sketch| {
        let x = sketch.input(&[2, 3]);
        let (vector, matrix) = (sketch.weight(&[5], DType::F32), sketch.weight(&[3, 3], DType::F16));
        let reshaped = sketch.op(Op::Reshape, &[matrix], &[9]);
        for value in [x, vector, matrix, reshaped, x] {
            sketch.output(value);
        }
    });
    add(cases, "one value as two outputs, and an intermediate as a third", Tolerance::Exact, |sketch| {
        let x = sketch.input(&[5]);
        let y = sketch.op(Op::Unary { unary: UnaryKind::Neg }, &[x], &[5]);
        let z = sketch.op(Op::Unary { unary: UnaryKind::Abs }, &[y], &[5]);
        for value in [z, y, z] {
            sketch.output(value);
        }
    });
    add(cases, "tensors without elements", Tolerance::Exact, |sketch| {
        let empty = sketch.input(&[0, 3]);
        let some = sketch.input(&[2, 3]);
        let both = sketch.op(Op::Concat { axis: 0 }, &[empty, some], &[2, 3]);
        let padded = sketch.op(Op::Pad { padding: vec![[1, 1], [0, 0]], value: 2.0 }, &[empty], &[2, 3]);
        let still = sketch.op(Op::Unary { unary: UnaryKind::Exp }, &[empty], &[0, 3]);
        let turned = sketch.op(Op::Permute { axes: vec![1, 0] }, &[still], &[3, 0]);
        let zeros = sketch.op(Op::MatMul, &[turned, empty], &[3, 3]);
        let w = sketch.input(&[4, 0]);
        let linear = sketch.op(Op::Linear { bias: false, act: Activation::None, residual: false }, &[turned, w], &[3, 4]);
        let normal = sketch.op(Op::Softmax { axis: 0 }, &[still], &[0, 3]);
        let none = sketch.op(Op::Reduce { reduce: ReduceKind::Max, axis: 1 }, &[normal], &[0, 1]);
        for value in [both, padded, still, zeros, linear, none] {
            sketch.output(value);
        }
    });
    for stored_scores in [u64::MAX, 0] {
        add(cases, format!("attention to nothing is nothing, scores up to {stored_scores}"), Tolerance::Exact, |sketch| {
            let (q, k, v) = (sketch.input(&[1, 2, 3, 4]), sketch.input(&[1, 2, 0, 4]), sketch.input(&[1, 2, 0, 5]));
            let y = sketch.op(Op::Attention { scale: 1.0, causal: false }, &[q, k, v], &[1, 2, 3, 5]);
            sketch.output(y);
        });
        if let Some(last) = cases.last_mut() {
            last.stored_scores = stored_scores;
        }
    }
    add(cases, "a convolution without input channels is its bias", Tolerance::Exact, |sketch| {
        let (x, w, bias) = (sketch.input(&[1, 0, 3, 3]), sketch.weight(&[2, 0, 3, 3], DType::F16), sketch.weight(&[2], DType::F32));
        let op = Op::Conv2d { stride: [1, 1], padding: [1; 4], dilation: [1, 1], groups: 1, bias: true, act: Activation::None, residual: false };
        let y = sketch.op(op, &[x, w, bias], &[1, 2, 3, 3]);
        sketch.output(y);
    });
    add(cases, "a constant image is normed to beta", NORM, |sketch| {
        let x = sketch.input_of(&[1, 2, 3, 3], vec![7.25; 18]);
        let (gamma, beta) = (sketch.weight(&[2], DType::F32), sketch.weight(&[2], DType::F32));
        let y = sketch.op(Op::GroupNorm { groups: 1, epsilon: 1e-5, act: Activation::None }, &[x, gamma, beta], &[1, 2, 3, 3]);
        sketch.output(y);
    });
    add(cases, "large tensors fold the grid of every kind of dispatch", Tolerance::OfLargest(2e-5), |sketch| {
        let x = sketch.input(&[1, 8, 16, 16]);
        let (gamma, beta) = (sketch.weight(&[8], DType::F32), sketch.weight(&[8], DType::F32));
        let y = sketch.op(Op::GroupNorm { groups: 8, epsilon: 1e-5, act: Activation::Silu }, &[x, gamma, beta], &[1, 8, 16, 16]);
        let y = sketch.op(Op::Reshape, &[y], &[128, 16]);
        let w = sketch.weight(&[16, 16], DType::F32);
        let y = sketch.op(Op::Linear { bias: false, act: Activation::None, residual: false }, &[y, w], &[128, 16]);
        let y = sketch.op(Op::Permute { axes: vec![1, 0] }, &[y], &[16, 128]);
        let y = sketch.op(Op::Softmax { axis: 1 }, &[y], &[16, 128]);
        sketch.output(y);
    });
    if let Some(last) = cases.last_mut() {
        last.max_workgroups = Some(7);
    }
}
