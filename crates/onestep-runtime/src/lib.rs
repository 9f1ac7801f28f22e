//! Runs a [`Program`](onestep_program::Program) on a GPU, natively and in a browser.
//!
//! The crate has two halves. [`plan`] turns a program and an adapter's capabilities into a list of dispatches with a buffer for every tensor. It
//! calls no GPU, its result can be printed, and it refuses everything that is unsupported. [`exec`] is the only code that calls wgpu: it opens a
//! device, uploads weights, runs plans, reads results back and shows images.
//!
//! The crate opens no files, reads no clock, starts no threads and never blocks; waiting is a future. No program and no device makes it panic: every
//! failure is a [`RunError`] with a kind and a sentence.

pub mod error;
pub mod exec;
pub mod plan;
mod random;
#[cfg(feature = "selftest")]
pub mod selftest;

pub use error::{ErrorKind, RunError};
pub use exec::{AdapterReport, Batch, Canvas, Executor, Gpu, GpuOptions, Image, Loading, Preference};
pub use onestep_program::{TensorRef, WeightView};
pub use onestep_shaders as shaders;
pub use plan::{Capabilities, Plan};
/// For the types of canvases and devices that callers pass in.
pub use wgpu;
