//! Functions of one or two tensors.

use onestep_program::{BinaryKind, Op, UnaryKind};

use super::super::case::{Case, Tolerance};
use super::common::{EXPONENTIAL, LOGARITHM, ONE_ROUNDING, ONE_ROUNDING_TWICE, POINTWISE, POWER, QUOTIENT, add};

pub(super) fn pointwise(cases: &mut Vec<Case>) {
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
        // x/2 · (1 + erf): below -4 the result is the rounding error of erf times x.
        (UnaryKind::Gelu, -6.0, 6.0, Tolerance::Near { relative: 1e-6, absolute: 1e-6 }),
        (UnaryKind::QuickGelu, -8.0, 8.0, EXPONENTIAL),
    ] {
        add(cases, format!("unary: {unary:?} in {low}..{high}"), tolerance, |sketch| {
            let x = sketch.input_in(&[3, 337], low, high);
            let y = sketch.op(Op::Unary { unary }, &[x], &[3, 337]);
            sketch.output(y);
        });
        if let Some(last) = cases.last_mut() {
            last.f16_activations = high < 1000.0;
        }
    }
    add(cases, "affine: a factor and an addend", ONE_ROUNDING_TWICE, |sketch| {
        let x = sketch.input(&[2, 3, 5]);
        let y = sketch.op(Op::Affine { mul: -2.5, add: 0.3 }, &[x], &[2, 3, 5]);
        sketch.output(y);
    });
    add(cases, "clamp: both bounds", Tolerance::Exact, |sketch| {
        let x = sketch.input(&[67]);
        let y = sketch.op(Op::Clamp { min: -0.25, max: 0.5 }, &[x], &[67]);
        sketch.output(y);
    });
    add(cases, "geglu: odd widths", Tolerance::Near { relative: 2e-6, absolute: 1e-6 }, |sketch| {
        let x = sketch.input_in(&[2, 3, 14], -4.0, 4.0);
        let y = sketch.op(Op::Geglu, &[x], &[2, 3, 7]);
        sketch.output(y);
    });
}

pub(super) fn broadcasts(cases: &mut Vec<Case>) {
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
            add(cases, format!("binary: {binary:?} of {a:?} and {b:?}"), tolerance, |sketch| {
                let (a, b) = (sketch.input_in(&a, low, high), sketch.input_in(&b, low, high));
                let y = sketch.op(Op::Binary { binary }, &[a, b], &y);
                sketch.output(y);
            });
        }
    }
    add(cases, "binary: whole powers of negative numbers and of zero", POWER, |sketch| {
        let a = sketch.input_of(&[6], vec![-2.0, -1.5, 0.0, 0.0, -3.0, 2.0]);
        let b = sketch.input_of(&[6], vec![2.0, 3.0, 2.0, 0.0, 0.0, -2.0]);
        let y = sketch.op(Op::Binary { binary: BinaryKind::Pow }, &[a, b], &[6]);
        sketch.output(y);
    });
    add(cases, "binary: a tensor with itself", ONE_ROUNDING, |sketch| {
        let x = sketch.input(&[3, 4]);
        let y = sketch.op(Op::Binary { binary: BinaryKind::Mul }, &[x, x], &[3, 4]);
        sketch.output(y);
    });
}
