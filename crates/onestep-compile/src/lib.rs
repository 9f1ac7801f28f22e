//! From a burn module to a [`Program`](onestep_program::Program).
//!
//! [`compile`] captures one forward pass of a module as burn's operation graph, evaluates what depends on no input, lowers the rest to
//! the program's operations and runs the [passes](Passes) that put fused operations back together. It knows burn's operations and the
//! program's, and no network: the parameters' names come from the module or from the caller.

mod bundle;
mod capture;
mod compile;
mod constants;
mod error;
mod graph;
mod lower;
mod names;
mod operation_name;
mod passes;
mod program;
mod uses;

pub use bundle::bundle_weights;
pub use capture::Ports;
pub use compile::{Options, compile};
pub use error::CompileError;
pub use graph::{Constant, Graph, GraphValue};
pub use names::Names;
pub use passes::Passes;
pub use program::{Compiled, Storage, Weight};
