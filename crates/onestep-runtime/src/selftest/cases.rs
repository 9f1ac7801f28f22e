//! The cases: every operation, on shapes that fill no tile.

use onestep_program::{Activation, BinaryKind, DType, Op, ReduceKind, UnaryKind, ValueId};

use super::{Bands, Case, Sketch, Tolerance};

/// Pointwise functions by polynomials and one exponential: a few roundings of the result, and of one where it is small.
const POINTWISE: Tolerance = Tolerance::Near { relative: 1e-6, absolute: 4e-7 };
/// What WebGPU allows an adapter for exp, 3 + 2|x| units in the last place, at |x| ≤ 8, and as much again for what is built on it.
const EXPONENTIAL: Tolerance = Tolerance::Near { relative: 5e-6, absolute: 4e-7 };
/// WebGPU allows log an absolute error of 2⁻²¹ between 0.5 and 2.
const LOGARITHM: Tolerance = Tolerance::Near { relative: 4e-7, absolute: 4.8e-7 };
/// exp2(b · log2 a): the error of the logarithm times |b| ≤ 3, in the exponent.
const POWER: Tolerance = Tolerance::Near { relative: 1e-5, absolute: 1e-6 };
/// Divisions are good to 2.5 units in the last place.
const QUOTIENT: Tolerance = Tolerance::Near { relative: 3e-7, absolute: 0.0 };
/// One rounding of one result of ordinary size.
const ONE_ROUNDING: Tolerance = Tolerance::Near { relative: 6e-8, absolute: 6e-8 };
/// Means over up to a few thousand values of ordinary size, then a square root and a division.
const NORM: Tolerance = Tolerance::Near { relative: 1e-5, absolute: 1e-5 };
/// Exponentials of differences, divided by their sum.
const SOFTMAX: Tolerance = Tolerance::Near { relative: 1e-5, absolute: 1e-7 };
/// Scores of size 1 from up to 512 products, through a softmax, averaging values of size 1.
const ATTENTION: Tolerance = Tolerance::Near { relative: 2e-5, absolute: 1e-5 };

/// All of them.
pub(super) fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    convolutions(&mut cases);
    linears(&mut cases);
    gated_linears(&mut cases);
    products(&mut cases);
    norms(&mut cases);
    norms_of_products(&mut cases);
    attentions(&mut cases);
    rows(&mut cases);
    pointwise(&mut cases);
    broadcasts(&mut cases);
    moves(&mut cases);
    edges(&mut cases);
    bands(&mut cases);
    cases
}

fn case(cases: &mut Vec<Case>, name: impl Into<String>, tolerance: Tolerance, draw: impl FnOnce(&mut Sketch)) {
    let name = name.into();
    let mut sketch = Sketch::new(&name);
    draw(&mut sketch);
    cases.push(Case {
        name,
        sketch,
        tolerance,
        stored_scores: crate::plan::PlanOptions::default().stored_scores,
        max_workgroups: None,
        bands: None,
        narrow: true,
    });
}

/// A convolution with all that it may have.
struct Conv {
    x: [usize; 4],
    /// Output channels, rows, columns.
    w: [usize; 3],
    stride: [usize; 2],
    padding: [usize; 4],
    dilation: [usize; 2],
    groups: usize,
    act: Activation,
    /// Bias and residual.
    extras: bool,
    dtype: DType,
}

const CONV: Conv = Conv {
    x: [1, 3, 5, 7],
    w: [5, 3, 3],
    stride: [1, 1],
    padding: [1, 1, 1, 1],
    dilation: [1, 1],
    groups: 1,
    act: Activation::None,
    extras: true,
    dtype: DType::F32,
};

fn convolutions(cases: &mut Vec<Case>) {
    use Activation::{Gelu, QuickGelu, Relu, Silu};
    use DType::{F16, F32};
    let table = [
        ("ragged in every axis", CONV),
        ("16-bit weights", Conv { dtype: F16, act: Silu, ..CONV }),
        ("no bias and no residual", Conv { extras: false, ..CONV }),
        ("whole tiles", Conv { x: [1, 8, 4, 16], w: [16, 3, 3], ..CONV }),
        ("one channel over and one pixel over", Conv { x: [1, 9, 3, 9], w: [17, 3, 3], dtype: F16, ..CONV }),
        ("batch of three", Conv { x: [3, 2, 4, 6], w: [9, 3, 3], act: Relu, ..CONV }),
        ("pointwise", Conv { x: [2, 13, 3, 5], w: [11, 1, 1], padding: [0; 4], act: Gelu, ..CONV }),
        ("pointwise in 16 bits", Conv { x: [1, 16, 8, 8], w: [24, 1, 1], padding: [0; 4], dtype: F16, ..CONV }),
        ("pointwise with padding", Conv { w: [3, 1, 1], padding: [1, 0, 2, 1], ..CONV }),
        (
            "stride two, padded below and right as autoencoders do",
            Conv { x: [1, 4, 8, 8], w: [6, 3, 3], stride: [2, 2], padding: [0, 0, 1, 1], ..CONV },
        ),
        ("stride two in 16 bits", Conv { x: [1, 4, 9, 11], w: [8, 3, 3], stride: [2, 2], dtype: F16, ..CONV }),
        (
            "rows and columns differ in everything",
            Conv { x: [2, 3, 11, 13], w: [4, 2, 5], stride: [3, 1], padding: [2, 0, 1, 3], dilation: [2, 1], act: QuickGelu, ..CONV },
        ),
        ("stride two to many channels", Conv { x: [1, 3, 9, 11], w: [17, 3, 3], stride: [2, 2], ..CONV }),
        ("stride along rows only", Conv { x: [1, 2, 5, 17], w: [3, 3, 3], stride: [1, 3], ..CONV }),
        ("dilation", Conv { x: [1, 3, 9, 10], w: [4, 3, 3], padding: [2, 2, 2, 2], dilation: [2, 2], ..CONV }),
        ("padding beyond the kernel", Conv { x: [1, 2, 3, 4], w: [3, 2, 2], padding: [4, 3, 2, 5], ..CONV }),
        ("kernel as large as the image", Conv { x: [1, 5, 4, 6], w: [7, 4, 6], padding: [0; 4], ..CONV }),
        ("one pixel", Conv { x: [1, 1, 1, 1], w: [1, 1, 1], padding: [0; 4], ..CONV }),
        ("seven taps", Conv { x: [1, 2, 8, 19], w: [2, 7, 7], padding: [3; 4], ..CONV }),
        ("tiles that workgroups share", Conv { x: [1, 36, 9, 8], w: [70, 3, 3], act: Silu, ..CONV }),
        ("shared tiles, 16-bit weights, stride two", Conv { x: [2, 33, 13, 11], w: [65, 3, 3], stride: [2, 2], dtype: F16, ..CONV }),
        ("shared tiles and one slice", Conv { x: [1, 32, 6, 7], w: [33, 1, 2], padding: [0, 1, 0, 0], dtype: F16, ..CONV }),
        ("shared tiles of a pointwise convolution", Conv { x: [1, 130, 5, 9], w: [40, 1, 1], padding: [0; 4], dtype: F16, ..CONV }),
        ("many shared tiles, no slices", Conv { x: [1, 4, 96, 90], w: [70, 3, 3], ..CONV }),
        ("many shared tiles of 16-bit weights", Conv { x: [1, 4, 96, 90], w: [70, 3, 3], act: Silu, dtype: F16, ..CONV }),
        ("in groups", Conv { x: [1, 6, 5, 7], w: [9, 3, 3], groups: 3, act: Silu, ..CONV }),
        ("depthwise with 16-bit weights of odd count", Conv { x: [2, 5, 4, 3], w: [5, 3, 3], groups: 5, dtype: F16, ..CONV }),
        (
            "groups, strides, dilations",
            Conv { x: [1, 4, 9, 8], w: [6, 3, 2], stride: [2, 3], padding: [1, 0, 2, 1], dilation: [1, 2], groups: 2, dtype: F32, ..CONV },
        ),
    ];
    for (name, conv) in table {
        case(cases, format!("conv2d: {name}"), Tolerance::Sum(conv.x[1] / conv.groups * conv.w[1] * conv.w[2]), |sketch| {
            let x = sketch.input(&conv.x);
            let w = sketch.weight(&[conv.w[0], conv.x[1] / conv.groups, conv.w[1], conv.w[2]], conv.dtype);
            convolve(sketch, &conv, x, w);
        });
    }
    for groups in [1, 2] {
        case(cases, format!("conv2d: weights that are computed, {groups} groups"), Tolerance::Sum(4 * 9), |sketch| {
            let conv = Conv { x: [1, 4, 5, 6], w: [6, 3, 3], groups, ..CONV };
            let x = sketch.input(&conv.x);
            let w = sketch.input(&[6, 4 / groups, 3, 3]);
            convolve(sketch, &conv, x, w);
        });
    }
    for (x, columns, extras, dtype) in [
        ([1, 3, 2, 3], 5, true, F32),
        ([2, 5, 5, 7], 9, true, F16),
        ([1, 8, 1, 1], 4, false, F16),
        ([2, 5, 3, 31], 9, true, F16),
        ([1, 3, 5, 7], 10, true, F32),
        ([1, 36, 9, 8], 70, true, F16),
        ([1, 4, 48, 45], 36, false, F32),
    ] {
        case(cases, format!("up_conv2d: {x:?} to {columns} channels, {dtype:?}"), Tolerance::Sum(4 * x[1]), |sketch| {
            let out = [x[0], columns, 2 * x[2], 2 * x[3]];
            let mut inputs = vec![sketch.input(&x), sketch.weight(&[4, columns, x[1], 2, 2], dtype)];
            if extras {
                inputs.extend([sketch.weight(&[columns], dtype), sketch.input(&out)]);
            }
            let y = sketch.op(Op::UpConv2d { bias: extras, act: if extras { Silu } else { Activation::None }, residual: extras }, &inputs, &out);
            sketch.output(y);
        });
    }
    case(cases, "up_conv2d: weights and bias that are computed", Tolerance::Sum(12), |sketch| {
        let (x, w, bias) = (sketch.input(&[1, 3, 4, 3]), sketch.input(&[4, 6, 3, 2, 2]), sketch.input(&[6]));
        let y = sketch.op(Op::UpConv2d { bias: true, act: Relu, residual: false }, &[x, w, bias], &[1, 6, 8, 6]);
        sketch.output(y);
    });
    case(cases, "conv2d: bias and residual from 16-bit weights", Tolerance::Sum(27), |sketch| {
        let x = sketch.input(&[1, 3, 4, 5]);
        let (w, bias, residual) = (sketch.weight(&[3, 3, 3, 3], F16), sketch.weight(&[3], F16), sketch.weight(&[1, 3, 4, 5], F16));
        let op = Op::Conv2d { stride: [1, 1], padding: [1; 4], dilation: [1, 1], groups: 1, bias: true, act: Activation::None, residual: true };
        let y = sketch.op(op, &[x, w, bias, residual], &[1, 3, 4, 5]);
        sketch.output(y);
    });
    case(cases, "conv2d: a grid folded into two dimensions", Tolerance::Sum(9), |sketch| {
        let conv = Conv { x: [1, 1, 64, 64], w: [8, 3, 3], ..CONV };
        let x = sketch.input(&conv.x);
        let w = sketch.weight(&[8, 1, 3, 3], F32);
        convolve(sketch, &conv, x, w);
    });
    if let Some(last) = cases.last_mut() {
        last.max_workgroups = Some(30);
    }
}

impl Conv {
    /// The shape of the result.
    fn result(&self) -> [usize; 4] {
        let along = |axis: usize| {
            let reach = (self.w[1 + axis] - 1) * self.dilation[axis] + 1;
            (self.x[2 + axis] + self.padding[axis] + self.padding[axis + 2] - reach) / self.stride[axis] + 1
        };
        [self.x[0], self.w[0], along(0), along(1)]
    }

    /// The operation on these tensors, and a residual where it has extras.
    fn of(&self, sketch: &mut Sketch, x: ValueId, w: ValueId, residual: impl FnOnce(&mut Sketch, &[usize]) -> ValueId) -> ValueId {
        let shape = self.result();
        let mut inputs = vec![x, w];
        if self.extras {
            inputs.extend([sketch.weight(&[self.w[0]], DType::F32), residual(sketch, &shape)]);
        }
        let op = Op::Conv2d {
            stride: self.stride,
            padding: self.padding,
            dilation: self.dilation,
            groups: self.groups,
            bias: self.extras,
            act: self.act,
            residual: self.extras,
        };
        sketch.op(op, &inputs, &shape)
    }
}

fn convolve(sketch: &mut Sketch, conv: &Conv, x: ValueId, w: ValueId) {
    let y = conv.of(sketch, x, w, Sketch::input);
    sketch.output(y);
}

fn linears(cases: &mut Vec<Case>) {
    use Activation::{Gelu, None, QuickGelu, Relu, Silu};
    use DType::{F16, F32};
    for (lead, depth, columns, act, bias, residual, dtype) in [
        (vec![1], 1, 1, None, false, false, F32),
        (vec![7], 5, 9, None, true, true, F32),
        (vec![4], 8, 8, Silu, true, false, F16),
        (vec![1, 16], 12, 20, QuickGelu, true, true, F16),
        (vec![2, 3, 3], 7, 17, Gelu, true, false, F16),
        (vec![], 33, 10, Silu, false, true, F32),
        (vec![1, 5], 64, 3, None, false, false, F32),
        (vec![1, 2, 1, 2, 1, 3], 4, 13, None, true, true, F16),
        (vec![129], 36, 41, None, true, true, F32),
        (vec![1025], 8, 9, None, true, false, F16),
        (vec![2, 33], 130, 70, Gelu, true, true, F16),
        (vec![2, 33], 130, 70, Relu, true, true, F32),
        (vec![8200], 33, 65, Silu, true, true, F16),
        (vec![8200], 36, 66, None, false, true, F32),
    ] {
        let name = format!("linear: {lead:?}x{depth} to {columns}, {dtype:?} {act:?} bias {bias} residual {residual}");
        case(cases, name, Tolerance::Sum(depth), |sketch| {
            let shape = [&lead[..], &[depth]].concat();
            let out = [&lead[..], &[columns]].concat();
            let mut inputs = vec![sketch.input(&shape), sketch.weight(&[columns, depth], dtype)];
            if bias {
                inputs.push(sketch.weight(&[columns], dtype));
            }
            if residual {
                inputs.push(sketch.input(&out));
            }
            let y = sketch.op(Op::Linear { bias, act, residual }, &inputs, &out);
            sketch.output(y);
        });
    }
    case(cases, "linear: weights that are computed", Tolerance::Sum(6), |sketch| {
        let (x, w) = (sketch.input(&[3, 6]), sketch.input(&[11, 6]));
        let y = sketch.op(Op::Linear { bias: false, act: None, residual: false }, &[x, w], &[3, 11]);
        sketch.output(y);
    });
    case(cases, "linear: a reshaped weight, and the same weight as a table", Tolerance::Sum(6), |sketch| {
        let w = sketch.weight(&[5, 6], F16);
        let flat = sketch.op(Op::Reshape, &[w], &[10, 3]);
        let x = sketch.input(&[2, 3]);
        let y = sketch.op(Op::Linear { bias: false, act: None, residual: false }, &[x, flat], &[2, 10]);
        let ids = sketch.ids(&[2], vec![4, 1]);
        let rows = sketch.op(Op::Embedding, &[w, ids], &[2, 6]);
        let z = sketch.op(Op::Linear { bias: false, act: None, residual: false }, &[rows, w], &[2, 5]);
        sketch.output(y);
        sketch.output(z);
    });
    case(cases, "linear: the residual is the input", Tolerance::Sum(5), |sketch| {
        let (x, w) = (sketch.input(&[3, 5]), sketch.weight(&[5, 5], F32));
        let y = sketch.op(Op::Linear { bias: false, act: None, residual: true }, &[x, w, x], &[3, 5]);
        sketch.output(y);
    });
}

/// Linear layers with the gates behind them, which apply those themselves where the halves are whole units.
fn gated_linears(cases: &mut Vec<Case>) {
    use DType::{F16, F32};
    // Products of two sums of up to 130 products.
    const GATED: Tolerance = Tolerance::OfLargest(1e-5);
    let linear = |bias: bool| Op::Linear { bias, act: Activation::None, residual: false };
    for (lead, depth, half, bias, dtype) in [
        (vec![7], 5, 4, true, F32),
        (vec![2, 9], 12, 20, true, F16),
        (vec![], 9, 12, false, F32),
        (vec![33], 130, 36, true, F16),
        (vec![1, 65], 130, 64, false, F32),
        (vec![129], 36, 44, true, F32),
        (vec![2, 3, 35], 33, 20, true, F16),
        (vec![1, 2, 1, 2, 1, 9], 33, 16, true, F16),
        (vec![4200], 33, 100, true, F16),
        (vec![4100], 36, 100, false, F32),
        (vec![40], 36, 35, true, F16),
        (vec![3], 4, 7, true, F32),
    ] {
        case(cases, format!("geglu: of a linear layer {lead:?}x{depth} to {half} twice, {dtype:?} bias {bias}"), GATED, |sketch| {
            let (shape, both, out) = ([&lead[..], &[depth]].concat(), [&lead[..], &[2 * half]].concat(), [&lead[..], &[half]].concat());
            let mut inputs = vec![sketch.input(&shape), sketch.weight(&[2 * half, depth], dtype)];
            if bias {
                inputs.push(sketch.weight(&[2 * half], dtype));
            }
            let y = sketch.op(linear(bias), &inputs, &both);
            let y = sketch.op(Op::Geglu, &[y], &out);
            sketch.output(y);
        });
    }
    case(cases, "geglu: of a linear layer whose result something else reads too", GATED, |sketch| {
        let (x, w) = (sketch.input(&[40, 33]), sketch.weight(&[40, 33], F16));
        let y = sketch.op(linear(false), &[x, w], &[40, 40]);
        let z = sketch.op(Op::Geglu, &[y], &[40, 20]);
        sketch.output(z);
        let v = sketch.op(linear(false), &[x, w], &[40, 40]);
        let u = sketch.op(Op::Geglu, &[v], &[40, 20]);
        let t = sketch.op(Op::Affine { mul: 0.5, add: 1.0 }, &[v], &[40, 40]);
        sketch.output(y);
        sketch.output(u);
        sketch.output(t);
    });
    case(cases, "geglu: of weights and of a bias that are computed", GATED, |sketch| {
        let (x, w, bias) = (sketch.input(&[34, 33]), sketch.input(&[40, 33]), sketch.input(&[40]));
        let y = sketch.op(linear(false), &[x, w], &[34, 40]);
        let y = sketch.op(Op::Geglu, &[y], &[34, 20]);
        sketch.output(y);
        let of_files = sketch.weight(&[40, 33], F16);
        let z = sketch.op(linear(true), &[x, of_files, bias], &[34, 40]);
        let z = sketch.op(Op::Geglu, &[z], &[34, 20]);
        sketch.output(z);
    });
    case(cases, "geglu: two parts of a concatenation, and the weights of one of them once more", GATED, |sketch| {
        let (x, w, v) = (sketch.input(&[70, 36]), sketch.weight(&[40, 36], F16), sketch.weight(&[48, 36], F32));
        let parts = [(w, 40), (v, 48)].map(|(w, columns)| {
            let y = sketch.op(linear(false), &[x, w], &[70, columns]);
            sketch.op(Op::Geglu, &[y], &[70, columns / 2])
        });
        let both = sketch.op(Op::Concat { axis: 1 }, &parts, &[70, 44]);
        sketch.output(both);
        let plain = sketch.op(linear(false), &[x, w], &[70, 40]);
        sketch.output(plain);
    });
}

fn products(cases: &mut Vec<Case>) {
    for (a, b, y) in [
        (vec![1, 1], vec![1, 1], vec![1, 1]),
        (vec![5, 7], vec![7, 3], vec![5, 3]),
        (vec![4, 8], vec![8, 4], vec![4, 4]),
        (vec![3, 5, 7], vec![3, 7, 9], vec![3, 5, 9]),
        (vec![3, 5, 7], vec![7, 9], vec![3, 5, 9]),
        (vec![5, 7], vec![3, 7, 6], vec![3, 5, 6]),
        (vec![2, 1, 5, 3], vec![4, 3, 2], vec![2, 4, 5, 2]),
        (vec![2, 1, 3, 1, 2, 4], vec![1, 5, 1, 2, 4, 3], vec![2, 5, 3, 2, 2, 3]),
        (vec![1, 1, 9, 130], vec![1, 1, 130, 11], vec![1, 1, 9, 11]),
    ] {
        case(cases, format!("mat_mul: {a:?} with {b:?}"), Tolerance::Sum(a[a.len() - 1]), |sketch| {
            let (a, b) = (sketch.input(&a), sketch.input(&b));
            let y = sketch.op(Op::MatMul, &[a, b], &y);
            sketch.output(y);
        });
    }
    case(cases, "mat_mul: two 16-bit weights", Tolerance::Sum(5), |sketch| {
        let (a, b) = (sketch.weight(&[3, 5], DType::F16), sketch.weight(&[5, 7], DType::F16));
        let y = sketch.op(Op::MatMul, &[a, b], &[3, 7]);
        sketch.output(y);
    });
}

fn norms(cases: &mut Vec<Case>) {
    for (shape, groups, act) in [
        (vec![1, 4, 3, 5], 2, Activation::None),
        (vec![2, 6, 7, 1], 3, Activation::Silu),
        (vec![1, 8, 16, 16], 2, Activation::Silu),
        (vec![3, 5], 5, Activation::Gelu),
        (vec![2, 4, 3, 2, 2], 1, Activation::Relu),
        (vec![1, 32, 4, 4], 32, Activation::None),
        (vec![1, 2, 40, 41], 1, Activation::None),
    ] {
        case(cases, format!("group_norm: {groups} groups of {shape:?}, {act:?}"), NORM, |sketch| {
            // Away from zero, where a mean of squares minus a squared mean would cancel.
            let x = sketch.input_in(&shape, 3.0, 4.0);
            let (gamma, beta) = (sketch.weight(&[shape[1]], DType::F16), sketch.weight(&[shape[1]], DType::F32));
            let y = sketch.op(Op::GroupNorm { groups, epsilon: 1e-5, act }, &[x, gamma, beta], &shape);
            sketch.output(y);
        });
    }
    for shape in [vec![1], vec![4, 7], vec![3, 64], vec![2, 3, 65], vec![1, 17, 200], vec![1, 1, 1, 2, 3, 1500]] {
        case(cases, format!("layer_norm: {shape:?}"), NORM, |sketch| {
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

/// Group norms of what the matrix kernel has stored, whose statistics it leaves where it can.
fn norms_of_products(cases: &mut Vec<Case>) {
    use DType::{F16, F32};
    let norm = |sketch: &mut Sketch, x: ValueId, groups: usize| {
        let shape = sketch.shape(x);
        let (gamma, beta) = (sketch.weight(&[shape[1]], F16), sketch.weight(&[shape[1]], F32));
        let y = sketch.op(Op::GroupNorm { groups, epsilon: 1e-5, act: Activation::Silu }, &[x, gamma, beta], &shape);
        sketch.output(y);
    };
    // Away from zero by its residual, if it has one.
    let product = |sketch: &mut Sketch, x: ValueId, columns: usize, kernel: [usize; 2], residual: bool, dtype: DType| {
        let shape = sketch.shape(x);
        let (w, bias) = (sketch.weight(&[columns, shape[1], kernel[0], kernel[1]], dtype), sketch.weight(&[columns], F32));
        let out = [shape[0], columns, shape[2] + 2 * (kernel[0] / 2) + 1 - kernel[0], shape[3] + 2 * (kernel[1] / 2) + 1 - kernel[1]];
        let mut inputs = vec![x, w, bias];
        if residual {
            inputs.push(sketch.input_in(&out, 30.0, 34.0));
        }
        let [top, left] = kernel.map(|taps| taps / 2);
        let padding = [top, left, top, left];
        let op = Op::Conv2d { stride: [1, 1], padding, dilation: [1, 1], groups: 1, bias: true, act: Activation::None, residual };
        sketch.op(op, &inputs, &out)
    };
    for (x, columns, groups, kernel, residual, dtype) in [
        ([1, 8, 9, 8], 33, 11, [3, 3], false, F32),
        ([1, 9, 16, 13], 65, 13, [3, 3], true, F16),
        ([1, 32, 6, 7], 33, 11, [1, 2], false, F32),
        ([1, 31, 10, 13], 66, 3, [2, 1], true, F16),
        ([1, 37, 11, 13], 39, 13, [1, 1], true, F32),
        ([2, 36, 16, 12], 70, 10, [1, 1], false, F16),
        ([2, 8, 8, 8], 42, 14, [3, 3], true, F32),
        ([2, 36, 7, 9], 33, 1, [1, 1], false, F16),
        // So many that they are tall: with rows of two images in one, and a tail.
        ([2, 4, 64, 65], 70, 10, [3, 3], false, F32),
        ([1, 4, 96, 90], 66, 22, [3, 3], true, F16),
        ([2, 33, 64, 65], 66, 11, [1, 1], false, F16),
        ([1, 32, 91, 90], 70, 2, [1, 1], true, F32),
    ] {
        case(
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
        case(cases, format!("group_norm: of an upsampling convolution of {x:?}"), NORM, |sketch| {
            let (x, w) = (sketch.input(&x), sketch.weight(&[4, 42, x[1], 2, 2], F16));
            let shape = sketch.shape(x);
            let y =
                sketch.op(Op::UpConv2d { bias: false, act: Activation::Gelu, residual: false }, &[x, w], &[shape[0], 42, 2 * shape[2], 2 * shape[3]]);
            norm(sketch, y, 14);
        });
    }
    for (x, height) in [([1, 195, 40], 13), ([2, 128, 33], 8), ([2, 65, 36], 5)] {
        case(cases, format!("group_norm: of {height} rows of tokens {x:?}"), NORM, |sketch| {
            let tokens = sketch.input(&x);
            let (w, residual) = (sketch.weight(&[36, x[2]], F16), sketch.input_in(&[x[0], x[1], 36], 5.0, 6.0));
            let y = sketch.op(Op::Linear { bias: false, act: Activation::QuickGelu, residual: true }, &[tokens, w, residual], &[x[0], x[1], 36]);
            let y = sketch.op(Op::Permute { axes: vec![0, 2, 1] }, &[y], &[x[0], 36, x[1]]);
            let y = sketch.op(Op::Reshape, &[y], &[x[0], 36, height, x[1] / height]);
            norm(sketch, y, 12);
        });
    }
    for (batch, columns, more) in [(1, [36, 40], false), (2, [40, 36], false), (1, [36, 33], false), (1, [36, 36], true)] {
        case(cases, format!("group_norm: of parts of {columns:?} channels and of both, {batch} images, copied part {more}"), NORM, |sketch| {
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
            // One group straddles the parts.
            norm(sketch, both, if channels == 69 { 3 } else { 4 });
            norm(sketch, parts[1], columns[1] / if columns[1] == 40 { 4 } else { 3 });
        });
    }
}

fn attentions(cases: &mut Vec<Case>) {
    for (batch, heads, queries, keys, depth, features, causal) in [
        (1, 1, 1, 1, 1, 1, false),
        (1, 2, 5, 7, 6, 6, false),
        (2, 3, 9, 9, 8, 5, true),
        (1, 4, 16, 16, 32, 32, true),
        (1, 2, 33, 16, 40, 40, false),
        (1, 1, 6, 3, 512, 512, false),
        (1, 1, 3, 130, 20, 70, false),
        (1, 2, 4, 9, 8, 8, true),
        (1, 1, 9, 4, 8, 33, true),
        (1, 2, 33, 1, 32, 32, false),
        (2, 2, 77, 77, 32, 32, true),
        (1, 3, 65, 80, 40, 40, false),
        (2, 1, 130, 33, 36, 40, true),
        (1, 2, 33, 130, 64, 64, false),
        (2, 3, 77, 77, 64, 64, true),
        (1, 2, 65, 77, 64, 50, false),
        (2, 2, 33, 77, 80, 80, false),
        (1, 1, 77, 130, 80, 71, true),
        (1, 1, 65, 80, 160, 160, false),
        (2, 1, 33, 130, 160, 160, true),
        (1, 1, 40, 85, 33, 130, false),
        (1, 2, 34, 5, 150, 33, false),
    ] {
        for stored_scores in [u64::MAX, 0] {
            let how = if stored_scores == 0 { "streamed" } else { "stored" };
            let name = format!("attention: {batch}x{heads}, {queries} queries, {keys} keys, {depth} to {features}, causal {causal}, {how}");
            case(cases, name, ATTENTION, |sketch| {
                let q = sketch.input(&[batch, heads, queries, depth]);
                let k = sketch.input(&[batch, heads, keys, depth]);
                let v = sketch.input(&[batch, heads, keys, features]);
                let y = sketch.op(Op::Attention { scale: 1.0 / (depth as f32).sqrt(), causal }, &[q, k, v], &[batch, heads, queries, features]);
                sketch.output(y);
            });
            if let Some(last) = cases.last_mut() {
                last.stored_scores = stored_scores;
            }
        }
    }
    for stored_scores in [u64::MAX, 0] {
        case(
            cases,
            format!("attention: scores of hundreds, {}", if stored_scores == 0 { "streamed" } else { "stored" }),
            Tolerance::Near { relative: 1e-3, absolute: 1e-3 },
            |sketch| {
                // A score of 300 in f32 is good to 2e-5 a rounding, and its exponential to that share.
                let (q, k, v) = (sketch.input_in(&[1, 1, 6, 4], -9.0, 9.0), sketch.input_in(&[1, 1, 8, 4], -9.0, 9.0), sketch.input(&[1, 1, 8, 3]));
                let y = sketch.op(Op::Attention { scale: 1.0, causal: false }, &[q, k, v], &[1, 1, 6, 3]);
                sketch.output(y);
            },
        );
        if let Some(last) = cases.last_mut() {
            last.stored_scores = stored_scores;
        }
    }
}

fn rows(cases: &mut Vec<Case>) {
    for (shape, axis) in
        [(vec![5], 0), (vec![3, 7], 1), (vec![3, 7], 0), (vec![2, 3, 65, 2], 2), (vec![2, 100], 1), (vec![2, 1, 2, 1, 3, 17], 0), (vec![1, 1300], 1)]
    {
        case(cases, format!("softmax: axis {axis} of {shape:?}"), SOFTMAX, |sketch| {
            let x = sketch.input_in(&shape, -30.0, 40.0);
            let y = sketch.op(Op::Softmax { axis }, &[x], &shape);
            sketch.output(y);
        });
        for reduce in [ReduceKind::Sum, ReduceKind::Mean, ReduceKind::Max] {
            let tolerance = if reduce == ReduceKind::Max { Tolerance::Exact } else { Tolerance::Sum(shape[axis]) };
            case(cases, format!("reduce: {reduce:?} over axis {axis} of {shape:?}"), tolerance, |sketch| {
                let x = sketch.input_in(&shape, -3.0, -1.0);
                let mut out = shape.clone();
                out[axis] = 1;
                let y = sketch.op(Op::Reduce { reduce, axis }, &[x], &out);
                sketch.output(y);
            });
        }
    }
}

fn pointwise(cases: &mut Vec<Case>) {
    for (unary, low, high, tolerance) in [
        (UnaryKind::Neg, -5.0, 5.0, Tolerance::Exact),
        (UnaryKind::Abs, -5.0, 5.0, Tolerance::Exact),
        (UnaryKind::Exp, -8.0, 8.0, EXPONENTIAL),
        (UnaryKind::Log, 0.01, 9.0, LOGARITHM),
        (UnaryKind::Sqrt, 0.0, 9.0, POINTWISE),
        (UnaryKind::Recip, 0.1, 9.0, QUOTIENT),
        (UnaryKind::Sin, -7.0, 7.0, POINTWISE),
        (UnaryKind::Sin, -1000.0, 1000.0, POINTWISE),
        (UnaryKind::Cos, -7.0, 7.0, POINTWISE),
        (UnaryKind::Cos, -1000.0, 1000.0, POINTWISE),
        (UnaryKind::Tanh, -0.7, 0.7, POINTWISE),
        (UnaryKind::Tanh, -60.0, 60.0, POINTWISE),
        (UnaryKind::Erf, -1.0, 1.0, POINTWISE),
        (UnaryKind::Erf, -6.0, 6.0, POINTWISE),
        (UnaryKind::Sigmoid, -8.0, 8.0, EXPONENTIAL),
        (UnaryKind::Sigmoid, -200.0, 200.0, EXPONENTIAL),
        (UnaryKind::Relu, -5.0, 5.0, Tolerance::Exact),
        (UnaryKind::Silu, -8.0, 8.0, EXPONENTIAL),
        (UnaryKind::Silu, -200.0, 200.0, EXPONENTIAL),
        // x/2 · (1 + erf): below -4 the result is the rounding of erf times x.
        (UnaryKind::Gelu, -6.0, 6.0, Tolerance::Near { relative: 1e-6, absolute: 1e-6 }),
        (UnaryKind::QuickGelu, -8.0, 8.0, EXPONENTIAL),
    ] {
        case(cases, format!("unary: {unary:?} in {low}..{high}"), tolerance, |sketch| {
            let x = sketch.input_in(&[3, 337], low, high);
            let y = sketch.op(Op::Unary { unary }, &[x], &[3, 337]);
            sketch.output(y);
        });
        if let Some(last) = cases.last_mut() {
            last.narrow = high < 1000.0;
        }
    }
    case(cases, "affine: a factor and an addend", ONE_ROUNDING_TWICE, |sketch| {
        let x = sketch.input(&[2, 3, 5]);
        let y = sketch.op(Op::Affine { mul: -2.5, add: 0.3 }, &[x], &[2, 3, 5]);
        sketch.output(y);
    });
    case(cases, "clamp: both bounds", Tolerance::Exact, |sketch| {
        let x = sketch.input(&[67]);
        let y = sketch.op(Op::Clamp { min: -0.25, max: 0.5 }, &[x], &[67]);
        sketch.output(y);
    });
    case(cases, "geglu: odd widths", Tolerance::Near { relative: 2e-6, absolute: 1e-6 }, |sketch| {
        let x = sketch.input_in(&[2, 3, 14], -4.0, 4.0);
        let y = sketch.op(Op::Geglu, &[x], &[2, 3, 7]);
        sketch.output(y);
    });
}

/// A product and a sum, of size 3, rounded once or twice.
const ONE_ROUNDING_TWICE: Tolerance = Tolerance::Near { relative: 1.2e-7, absolute: 3e-7 };

fn broadcasts(cases: &mut Vec<Case>) {
    for (binary, low, high, tolerance) in [
        (BinaryKind::Add, -2.0, 2.0, ONE_ROUNDING),
        (BinaryKind::Sub, -2.0, 2.0, ONE_ROUNDING),
        (BinaryKind::Mul, -2.0, 2.0, ONE_ROUNDING),
        (BinaryKind::Div, 0.5, 2.0, QUOTIENT),
        (BinaryKind::Pow, 0.2, 3.0, POWER),
        (BinaryKind::Min, -2.0, 2.0, Tolerance::Exact),
        (BinaryKind::Max, -2.0, 2.0, Tolerance::Exact),
    ] {
        for (a, b, y) in [
            (vec![3, 5], vec![3, 5], vec![3, 5]),
            (vec![2, 3, 4, 5], vec![3, 1, 1], vec![2, 3, 4, 5]),
            (vec![4], vec![2, 3, 1], vec![2, 3, 4]),
            (vec![], vec![7], vec![7]),
            (vec![2, 1, 3, 1, 2, 1], vec![1, 4, 1, 2, 2, 3], vec![2, 4, 3, 2, 2, 3]),
        ] {
            case(cases, format!("binary: {binary:?} of {a:?} and {b:?}"), tolerance, |sketch| {
                let (a, b) = (sketch.input_in(&a, low, high), sketch.input_in(&b, low, high));
                let y = sketch.op(Op::Binary { binary }, &[a, b], &y);
                sketch.output(y);
            });
        }
    }
    case(cases, "binary: whole powers of negative numbers and of zero", POWER, |sketch| {
        let a = sketch.input_of(&[6], vec![-2.0, -1.5, 0.0, 0.0, -3.0, 2.0]);
        let b = sketch.input_of(&[6], vec![2.0, 3.0, 2.0, 0.0, 0.0, -2.0]);
        let y = sketch.op(Op::Binary { binary: BinaryKind::Pow }, &[a, b], &[6]);
        sketch.output(y);
    });
    case(cases, "binary: a tensor with itself", ONE_ROUNDING, |sketch| {
        let x = sketch.input(&[3, 4]);
        let y = sketch.op(Op::Binary { binary: BinaryKind::Mul }, &[x, x], &[3, 4]);
        sketch.output(y);
    });
}

fn moves(cases: &mut Vec<Case>) {
    let mut exact = |name: &str, draw: &dyn Fn(&mut Sketch) -> ValueId| {
        case(cases, name, Tolerance::Exact, |sketch| {
            let y = draw(sketch);
            sketch.output(y);
        });
    };
    for axes in [vec![1, 0, 2], vec![2, 1, 0], vec![0, 1, 2], vec![1, 2, 0]] {
        exact(&format!("permute: {axes:?}"), &|sketch| {
            let shape = [3, 5, 7];
            let x = sketch.input(&shape);
            let out: Vec<usize> = axes.iter().map(|&axis| shape[axis]).collect();
            sketch.op(Op::Permute { axes: axes.clone() }, &[x], &out)
        });
    }
    exact("permute: six axes", &|sketch| {
        let x = sketch.input(&[2, 3, 1, 4, 2, 3]);
        sketch.op(Op::Permute { axes: vec![5, 3, 0, 1, 4, 2] }, &[x], &[3, 4, 2, 3, 2, 1])
    });
    exact("permute: eight axes and a scalar", &|sketch| {
        let x = sketch.input(&[2, 1, 2, 3, 1, 2, 2, 2]);
        let y = sketch.op(Op::Permute { axes: vec![7, 6, 5, 4, 3, 2, 1, 0] }, &[x], &[2, 2, 2, 1, 3, 2, 1, 2]);
        let scalar = sketch.input(&[]);
        let turned = sketch.op(Op::Permute { axes: vec![] }, &[scalar], &[]);
        sketch.output(turned);
        y
    });
    for axis in 0..3 {
        exact(&format!("concat: three along axis {axis}"), &|sketch| {
            let lengths = [2, 1, 4];
            let mut parts = Vec::new();
            for length in lengths {
                let mut shape = [3, 4, 5];
                shape[axis] = length;
                parts.push(sketch.input(&shape));
            }
            let mut out = [3, 4, 5];
            out[axis] = 7;
            sketch.op(Op::Concat { axis }, &parts, &out)
        });
    }
    exact("concat: one tensor, twice the same, and a 16-bit weight", &|sketch| {
        let (x, w) = (sketch.input(&[2, 3]), sketch.weight(&[1, 3], DType::F16));
        let one = sketch.op(Op::Concat { axis: 0 }, &[x], &[2, 3]);
        sketch.op(Op::Concat { axis: 0 }, &[one, one, w, x], &[7, 3])
    });
    exact("slice: inside every axis", &|sketch| {
        let x = sketch.input(&[4, 5, 6, 3]);
        sketch.op(Op::Slice { start: vec![1, 0, 2, 1] }, &[x], &[2, 5, 3, 1])
    });
    exact("slice: of a 16-bit weight", &|sketch| {
        let x = sketch.weight(&[7, 3], DType::F16);
        sketch.op(Op::Slice { start: vec![3, 1] }, &[x], &[2, 2])
    });
    exact("pad: another value around every axis", &|sketch| {
        let x = sketch.input(&[2, 3, 4]);
        sketch.op(Op::Pad { padding: vec![[1, 0], [0, 2], [3, 1]], value: -7.5 }, &[x], &[3, 5, 8])
    });
    exact("expand: from the middle", &|sketch| {
        let x = sketch.input(&[3, 1, 5, 1]);
        sketch.op(Op::Expand, &[x], &[3, 4, 5, 2])
    });
    exact("reshape: through another shape and back", &|sketch| {
        let x = sketch.input(&[4, 6]);
        let y = sketch.op(Op::Unary { unary: UnaryKind::Neg }, &[x], &[4, 6]);
        let y = sketch.op(Op::Reshape, &[y], &[2, 3, 4]);
        let y = sketch.op(Op::Permute { axes: vec![2, 0, 1] }, &[y], &[4, 2, 3]);
        sketch.op(Op::Reshape, &[y], &[24])
    });
    exact("upsample_nearest: rows and columns differ", &|sketch| {
        let x = sketch.input(&[2, 3, 4, 5]);
        sketch.op(Op::UpsampleNearest { scale: [2, 3] }, &[x], &[2, 3, 8, 15])
    });
    for dtype in [DType::F32, DType::F16] {
        exact(&format!("embedding: ids outside the table, {dtype:?}"), &|sketch| {
            let table = sketch.weight(&[7, 5], dtype);
            let ids = sketch.ids(&[2, 4], vec![0, 6, 3, -1, 7, i32::MAX, i32::MIN, 2]);
            sketch.op(Op::Embedding, &[table, ids], &[2, 4, 5])
        });
    }
    exact("embedding: of a computed table, by ids among the weights", &|sketch| {
        let x = sketch.input(&[4, 3]);
        let table = sketch.op(Op::Unary { unary: UnaryKind::Neg }, &[x], &[4, 3]);
        let ids = sketch.weight_of(&[3], DType::I32, [2i32, 0, 3].iter().flat_map(|id| id.to_le_bytes()).collect());
        sketch.op(Op::Embedding, &[table, ids], &[3, 3])
    });
}

fn edges(cases: &mut Vec<Case>) {
    case(cases, "outputs that are inputs, weights and their reshapes", Tolerance::Exact, |sketch| {
        let x = sketch.input(&[2, 3]);
        let (wide, narrow) = (sketch.weight(&[5], DType::F32), sketch.weight(&[3, 3], DType::F16));
        let reshaped = sketch.op(Op::Reshape, &[narrow], &[9]);
        for value in [x, wide, narrow, reshaped, x] {
            sketch.output(value);
        }
    });
    case(cases, "one value as two outputs, and an intermediate as a third", Tolerance::Exact, |sketch| {
        let x = sketch.input(&[5]);
        let y = sketch.op(Op::Unary { unary: UnaryKind::Neg }, &[x], &[5]);
        let z = sketch.op(Op::Unary { unary: UnaryKind::Abs }, &[y], &[5]);
        for value in [z, y, z] {
            sketch.output(value);
        }
    });
    case(cases, "tensors without elements", Tolerance::Exact, |sketch| {
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
        case(cases, format!("attention to nothing is nothing, scores up to {stored_scores}"), Tolerance::Exact, |sketch| {
            let (q, k, v) = (sketch.input(&[1, 2, 3, 4]), sketch.input(&[1, 2, 0, 4]), sketch.input(&[1, 2, 0, 5]));
            let y = sketch.op(Op::Attention { scale: 1.0, causal: false }, &[q, k, v], &[1, 2, 3, 5]);
            sketch.output(y);
        });
        if let Some(last) = cases.last_mut() {
            last.stored_scores = stored_scores;
        }
    }
    case(cases, "a convolution without input channels is its bias", Tolerance::Exact, |sketch| {
        let (x, w, bias) = (sketch.input(&[1, 0, 3, 3]), sketch.weight(&[2, 0, 3, 3], DType::F16), sketch.weight(&[2], DType::F32));
        let op = Op::Conv2d { stride: [1, 1], padding: [1; 4], dilation: [1, 1], groups: 1, bias: true, act: Activation::None, residual: false };
        let y = sketch.op(op, &[x, w, bias], &[1, 2, 3, 3]);
        sketch.output(y);
    });
    case(cases, "a constant image is normed to beta", NORM, |sketch| {
        let x = sketch.input_of(&[1, 2, 3, 3], vec![7.25; 18]);
        let (gamma, beta) = (sketch.weight(&[2], DType::F32), sketch.weight(&[2], DType::F32));
        let y = sketch.op(Op::GroupNorm { groups: 1, epsilon: 1e-5, act: Activation::None }, &[x, gamma, beta], &[1, 2, 3, 3]);
        sketch.output(y);
    });
    case(cases, "large tensors fold the grid of every kind of dispatch", Tolerance::OfLargest(2e-5), |sketch| {
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

/// An input whose channels are given side by side, so that a part of its rows is a part of the memory.
fn image(sketch: &mut Sketch, shape: &[usize]) -> ValueId {
    let x = sketch.input(&[shape[0], shape[2], shape[3], shape[1]]);
    sketch.op(Op::Permute { axes: vec![0, 3, 1, 2] }, &[x], shape)
}

/// As it is given.
fn output_image(sketch: &mut Sketch, y: ValueId) {
    let shape = sketch.shape(y);
    let y = sketch.op(Op::Permute { axes: vec![0, 2, 3, 1] }, &[y], &[shape[0], shape[2], shape[3], shape[1]]);
    sketch.output(y);
}

fn bands(cases: &mut Vec<Case>) {
    use Activation::{Gelu, Relu, Silu};
    use DType::{F16, F32};
    let mut banded = |name: &str, tolerance: Tolerance, binding: u64, work: u64, draw: &dyn Fn(&mut Sketch)| {
        for bands in [
            Bands { binding: Some(binding).filter(|&bytes| bytes > 0), work: None, certain: true },
            Bands { binding: None, work: Some(work).filter(|&work| work > 0), certain: true },
        ] {
            let (limit, said) = match bands {
                Bands { binding: Some(bytes), .. } => (bytes, "bytes"),
                Bands { work: Some(work), .. } => (work, "operations"),
                _ => continue,
            };
            case(cases, format!("bands: {name}, {limit} {said}"), tolerance, draw);
            if let Some(last) = cases.last_mut() {
                last.bands = Some(bands);
            }
        }
    };
    for (name, conv, binding, work) in [
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
        banded(name, Tolerance::Sum(conv.x[1] * conv.w[1] * conv.w[2]), binding, work, &|sketch| {
            let x = image(sketch, &conv.x);
            let w = sketch.weight(&[conv.w[0], conv.x[1], conv.w[1], conv.w[2]], conv.dtype);
            let y = conv.of(sketch, x, w, image);
            output_image(sketch, y);
        });
    }
    for (x, columns, extras, dtype, binding, work) in
        [([2, 5, 15, 31], 9, true, F16, 8192, 50_000), ([1, 4, 67, 64], 33, false, F32, 200_000, 2_000_000)]
    {
        banded(&format!("four phases of {x:?}"), Tolerance::Sum(4 * x[1]), binding, work, &|sketch| {
            let out = [x[0], columns, 2 * x[2], 2 * x[3]];
            let mut inputs = vec![image(sketch, &x), sketch.weight(&[4, columns, x[1], 2, 2], dtype)];
            if extras {
                inputs.extend([sketch.weight(&[columns], dtype), image(sketch, &out)]);
            }
            let y = sketch.op(Op::UpConv2d { bias: extras, act: Silu, residual: extras }, &inputs, &out);
            output_image(sketch, y);
        });
    }
    for (lead, depth, columns, dtype, binding, work) in
        [(vec![1025], 8, 9, F16, 4096, 20_000), (vec![2, 3, 50], 7, 17, F32, 4096, 20_000), (vec![4300], 33, 65, F16, 100_000, 2_000_000)]
    {
        banded(&format!("linear of {lead:?}x{depth}"), Tolerance::Sum(depth), binding, work, &|sketch| {
            let (shape, out) = ([&lead[..], &[depth]].concat(), [&lead[..], &[columns]].concat());
            let inputs = [sketch.input(&shape), sketch.weight(&[columns, depth], dtype), sketch.weight(&[columns], dtype), sketch.input(&out)];
            let y = sketch.op(Op::Linear { bias: true, act: Silu, residual: true }, &inputs, &out);
            sketch.output(y);
        });
    }
    for (shape, groups, binding) in [([2, 12, 37, 41], 3, 10_000), ([1, 6, 53, 29], 2, 8192), ([3, 64, 9, 7], 32, 20_000)] {
        banded(&format!("group norm of {shape:?}"), NORM, binding, 0, &|sketch| {
            let x = image(sketch, &shape);
            let (gamma, beta) = (sketch.weight(&[shape[1]], F16), sketch.weight(&[shape[1]], F32));
            let y = sketch.op(Op::GroupNorm { groups, epsilon: 1e-5, act: Silu }, &[x, gamma, beta], &shape);
            output_image(sketch, y);
        });
    }
    for (shape, channels, binding, work) in [([2, 4, 21, 19], 8, 8192, 100_000), ([1, 4, 67, 64], 36, 200_000, 5_000_000)] {
        banded(&format!("a residual block of {channels} channels"), Tolerance::OfLargest(2e-4), binding, work, &|sketch| {
            let x = image(sketch, &shape);
            let (v, w) = (sketch.weight(&[channels, 4, 3, 3], F16), sketch.weight(&[channels, channels, 3, 3], F16));
            let conv = Conv { x: shape, w: [channels, 3, 3], extras: false, ..CONV };
            let x = conv.of(sketch, x, v, image);
            let (gamma, beta) = (sketch.weight(&[channels], F16), sketch.weight(&[channels], F32));
            let of_x = sketch.shape(x);
            let y = sketch.op(Op::GroupNorm { groups: 4, epsilon: 1e-5, act: Silu }, &[x, gamma, beta], &of_x);
            let conv = Conv { x: [shape[0], channels, shape[2], shape[3]], extras: true, ..conv };
            let y = conv.of(sketch, y, w, |_, _| x);
            output_image(sketch, y);
        });
    }
    banded("a linear layer with its gate", Tolerance::OfLargest(2e-4), 8192, 50_000, &|sketch| {
        let (x, w) = (sketch.input(&[1, 201, 9]), sketch.weight(&[24, 9], F16));
        let bias = sketch.weight(&[24], F32);
        let y = sketch.op(Op::Linear { bias: true, act: Activation::None, residual: false }, &[x, w, bias], &[1, 201, 24]);
        let y = sketch.op(Op::Geglu, &[y], &[1, 201, 12]);
        sketch.output(y);
    });
    banded("functions of one tensor and of two", Tolerance::Near { relative: 1e-5, absolute: 1e-5 }, 4096, 0, &|sketch| {
        let shape = [2, 7, 19, 23];
        let (a, b, c) = (sketch.input(&shape), sketch.input(&[7, 1, 1]), sketch.input(&[2, 1, 19, 1]));
        let y = sketch.op(Op::Unary { unary: UnaryKind::Silu }, &[a], &shape);
        let y = sketch.op(Op::Binary { binary: BinaryKind::Mul }, &[y, b], &shape);
        let y = sketch.op(Op::Binary { binary: BinaryKind::Add }, &[c, y], &shape);
        let y = sketch.op(Op::Binary { binary: BinaryKind::Sub }, &[y, a], &shape);
        sketch.output(y);
    });
    banded("moves", Tolerance::Exact, 8192, 0, &|sketch| {
        let (x, z) = (sketch.input(&[2, 3, 9, 11]), sketch.input(&[1, 5, 17, 13]));
        let up = sketch.op(Op::UpsampleNearest { scale: [3, 2] }, &[x], &[2, 3, 27, 22]);
        sketch.output(up);
        let turned = sketch.op(Op::Permute { axes: vec![3, 0, 2, 1] }, &[z], &[13, 1, 17, 5]);
        let part = sketch.op(Op::Slice { start: vec![2, 0, 1, 1] }, &[turned], &[10, 1, 15, 3]);
        sketch.output(part);
        sketch.output(turned);
    });
    banded("parts of a concatenation", Tolerance::Sum(36), 8192, 50_000, &|sketch| {
        let x = image(sketch, &[1, 4, 21, 19]);
        let conv = Conv { x: [1, 4, 21, 19], w: [8, 3, 3], extras: false, ..CONV };
        let (v, w) = (sketch.weight(&[8, 4, 3, 3], F16), sketch.weight(&[8, 4, 3, 3], F16));
        let parts = [conv.of(sketch, x, v, image), conv.of(sketch, x, w, image)];
        let both = sketch.op(Op::Concat { axis: 1 }, &parts, &[1, 16, 21, 19]);
        output_image(sketch, both);
    });
}
