//! Attention.

use onestep_program::Op;

use super::super::case::{Case, Tolerance};
use super::common::{ATTENTION, add};

pub(super) fn attentions(cases: &mut Vec<Case>) {
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
            add(cases, name, ATTENTION, |sketch| {
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
        add(
            cases,
            format!("attention: scores of hundreds, {}", if stored_scores == 0 { "streamed" } else { "stored" }),
            Tolerance::Near { relative: 1e-3, absolute: 1e-3 },
            |sketch| {
                // Rounding a score of 300 to f32 is an error of 2e-5, which its exponential has as a relative error.
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
