//! The error of this crate.

use onestep_program::BundleError;

/// Why a program could not be prepared or run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CpuError {
    /// The program is invalid.
    #[error(transparent)]
    Program(#[from] BundleError),
    /// A weight is missing, or has another shape or type than the program states.
    #[error("weight {name}: {message}")]
    Weight {
        /// The tensor's name in the weight files.
        name: String,
        /// What is wrong with it.
        message: String,
    },
    /// An input is missing, duplicate, unknown, or has another type or size than the program states.
    #[error("input {name}: {message}")]
    Input {
        /// The port's name.
        name: String,
        /// What is wrong with it.
        message: String,
    },
    /// The program is valid, but this backend does not support it.
    #[error("{location}: {message}")]
    Unsupported {
        /// The value, operation or port at fault.
        location: String,
        /// What is not supported.
        message: String,
    },
    /// The callback of [`run_with_callback`](crate::CpuProgram::run_with_callback) returned `false`.
    #[error("cancelled before operation {operation}")]
    Cancelled {
        /// The index of the operation that was next.
        operation: usize,
    },
}
