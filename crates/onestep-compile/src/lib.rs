//! Compiles a burn module to a [`Program`](onestep_program::Program).
//!
//! [`compile`] captures a forward pass of the module as burn's operation graph, evaluates the tensors that depend on no input, lowers the other
//! operations to those of programs, and runs the [passes](Passes) that fuse them. It knows burn's operations and those of programs, but no
//! network: the names of parameters come from the module or from the caller.

mod bundle;
mod capture;
mod compile;
mod constants;
mod elements;
mod error;
mod graph;
mod lower;
mod names;
mod operation_name;
mod passes;
mod program;
mod uses;

pub use bundle::{BundleWeights, bundle_weights};
pub use capture::Ports;
pub use compile::{Options, compile};
pub use elements::{Elements, ReadErrors};
pub use error::CompileError;
pub use graph::{Constant, Graph, GraphValue};
pub use names::{Names, ReadElements};
pub use passes::Passes;
pub use program::{Compiled, Storage, Weight};
