//! Convolutions.

use onestep_program::{Activation, DType, Op};

use super::super::{
    case::{Case, Tolerance},
    convolution_case::{CONV, Conv, convolve},
};
use super::common::add;

/// Convolutions by name.
static CONVOLUTIONS: &[(&str, Conv)] = &[
    ("ragged in every axis", CONV),
    ("16-bit weights", Conv { dtype: DType::F16, act: Activation::Silu, ..CONV }),
    ("no bias and no residual", Conv { extras: false, ..CONV }),
    ("whole tiles", Conv { x: [1, 8, 4, 16], w: [16, 3, 3], ..CONV }),
    ("one channel over and one pixel over", Conv { x: [1, 9, 3, 9], w: [17, 3, 3], dtype: DType::F16, ..CONV }),
    ("batch of three", Conv { x: [3, 2, 4, 6], w: [9, 3, 3], act: Activation::Relu, ..CONV }),
    ("pointwise", Conv { x: [2, 13, 3, 5], w: [11, 1, 1], padding: [0; 4], act: Activation::Gelu, ..CONV }),
    ("pointwise in 16 bits", Conv { x: [1, 16, 8, 8], w: [24, 1, 1], padding: [0; 4], dtype: DType::F16, ..CONV }),
    ("pointwise with padding", Conv { w: [3, 1, 1], padding: [1, 0, 2, 1], ..CONV }),
    ("stride two, padded below and right as autoencoders do", Conv { x: [1, 4, 8, 8], w: [6, 3, 3], stride: [2, 2], padding: [0, 0, 1, 1], ..CONV }),
    ("stride two in 16 bits", Conv { x: [1, 4, 9, 11], w: [8, 3, 3], stride: [2, 2], dtype: DType::F16, ..CONV }),
    (
        "rows and columns differ in everything",
        Conv { x: [2, 3, 11, 13], w: [4, 2, 5], stride: [3, 1], padding: [2, 0, 1, 3], dilation: [2, 1], act: Activation::QuickGelu, ..CONV },
    ),
    ("stride two to many channels", Conv { x: [1, 3, 9, 11], w: [17, 3, 3], stride: [2, 2], ..CONV }),
    ("stride along rows only", Conv { x: [1, 2, 5, 17], w: [3, 3, 3], stride: [1, 3], ..CONV }),
    ("dilation", Conv { x: [1, 3, 9, 10], w: [4, 3, 3], padding: [2, 2, 2, 2], dilation: [2, 2], ..CONV }),
    ("padding beyond the kernel", Conv { x: [1, 2, 3, 4], w: [3, 2, 2], padding: [4, 3, 2, 5], ..CONV }),
    ("kernel as large as the image", Conv { x: [1, 5, 4, 6], w: [7, 4, 6], padding: [0; 4], ..CONV }),
    ("one pixel", Conv { x: [1, 1, 1, 1], w: [1, 1, 1], padding: [0; 4], ..CONV }),
    ("seven taps", Conv { x: [1, 2, 8, 19], w: [2, 7, 7], padding: [3; 4], ..CONV }),
    ("workgroup tiles", Conv { x: [1, 36, 9, 8], w: [70, 3, 3], act: Activation::Silu, ..CONV }),
    ("shared tiles, 16-bit weights, stride two", Conv { x: [2, 33, 13, 11], w: [65, 3, 3], stride: [2, 2], dtype: DType::F16, ..CONV }),
    ("shared tiles and one slice", Conv { x: [1, 32, 6, 7], w: [33, 1, 2], padding: [0, 1, 0, 0], dtype: DType::F16, ..CONV }),
    ("shared tiles of a pointwise convolution", Conv { x: [1, 130, 5, 9], w: [40, 1, 1], padding: [0; 4], dtype: DType::F16, ..CONV }),
    ("many shared tiles, no slices", Conv { x: [1, 4, 96, 90], w: [70, 3, 3], ..CONV }),
    ("many shared tiles of 16-bit weights", Conv { x: [1, 4, 96, 90], w: [70, 3, 3], act: Activation::Silu, dtype: DType::F16, ..CONV }),
    ("in groups", Conv { x: [1, 6, 5, 7], w: [9, 3, 3], groups: 3, act: Activation::Silu, ..CONV }),
    ("depthwise with 16-bit weights of odd count", Conv { x: [2, 5, 4, 3], w: [5, 3, 3], groups: 5, dtype: DType::F16, ..CONV }),
    (
        "groups, strides, dilations",
        Conv { x: [1, 4, 9, 8], w: [6, 3, 2], stride: [2, 3], padding: [1, 0, 2, 1], dilation: [1, 2], groups: 2, dtype: DType::F32, ..CONV },
    ),
];

pub(super) fn convolutions(cases: &mut Vec<Case>) {
    for (name, conv) in CONVOLUTIONS {
        add(cases, format!("conv2d: {name}"), Tolerance::Sum(conv.x[1] / conv.groups * conv.w[1] * conv.w[2]), |sketch| {
            let x = sketch.input(&conv.x);
            let w = sketch.weight(&[conv.w[0], conv.x[1] / conv.groups, conv.w[1], conv.w[2]], conv.dtype);
            convolve(sketch, conv, x, w);
        });
    }
    for groups in [1, 2] {
        add(cases, format!("conv2d: weights that are computed, {groups} groups"), Tolerance::Sum(4 * 9), |sketch| {
            let conv = Conv { x: [1, 4, 5, 6], w: [6, 3, 3], groups, ..CONV };
            let x = sketch.input(&conv.x);
            let w = sketch.input(&[6, 4 / groups, 3, 3]);
            convolve(sketch, &conv, x, w);
        });
    }
}

pub(super) fn up_convolutions(cases: &mut Vec<Case>) {
    use Activation::{Relu, Silu};
    use DType::{F16, F32};
    for (x, columns, extras, dtype) in [
        ([1, 3, 2, 3], 5, true, F32),
        ([2, 5, 5, 7], 9, true, F16),
        ([1, 8, 1, 1], 4, false, F16),
        ([2, 5, 3, 31], 9, true, F16),
        ([1, 3, 5, 7], 10, true, F32),
        ([1, 36, 9, 8], 70, true, F16),
        ([1, 4, 48, 45], 36, false, F32),
    ] {
        add(cases, format!("up_conv2d: {x:?} to {columns} channels, {dtype:?}"), Tolerance::Sum(4 * x[1]), |sketch| {
            let out = [x[0], columns, 2 * x[2], 2 * x[3]];
            let mut inputs = vec![sketch.input(&x), sketch.weight(&[4, columns, x[1], 2, 2], dtype)];
            if extras {
                inputs.extend([sketch.weight(&[columns], dtype), sketch.input(&out)]);
            }
            let y = sketch.op(Op::UpConv2d { bias: extras, act: if extras { Silu } else { Activation::None }, residual: extras }, &inputs, &out);
            sketch.output(y);
        });
    }
    add(cases, "up_conv2d: weights and bias that are computed", Tolerance::Sum(12), |sketch| {
        let (x, w, bias) = (sketch.input(&[1, 3, 4, 3]), sketch.input(&[4, 6, 3, 2, 2]), sketch.input(&[6]));
        let y = sketch.op(Op::UpConv2d { bias: true, act: Relu, residual: false }, &[x, w, bias], &[1, 6, 8, 6]);
        sketch.output(y);
    });
}

pub(super) fn other_convolutions(cases: &mut Vec<Case>) {
    use DType::{F16, F32};
    add(cases, "conv2d: bias and residual from 16-bit weights", Tolerance::Sum(27), |sketch| {
        let x = sketch.input(&[1, 3, 4, 5]);
        let (w, bias, residual) = (sketch.weight(&[3, 3, 3, 3], F16), sketch.weight(&[3], F16), sketch.weight(&[1, 3, 4, 5], F16));
        let op = Op::Conv2d { stride: [1, 1], padding: [1; 4], dilation: [1, 1], groups: 1, bias: true, act: Activation::None, residual: true };
        let y = sketch.op(op, &[x, w, bias, residual], &[1, 3, 4, 5]);
        sketch.output(y);
    });
    add(cases, "conv2d: a grid folded into two dimensions", Tolerance::Sum(9), |sketch| {
        let conv = Conv { x: [1, 1, 64, 64], w: [8, 3, 3], ..CONV };
        let x = sketch.input(&conv.x);
        let w = sketch.weight(&[8, 1, 3, 3], F32);
        convolve(sketch, &conv, x, w);
    });
    if let Some(last) = cases.last_mut() {
        last.max_workgroups = Some(30);
    }
}
