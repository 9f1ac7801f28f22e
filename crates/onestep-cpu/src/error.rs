//! What can go wrong when a program is prepared or run.

use onestep_program::BundleError;

/// Why a program could not be prepared or run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CpuError {
    /// The program contradicts itself.
    #[error(transparent)]
    Program(#[from] BundleError),
    /// A weight is missing or not what the program says.
    #[error("weight {name}: {message}")]
    Weight {
        /// The tensor's name in the weight files.
        name: String,
        /// What is wrong with it.
        message: String,
    },
    /// An input is missing, given twice, unknown or not what the program says.
    #[error("input {name}: {message}")]
    Input {
        /// The port's name.
        name: String,
        /// What is wrong with it.
        message: String,
    },
    /// Something that programs may say but this backend does not compute.
    #[error("{place}: {message}")]
    Unsupported {
        /// The value, operation or port at fault.
        place: String,
        /// What is not computed.
        message: String,
    },
    /// The watcher of a run said to stop.
    #[error("cancelled before operation {operation}")]
    Cancelled {
        /// The operation that was next.
        operation: usize,
    },
}
