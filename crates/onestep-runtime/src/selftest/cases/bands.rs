//! Cases in row bands.

use onestep_program::{Activation, BinaryKind, DType, Op, UnaryKind, ValueId};

use super::super::{
    case::{BandLimits, Case, Tolerance},
    convolution_case::{CONV, Conv},
    sketch::Sketch,
};
use super::common::{NORM, add};

/// An input with contiguous channels, so that rows of the image are a contiguous part of the memory.
fn image(sketch: &mut Sketch, shape: &[usize]) -> ValueId {
    let x = sketch.input(&[shape[0], shape[2], shape[3], shape[1]]);
    sketch.op(Op::Permute { axes: vec![0, 3, 1, 2] }, &[x], shape)
}

/// Makes an image an output with contiguous channels.
fn output_image(sketch: &mut Sketch, y: ValueId) {
    let shape = sketch.shape(y);
    let y = sketch.op(Op::Permute { axes: vec![0, 2, 3, 1] }, &[y], &[shape[0], shape[2], shape[3], shape[1]]);
    sketch.output(y);
}

/// Adds a case twice: with a largest binding and with a limit of floating-point operations that force bands. A limit of 0 adds none.
fn banded(cases: &mut Vec<Case>, name: &str, tolerance: Tolerance, [binding, flops]: [u64; 2], build: &dyn Fn(&mut Sketch)) {
    let by_binding = BandLimits { binding: Some(binding), flops: None, certain: true };
    let by_flops = BandLimits { binding: None, flops: Some(flops), certain: true };
    for (limits, limit, said) in [(by_binding, binding, "bytes"), (by_flops, flops, "operations")] {
        if limit == 0 {
            continue;
        }
        add(cases, format!("bands: {name}, {limit} {said}"), tolerance, build);
        if let Some(last) = cases.last_mut() {
            last.bands = Some(limits);
        }
    }
}

pub(super) fn bands_of_products(cases: &mut Vec<Case>) {
    use Activation::{Gelu, Relu, Silu};
    use DType::{F16, F32};
    for (name, conv, binding, flops) in [
        ("odd heights, a batch, a residual", Conv { x: [2, 3, 37, 29], w: [5, 3, 3], act: Silu, ..CONV }, 4096, 200_000),
        ("a row at a time", Conv { x: [1, 5, 9, 17], w: [9, 3, 3], dtype: F16, ..CONV }, 4864, 1),
        ("whole samples", Conv { x: [3, 2, 9, 7], w: [3, 3, 3], ..CONV }, 2560, 20_000),
        ("stride two", Conv { x: [2, 4, 31, 23], w: [6, 3, 3], stride: [2, 2], padding: [0, 0, 1, 1], ..CONV }, 3072, 20_000),
        (
            "strides, dilation and padding that differ",
            Conv { x: [1, 3, 41, 13], w: [4, 2, 5], stride: [3, 1], padding: [2, 0, 1, 3], dilation: [2, 1], act: Gelu, ..CONV },
            2048,
            20_000,
        ),
        ("dilated rows", Conv { x: [1, 3, 19, 10], w: [17, 3, 3], padding: [4, 2, 4, 2], dilation: [4, 2], dtype: F16, ..CONV }, 4864, 50_000),
        ("bands in the padding alone", Conv { x: [1, 2, 6, 40], w: [3, 2, 2], padding: [9, 3, 8, 5], ..CONV }, 2048, 10_000),
        ("no bias and no residual", Conv { x: [1, 4, 16, 16], w: [8, 3, 3], extras: false, ..CONV }, 3072, 100_000),
        ("shared tiles", Conv { x: [1, 4, 67, 64], w: [36, 3, 3], act: Relu, ..CONV }, 100_000, 2_000_000),
        (
            "shared tiles, 16-bit weights, stride two",
            Conv { x: [1, 4, 133, 127], w: [33, 3, 3], stride: [2, 2], dtype: F16, ..CONV },
            100_000,
            2_000_000,
        ),
        ("pixels of one sum", Conv { x: [2, 13, 31, 17], w: [11, 1, 1], padding: [0; 4], ..CONV }, 4096, 10_000),
        ("pixels of one sum in shared tiles", Conv { x: [1, 32, 67, 64], w: [36, 1, 1], padding: [0; 4], dtype: F16, ..CONV }, 100_000, 2_000_000),
    ] {
        banded(cases, name, Tolerance::Sum(conv.x[1] * conv.w[1] * conv.w[2]), [binding, flops], &|sketch| {
            let x = image(sketch, &conv.x);
            let w = sketch.weight(&[conv.w[0], conv.x[1], conv.w[1], conv.w[2]], conv.dtype);
            let y = conv.add(sketch, x, w, image);
            output_image(sketch, y);
        });
    }
    for (x, columns, extras, dtype, binding, flops) in
        [([2, 5, 15, 31], 9, true, F16, 8192, 50_000), ([1, 4, 67, 64], 33, false, F32, 200_000, 2_000_000)]
    {
        banded(cases, &format!("four phases of {x:?}"), Tolerance::Sum(4 * x[1]), [binding, flops], &|sketch| {
            let out = [x[0], columns, 2 * x[2], 2 * x[3]];
            let mut inputs = vec![image(sketch, &x), sketch.weight(&[4, columns, x[1], 2, 2], dtype)];
            if extras {
                inputs.extend([sketch.weight(&[columns], dtype), image(sketch, &out)]);
            }
            let y = sketch.op(Op::UpConv2d { bias: extras, act: Silu, residual: extras }, &inputs, &out);
            output_image(sketch, y);
        });
    }
    for (rows, depth, columns, dtype, binding, flops) in
        [(vec![1025], 8, 9, F16, 4096, 20_000), (vec![2, 3, 50], 7, 17, F32, 4096, 20_000), (vec![4300], 33, 65, F16, 100_000, 2_000_000)]
    {
        banded(cases, &format!("linear of {rows:?}x{depth}"), Tolerance::Sum(depth), [binding, flops], &|sketch| {
            let (shape, out) = ([&rows[..], &[depth]].concat(), [&rows[..], &[columns]].concat());
            let inputs = [sketch.input(&shape), sketch.weight(&[columns, depth], dtype), sketch.weight(&[columns], dtype), sketch.input(&out)];
            let y = sketch.op(Op::Linear { bias: true, act: Silu, residual: true }, &inputs, &out);
            sketch.output(y);
        });
    }
}

pub(super) fn bands_of_other_operations(cases: &mut Vec<Case>) {
    use Activation::Silu;
    use DType::{F16, F32};
    for (shape, groups, binding) in [([2, 12, 37, 41], 3, 10_000), ([1, 6, 53, 29], 2, 8192), ([3, 64, 9, 7], 32, 20_000)] {
        banded(cases, &format!("group norm of {shape:?}"), NORM, [binding, 0], &|sketch| {
            let x = image(sketch, &shape);
            let (gamma, beta) = (sketch.weight(&[shape[1]], F16), sketch.weight(&[shape[1]], F32));
            let y = sketch.op(Op::GroupNorm { groups, epsilon: 1e-5, act: Silu }, &[x, gamma, beta], &shape);
            output_image(sketch, y);
        });
    }
    for (shape, channels, binding, flops) in [([2, 4, 21, 19], 8, 8192, 100_000), ([1, 4, 67, 64], 36, 200_000, 5_000_000)] {
        banded(cases, &format!("a residual block of {channels} channels"), Tolerance::OfLargest(2e-4), [binding, flops], &|sketch| {
            let x = image(sketch, &shape);
            let (v, w) = (sketch.weight(&[channels, 4, 3, 3], F16), sketch.weight(&[channels, channels, 3, 3], F16));
            let conv = Conv { x: shape, w: [channels, 3, 3], extras: false, ..CONV };
            let x = conv.add(sketch, x, v, image);
            let (gamma, beta) = (sketch.weight(&[channels], F16), sketch.weight(&[channels], F32));
            let of_x = sketch.shape(x);
            let y = sketch.op(Op::GroupNorm { groups: 4, epsilon: 1e-5, act: Silu }, &[x, gamma, beta], &of_x);
            let conv = Conv { x: [shape[0], channels, shape[2], shape[3]], extras: true, ..conv };
            let y = conv.add(sketch, y, w, |_, _| x);
            output_image(sketch, y);
        });
    }
    banded(cases, "a linear layer with its gate", Tolerance::OfLargest(2e-4), [8192, 50_000], &|sketch| {
        let (x, w) = (sketch.input(&[1, 201, 9]), sketch.weight(&[24, 9], F16));
        let bias = sketch.weight(&[24], F32);
        let y = sketch.op(Op::Linear { bias: true, act: Activation::None, residual: false }, &[x, w, bias], &[1, 201, 24]);
        let y = sketch.op(Op::Geglu, &[y], &[1, 201, 12]);
        sketch.output(y);
    });
    banded(cases, "functions of one tensor and of two", Tolerance::Near { relative: 1e-5, absolute: 1e-5 }, [4096, 0], &|sketch| {
        let shape = [2, 7, 19, 23];
        let (a, b, c) = (sketch.input(&shape), sketch.input(&[7, 1, 1]), sketch.input(&[2, 1, 19, 1]));
        let y = sketch.op(Op::Unary { unary: UnaryKind::Silu }, &[a], &shape);
        let y = sketch.op(Op::Binary { binary: BinaryKind::Mul }, &[y, b], &shape);
        let y = sketch.op(Op::Binary { binary: BinaryKind::Add }, &[c, y], &shape);
        let y = sketch.op(Op::Binary { binary: BinaryKind::Sub }, &[y, a], &shape);
        sketch.output(y);
    });
    banded(cases, "moves", Tolerance::Exact, [8192, 0], &|sketch| {
        let (x, z) = (sketch.input(&[2, 3, 9, 11]), sketch.input(&[1, 5, 17, 13]));
        let up = sketch.op(Op::UpsampleNearest, &[x], &[2, 3, 27, 22]);
        sketch.output(up);
        let turned = sketch.op(Op::Permute { axes: vec![3, 0, 2, 1] }, &[z], &[13, 1, 17, 5]);
        let part = sketch.op(Op::Slice { start: vec![2, 0, 1, 1] }, &[turned], &[10, 1, 15, 3]);
        sketch.output(part);
        sketch.output(turned);
    });
    banded(cases, "parts of a concatenation", Tolerance::Sum(36), [8192, 50_000], &|sketch| {
        let x = image(sketch, &[1, 4, 21, 19]);
        let conv = Conv { x: [1, 4, 21, 19], w: [8, 3, 3], extras: false, ..CONV };
        let (v, w) = (sketch.weight(&[8, 4, 3, 3], F16), sketch.weight(&[8, 4, 3, 3], F16));
        let parts = [conv.add(sketch, x, v, image), conv.add(sketch, x, w, image)];
        let both = sketch.op(Op::Concat { axis: 1 }, &parts, &[1, 16, 21, 19]);
        output_image(sketch, both);
    });
}
