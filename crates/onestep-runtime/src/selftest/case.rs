//! What a case is, and the result of running it.

use super::sketch::Sketch;
use crate::error::RunError;

/// The largest accepted error of a result against the f64 reference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tolerance {
    /// None, because elements are moved, not computed.
    Exact,
    /// For sums of so many products in f32: each rounding is at most 2⁻²⁴ of the sum of magnitudes so far, which the reference computes. Eight
    /// more roundings are allowed for what follows the sum, such as an activation.
    Sum(usize),
    /// Relative to the reference plus absolute, for functions that each adapter computes with a different accuracy.
    Near {
        /// The factor of |reference|.
        relative: f64,
        /// The addend.
        absolute: f64,
    },
    /// A fraction of the largest magnitude of the output, for chains in which one operation amplifies the rounding of another.
    OfLargest(f64),
}

/// A program with its inputs, and the tolerance of its outputs.
#[derive(Clone, Debug)]
pub struct Case {
    /// The name.
    pub name: String,
    /// The program, its weights and inputs.
    pub sketch: Sketch,
    /// The tolerance.
    pub tolerance: Tolerance,
    /// See `PlanOptions::stored_scores`.
    pub stored_scores: u64,
    /// A lower limit of workgroups per dimension than the device's.
    pub max_workgroups: Option<u32>,
    /// Limits that force row bands, for another run.
    pub bands: Option<BandLimits>,
    /// True if the case also holds with f16 activations; false if rounding an input changes the result too much.
    pub f16_activations: bool,
}

/// Limits below the device's. They must split dispatches into bands without changing the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BandLimits {
    /// The largest storage binding, in bytes.
    pub binding: Option<u64>,
    /// The most floating-point operations of a dispatch.
    pub flops: Option<u64>,
    /// True if there must be more dispatches; false for random programs, of which that is unknown.
    pub certain: bool,
}

/// The result of a case.
#[derive(Clone, Debug)]
pub struct CaseResult {
    /// The case's name.
    pub name: String,
    /// True if it passed.
    pub passed: bool,
    /// What went wrong, or how large the error was.
    pub detail: String,
    /// The largest error as a fraction of the tolerance.
    pub worst: f64,
}

/// The words with which memory is filled before a run: no result contains them, and as f32 they spoil every sum.
pub(super) const POISONS: [u32; 2] = [0x7fc0_1234, 0x7149_f2ca];

/// Why a case failed.
pub(super) struct Failure {
    pub(super) what: String,
    pub(super) worst: f64,
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        Self { what: format!("{:?}: {error}", error.kind()), worst: f64::INFINITY }
    }
}

impl Failure {
    /// A failure without an error size.
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), worst: f64::INFINITY }
    }
}
