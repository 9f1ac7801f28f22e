//! The only code that calls wgpu: devices, buffers, pipelines, submissions, readbacks, surfaces.

mod batch;
mod canvas;
mod completion_marker;
#[cfg(not(target_arch = "wasm32"))]
mod cooperative;
mod device_status;
mod executor;
mod faults;
mod gpu;
mod image;
mod kernel;
mod loading;
mod readback;
mod variant_timing;
mod wait;

pub use batch::Batch;
pub use canvas::Canvas;
pub use executor::Executor;
#[cfg(feature = "faults")]
pub use faults::Fault;
pub use gpu::{AdapterReport, Gpu, GpuOptions, Preference};
pub use image::Image;
pub use loading::Loading;
