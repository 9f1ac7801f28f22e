//! The error of this crate.

use onestep_cpu::CpuError;
use onestep_program::BundleError;

/// Why a module could not be compiled, naming the operation or tensor.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// The forward pass could not be captured.
    #[error("the forward pass cannot be captured: {0}")]
    Capture(String),
    /// An operation of the captured graph that has no counterpart in a program.
    #[error("operation {operation}: {message}")]
    Operation {
        /// burn's name of the operation.
        operation: String,
        /// What is not supported.
        message: String,
    },
    /// An input or output of the program.
    #[error("port {name}: {message}")]
    Port {
        /// The port's name.
        name: String,
        /// What is wrong with it.
        message: String,
    },
    /// A parameter of the module or a tensor of the result.
    #[error("tensor {name}: {message}")]
    Tensor {
        /// The parameter's path in the module or the tensor's name in the weight files.
        name: String,
        /// What is wrong with it.
        message: String,
    },
    /// An unknown pass.
    #[error("there is no pass called {0}")]
    UnknownPass(String),
    /// The result is invalid or above a limit.
    #[error(transparent)]
    Program(#[from] BundleError),
    /// A constant could not be computed.
    #[error("a constant cannot be computed: {0}")]
    Constant(#[from] CpuError),
}
