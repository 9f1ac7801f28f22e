//! Linear layers, with and without GEGLU, and matrix products.

use onestep_program::{Activation, DType, Op};

use super::super::case::{Case, Tolerance};
use super::common::add;

pub(super) fn linears(cases: &mut Vec<Case>) {
    use Activation::{Gelu, None, QuickGelu, Relu, Silu};
    use DType::{F16, F32};
    for (rows, depth, columns, act, bias, residual, dtype) in [
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
        let name = format!("linear: {rows:?}x{depth} to {columns}, {dtype:?} {act:?} bias {bias} residual {residual}");
        add(cases, name, Tolerance::Sum(depth), |sketch| {
            let shape = [&rows[..], &[depth]].concat();
            let out = [&rows[..], &[columns]].concat();
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
    add(cases, "linear: weights that are computed", Tolerance::Sum(6), |sketch| {
        let (x, w) = (sketch.input(&[3, 6]), sketch.input(&[11, 6]));
        let y = sketch.op(Op::Linear { bias: false, act: None, residual: false }, &[x, w], &[3, 11]);
        sketch.output(y);
    });
    add(cases, "linear: a reshaped weight, and the same weight as a table", Tolerance::Sum(6), |sketch| {
        let w = sketch.weight(&[5, 6], F16);
        let flat = sketch.op(Op::Reshape, &[w], &[10, 3]);
        let x = sketch.input(&[2, 3]);
        let y = sketch.op(Op::Linear { bias: false, act: None, residual: false }, &[x, flat], &[2, 10]);
        let ids = sketch.ids(&[2], vec![4, 1]);
        let embedded = sketch.op(Op::Embedding, &[w, ids], &[2, 6]);
        let z = sketch.op(Op::Linear { bias: false, act: None, residual: false }, &[embedded, w], &[2, 5]);
        sketch.output(y);
        sketch.output(z);
    });
    add(cases, "linear: the residual is the input", Tolerance::Sum(5), |sketch| {
        let (x, w) = (sketch.input(&[3, 5]), sketch.weight(&[5, 5], F32));
        let y = sketch.op(Op::Linear { bias: false, act: None, residual: true }, &[x, w, x], &[3, 5]);
        sketch.output(y);
    });
}

/// Linear layers followed by GEGLU, which is fused if values and gates are whole blocks.
pub(super) fn gated_linears(cases: &mut Vec<Case>) {
    use DType::{F16, F32};
    // Products of two sums of up to 130 products.
    const GATED: Tolerance = Tolerance::OfLargest(1e-5);
    let linear = |bias: bool| Op::Linear { bias, act: Activation::None, residual: false };
    for (rows, depth, half, bias, dtype) in [
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
        add(cases, format!("geglu: of a linear layer {rows:?}x{depth} to {half} twice, {dtype:?} bias {bias}"), GATED, |sketch| {
            let (shape, both, out) = ([&rows[..], &[depth]].concat(), [&rows[..], &[2 * half]].concat(), [&rows[..], &[half]].concat());
            let mut inputs = vec![sketch.input(&shape), sketch.weight(&[2 * half, depth], dtype)];
            if bias {
                inputs.push(sketch.weight(&[2 * half], dtype));
            }
            let y = sketch.op(linear(bias), &inputs, &both);
            let y = sketch.op(Op::Geglu, &[y], &out);
            sketch.output(y);
        });
    }
    add(cases, "geglu: of a linear layer whose result something else reads too", GATED, |sketch| {
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
    add(cases, "geglu: of weights and of a bias that are computed", GATED, |sketch| {
        let (x, w, bias) = (sketch.input(&[34, 33]), sketch.input(&[40, 33]), sketch.input(&[40]));
        let y = sketch.op(linear(false), &[x, w], &[34, 40]);
        let y = sketch.op(Op::Geglu, &[y], &[34, 20]);
        sketch.output(y);
        let of_files = sketch.weight(&[40, 33], F16);
        let z = sketch.op(linear(true), &[x, of_files, bias], &[34, 40]);
        let z = sketch.op(Op::Geglu, &[z], &[34, 20]);
        sketch.output(z);
    });
    add(cases, "geglu: two parts of a concatenation, and the weights of one of them once more", GATED, |sketch| {
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

pub(super) fn products(cases: &mut Vec<Case>) {
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
        add(cases, format!("mat_mul: {a:?} with {b:?}"), Tolerance::Sum(a[a.len() - 1]), |sketch| {
            let (a, b) = (sketch.input(&a), sketch.input(&b));
            let y = sketch.op(Op::MatMul, &[a, b], &y);
            sketch.output(y);
        });
    }
    add(cases, "mat_mul: two 16-bit weights", Tolerance::Sum(5), |sketch| {
        let (a, b) = (sketch.weight(&[3, 5], DType::F16), sketch.weight(&[5, 7], DType::F16));
        let y = sketch.op(Op::MatMul, &[a, b], &[3, 7]);
        sketch.output(y);
    });
}
