//! Text-to-image models as they lie on disk.
//!
//! - [`config`]: the configuration of each component, read key by key.
//! - [`expected_tensors`]: the names and shapes of the tensors that a configuration implies.
//! - [`single_file`]: whole models in one file, in the original key layout.
//! - [`lora`]: small changes of weights, merged when these are read.
//!
//! The crate depends on no tensor library: networks are in `onestep-nets`.

mod component;
pub mod config;
pub mod expected_tensors;
pub mod lora;
pub mod single_file;

pub use component::Component;
