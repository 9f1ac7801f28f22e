//! Runs a [`Program`](onestep_program::Program) on a GPU, natively and in a browser.
//!
//! Two halves. [`plan`] turns a program and what an adapter can do into a list of dispatches with every buffer placed; it calls no GPU,
//! can be printed, and is where everything unsupported is refused. [`exec`] is the only code that calls wgpu: it takes a device, uploads
//! weights, runs plans, reads back, presents.
//!
//! Nothing here opens a file, reads a clock, starts a thread or blocks; what waits is a future. Nothing panics on any program or device:
//! what goes wrong is a [`RunError`] with a kind and a sentence.

pub mod error;
pub mod exec;
pub mod plan;
#[cfg(feature = "selftest")]
pub mod selftest;

pub use error::{ErrorKind, RunError};
pub use exec::{AdapterReport, Batch, Canvas, Executor, Gpu, GpuOptions, Image, Loading, Preference};
pub use onestep_program::{TensorRef, WeightView};
pub use onestep_shaders as shaders;
pub use plan::{Capabilities, Plan};
/// For the types of canvases and of devices that callers bring along.
pub use wgpu;
