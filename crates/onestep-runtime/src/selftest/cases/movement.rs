//! Operations that move elements.

use onestep_program::{DType, Op, UnaryKind, ValueId};

use super::super::{
    case::{Case, Tolerance},
    sketch::Sketch,
};
use super::common::add;

/// Adds a case that only moves elements; `build` returns its output.
fn exact(cases: &mut Vec<Case>, name: &str, build: &dyn Fn(&mut Sketch) -> ValueId) {
    add(cases, name, Tolerance::Exact, |sketch| {
        let y = build(sketch);
        sketch.output(y);
    });
}

pub(super) fn permutations(cases: &mut Vec<Case>) {
    for axes in [vec![1, 0, 2], vec![2, 1, 0], vec![0, 1, 2], vec![1, 2, 0]] {
        exact(cases, &format!("permute: {axes:?}"), &|sketch| {
            let shape = [3, 5, 7];
            let x = sketch.input(&shape);
            let out: Vec<usize> = axes.iter().map(|&axis| shape[axis]).collect();
            sketch.op(Op::Permute { axes: axes.clone() }, &[x], &out)
        });
    }
    exact(cases, "permute: six axes", &|sketch| {
        let x = sketch.input(&[2, 3, 1, 4, 2, 3]);
        sketch.op(Op::Permute { axes: vec![5, 3, 0, 1, 4, 2] }, &[x], &[3, 4, 2, 3, 2, 1])
    });
    exact(cases, "permute: eight axes and a scalar", &|sketch| {
        let x = sketch.input(&[2, 1, 2, 3, 1, 2, 2, 2]);
        let y = sketch.op(Op::Permute { axes: vec![7, 6, 5, 4, 3, 2, 1, 0] }, &[x], &[2, 2, 2, 1, 3, 2, 1, 2]);
        let scalar = sketch.input(&[]);
        let turned = sketch.op(Op::Permute { axes: vec![] }, &[scalar], &[]);
        sketch.output(turned);
        y
    });
}

pub(super) fn moves(cases: &mut Vec<Case>) {
    for axis in 0..3 {
        exact(cases, &format!("concat: three along axis {axis}"), &|sketch| {
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
    exact(cases, "concat: one tensor, twice the same, and a 16-bit weight", &|sketch| {
        let (x, w) = (sketch.input(&[2, 3]), sketch.weight(&[1, 3], DType::F16));
        let one = sketch.op(Op::Concat { axis: 0 }, &[x], &[2, 3]);
        sketch.op(Op::Concat { axis: 0 }, &[one, one, w, x], &[7, 3])
    });
    exact(cases, "slice: inside every axis", &|sketch| {
        let x = sketch.input(&[4, 5, 6, 3]);
        sketch.op(Op::Slice { start: vec![1, 0, 2, 1] }, &[x], &[2, 5, 3, 1])
    });
    exact(cases, "slice: of a 16-bit weight", &|sketch| {
        let x = sketch.weight(&[7, 3], DType::F16);
        sketch.op(Op::Slice { start: vec![3, 1] }, &[x], &[2, 2])
    });
    exact(cases, "pad: another value around every axis", &|sketch| {
        let x = sketch.input(&[2, 3, 4]);
        sketch.op(Op::Pad { padding: vec![[1, 0], [0, 2], [3, 1]], value: -7.5 }, &[x], &[3, 5, 8])
    });
    exact(cases, "expand: from the middle", &|sketch| {
        let x = sketch.input(&[3, 1, 5, 1]);
        sketch.op(Op::Expand, &[x], &[3, 4, 5, 2])
    });
    exact(cases, "reshape: through another shape and back", &|sketch| {
        let x = sketch.input(&[4, 6]);
        let y = sketch.op(Op::Unary { unary: UnaryKind::Neg }, &[x], &[4, 6]);
        let y = sketch.op(Op::Reshape, &[y], &[2, 3, 4]);
        let y = sketch.op(Op::Permute { axes: vec![2, 0, 1] }, &[y], &[4, 2, 3]);
        sketch.op(Op::Reshape, &[y], &[24])
    });
    exact(cases, "upsample_nearest: rows and columns differ", &|sketch| {
        let x = sketch.input(&[2, 3, 4, 5]);
        sketch.op(Op::UpsampleNearest, &[x], &[2, 3, 8, 15])
    });
    for (channels, from, to) in [(3, [4, 5], [7, 9]), (8, [4, 5], [9, 11]), (5, [3, 7], [6, 8]), (1, [14, 1], [46, 3])] {
        exact(cases, &format!("upsample_nearest: {channels} channels, {from:?} to {to:?}"), &|sketch| {
            let x = sketch.input(&[2, channels, from[0], from[1]]);
            sketch.op(Op::UpsampleNearest, &[x], &[2, channels, to[0], to[1]])
        });
    }
    exact(cases, "upsample_nearest: into a part of a concatenation", &|sketch| {
        let (x, skip) = (sketch.input(&[1, 8, 3, 4]), sketch.input(&[1, 4, 5, 7]));
        let x = sketch.op(Op::Unary { unary: UnaryKind::Neg }, &[x], &[1, 8, 3, 4]);
        let skip = sketch.op(Op::Unary { unary: UnaryKind::Neg }, &[skip], &[1, 4, 5, 7]);
        let up = sketch.op(Op::UpsampleNearest, &[x], &[1, 8, 5, 7]);
        sketch.op(Op::Concat { axis: 1 }, &[skip, up], &[1, 12, 5, 7])
    });
    for dtype in [DType::F32, DType::F16] {
        exact(cases, &format!("embedding: ids outside the table, {dtype:?}"), &|sketch| {
            let table = sketch.weight(&[7, 5], dtype);
            let ids = sketch.ids(&[2, 4], vec![0, 6, 3, -1, 7, i32::MAX, i32::MIN, 2]);
            sketch.op(Op::Embedding, &[table, ids], &[2, 4, 5])
        });
    }
    exact(cases, "embedding: of a computed table, by ids among the weights", &|sketch| {
        let x = sketch.input(&[4, 3]);
        let table = sketch.op(Op::Unary { unary: UnaryKind::Neg }, &[x], &[4, 3]);
        let ids = sketch.weight_of(&[3], DType::I32, [2i32, 0, 3].iter().flat_map(|id| id.to_le_bytes()).collect());
        sketch.op(Op::Embedding, &[table, ids], &[3, 3])
    });
}
