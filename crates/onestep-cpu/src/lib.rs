//! Runs a [`Program`](onestep_program::Program) on the CPU with burn's `flex` backend.
//!
//! This is the reference for every other way of running programs, and the way out where there is no GPU worth using. Each operation
//! does what [`Op`](onestep_program::Op) documents, in f32, whatever the weights are stored in.

mod conv;
mod cpu_program;
mod dense;
mod elementwise;
mod epilogue;
mod error;
mod exp;
mod operation;

pub use cpu_program::CpuProgram;
pub use error::CpuError;
