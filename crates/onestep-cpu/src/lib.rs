//! Runs a [`Program`](onestep_program::Program) on the processor, with vector instructions and on all cores where there are some.
//!
//! This is the reference for every other way of running programs, and the way out where there is no GPU worth using. Each operation
//! does what [`Op`](onestep_program::Op) documents, in f32, whatever the weights are stored in.
//!
//! Nearly all of the time goes into [`product`]: convolutions, linears and attention are cut into panels for the one inner loop there.

mod attention;
mod conv;
mod conv_output;
mod cpu_program;
mod error;
mod linear;
mod memory;
mod movement;
mod norm;
mod operation;
mod pointwise;
mod product;
mod reduce;
mod softmax;
mod tensor;
mod threads;
mod winograd;

pub use cpu_program::CpuProgram;
pub use error::CpuError;
