//! The only code that calls wgpu: devices, buffers, pipelines, submissions, readbacks, surfaces.

mod calls;
mod canvas;
#[cfg(not(target_arch = "wasm32"))]
mod cooperative;
mod executor;
mod gpu;
mod kernel;
mod picture;
mod readback;
mod sentinel;
mod wait;

#[cfg(feature = "faults")]
pub use calls::Fault;
pub use canvas::Canvas;
pub use executor::Executor;
pub use gpu::{AdapterReport, Gpu, GpuOptions, Preference};
pub use picture::Picture;
