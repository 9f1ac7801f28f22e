//! Softmax and reductions.

use onestep_program::{Op, ReduceKind};

use super::super::case::{Case, Tolerance};
use super::common::{SOFTMAX, add};

pub(super) fn rows(cases: &mut Vec<Case>) {
    for (shape, axis) in
        [(vec![5], 0), (vec![3, 7], 1), (vec![3, 7], 0), (vec![2, 3, 65, 2], 2), (vec![2, 100], 1), (vec![2, 1, 2, 1, 3, 17], 0), (vec![1, 1300], 1)]
    {
        add(cases, format!("softmax: axis {axis} of {shape:?}"), SOFTMAX, |sketch| {
            let x = sketch.input_in(&shape, -30.0, 40.0);
            let y = sketch.op(Op::Softmax { axis }, &[x], &shape);
            sketch.output(y);
        });
        for reduce in [ReduceKind::Sum, ReduceKind::Mean, ReduceKind::Max] {
            let tolerance = if reduce == ReduceKind::Max { Tolerance::Exact } else { Tolerance::Sum(shape[axis]) };
            add(cases, format!("reduce: {reduce:?} over axis {axis} of {shape:?}"), tolerance, |sketch| {
                let x = sketch.input_in(&shape, -3.0, -1.0);
                let mut out = shape.clone();
                out[axis] = 1;
                let y = sketch.op(Op::Reduce { reduce, axis }, &[x], &out);
                sketch.output(y);
            });
        }
    }
}
