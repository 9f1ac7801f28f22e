//! The only code that calls wgpu: devices, buffers, pipelines, submissions, readbacks, surfaces.

mod batch;
mod calls;
mod canvas;
#[cfg(not(target_arch = "wasm32"))]
mod cooperative;
mod executor;
mod fastest;
mod gpu;
mod image;
mod kernel;
mod loading;
mod readback;
mod sentinel;
mod wait;

pub use batch::Batch;
#[cfg(feature = "faults")]
pub use calls::Fault;
pub use canvas::Canvas;
pub use executor::Executor;
pub use gpu::{AdapterReport, Gpu, GpuOptions, Preference};
pub use image::Image;
pub use loading::Loading;
