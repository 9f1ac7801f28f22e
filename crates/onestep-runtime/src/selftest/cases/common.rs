//! Tolerances, and how a case is added.

use super::super::{
    case::{Case, Tolerance},
    sketch::Sketch,
};
use crate::plan::PlanOptions;

/// Pointwise functions by polynomials and one exponential: a few roundings of the result, or of 1 if the result is small.
pub(super) const POINTWISE: Tolerance = Tolerance::Near { relative: 1e-6, absolute: 4e-7 };
/// WebGPU allows exp an error of 3 + 2|x| units in the last place, here at |x| ≤ 8; as much again for functions that use it.
pub(super) const EXPONENTIAL: Tolerance = Tolerance::Near { relative: 5e-6, absolute: 4e-7 };
/// WebGPU allows log an absolute error of 2⁻²¹ between 0.5 and 2.
pub(super) const LOGARITHM: Tolerance = Tolerance::Near { relative: 4e-7, absolute: 4.8e-7 };
/// exp2(b · log2 a): the error of the logarithm times |b| ≤ 3, in the exponent.
pub(super) const POWER: Tolerance = Tolerance::Near { relative: 1e-5, absolute: 1e-6 };
/// WebGPU allows divisions an error of 2.5 units in the last place.
pub(super) const QUOTIENT: Tolerance = Tolerance::Near { relative: 3e-7, absolute: 0.0 };
/// One rounding of a result near 1.
pub(super) const ONE_ROUNDING: Tolerance = Tolerance::Near { relative: 6e-8, absolute: 6e-8 };
/// Means over up to a few thousand values near 1, then a square root and a division.
pub(super) const NORM: Tolerance = Tolerance::Near { relative: 1e-5, absolute: 1e-5 };
/// Exponentials of differences, divided by their sum.
pub(super) const SOFTMAX: Tolerance = Tolerance::Near { relative: 1e-5, absolute: 1e-7 };
/// Scores near 1 from up to 512 products, a softmax, and a weighted mean of values near 1.
pub(super) const ATTENTION: Tolerance = Tolerance::Near { relative: 2e-5, absolute: 1e-5 };

/// A product and a sum near 3, rounded once or twice.
pub(super) const ONE_ROUNDING_TWICE: Tolerance = Tolerance::Near { relative: 1.2e-7, absolute: 3e-7 };

/// Adds a case; `build` makes its program.
pub(super) fn add(cases: &mut Vec<Case>, name: impl Into<String>, tolerance: Tolerance, build: impl FnOnce(&mut Sketch)) {
    let name = name.into();
    let mut sketch = Sketch::new(&name);
    build(&mut sketch);
    cases.push(Case {
        name,
        sketch,
        tolerance,
        stored_scores: PlanOptions::default().stored_scores,
        max_workgroups: None,
        bands: None,
        f16_activations: true,
    });
}
