//! Making a plan.

use onestep_program::Program;

use super::{
    capabilities::Capabilities,
    dispatch_plan::{Plan, PlanOptions},
    lower,
};
use crate::error::{ErrorKind, RunError};

impl Plan {
    /// Plans a program for an adapter with default options; see [`fitting`](Self::fitting).
    ///
    /// # Errors
    /// `Invalid` for a program that its own check refuses; `Unsupported`, with the operation, the size and the limit, for a program that the
    /// adapter cannot run.
    pub fn new(program: &Program, capabilities: &Capabilities) -> Result<Self, RunError> {
        Self::fitting(program, capabilities, PlanOptions::default())
    }

    /// Plans a program with activations in f32, or in f16 if a tensor in f32 would exceed the adapter's largest storage binding.
    ///
    /// Such a tensor could be computed in row bands in f32 too. f16 is preferred, because adapters with small bindings have little memory and
    /// most of the time of such a network goes into moving those tensors, and because an 8-bit image does not show more than three digits of an
    /// activation. [`with_options`](Self::with_options) forces f32. Row bands are used if f16 tensors are too large as well.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub fn fitting(program: &Program, capabilities: &Capabilities, options: PlanOptions) -> Result<Self, RunError> {
        if options.f16_activations {
            return Self::with_options(program, capabilities, options);
        }
        match lower::plan(program, capabilities, options, capabilities.max_storage_binding.min(capabilities.max_buffer)) {
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                // If f16 does not help, the error of the first attempt is the one to report.
                Self::with_options(program, capabilities, PlanOptions { f16_activations: true, ..options }).map_err(|_| error)
            }
            result => result,
        }
    }

    /// Plans a program exactly as the options say. Tensors that exceed the adapter's largest storage binding are computed in row bands.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub fn with_options(program: &Program, capabilities: &Capabilities, options: PlanOptions) -> Result<Self, RunError> {
        lower::plan(program, capabilities, options, capabilities.max_buffer)
    }
}
