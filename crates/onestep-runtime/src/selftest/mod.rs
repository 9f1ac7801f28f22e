//! Tests every kernel against an f64 reference, on whatever device is given: natively on lavapipe or a GPU, in a page on the browser's device.
//!
//! A case is a small program. It runs with poisoned memory and guard zones after every activation, once with each set of kernel variants that makes
//! another plan, and then with production options, which reuse memory; the results of both runs must be bit-identical.

mod case;
mod cases;
mod convolution_case;
mod packing;
mod present;
mod random_programs;
mod reference;
mod reference_operations;
mod run;
mod sketch;

pub use crate::random::SplitMix64;
pub use case::{BandLimits, Case, CaseResult, Tolerance};
pub use run::{kernels_of_cases, run_all, run_some};
pub use sketch::{InputData, Sketch};
