//! A prompt goes in, an image comes out: the one public interface of onestep.
//!
//! A [`Bundle`](program::Bundle) holds three programs (text encoder, one-step generator, decoder), their weights and a tokenizer.
//! [`Model::open`] checks that they fit together and prepares them for a [`Backend`]; [`Model::generate`] makes a [`Image`] from a
//! prompt and [`Noise`]. Nothing here opens a file, reads a clock, starts a thread or blocks: bytes come in, and a [`Watch`] of the
//! caller's tells the time and may cancel between the stages.

#[cfg(not(any(feature = "webgpu", feature = "cpu")))]
compile_error!("onestep needs one of its features `webgpu` and `cpu`");

pub mod backend;
pub mod component;
pub mod error;
pub mod image;
#[cfg(feature = "webgpu")]
pub mod loading;
pub mod model;
pub mod noise;
pub mod png;
pub mod profile;
pub mod prompt;
pub mod watch;

mod engine;
mod outputs;
mod ports;
mod tokenizer;

pub use onestep_program as program;

pub use backend::{Backend, DeviceInfo};
#[cfg(feature = "webgpu")]
pub use component::plan;
pub use component::run_program;
#[cfg(feature = "webgpu")]
pub use engine::webgpu;
pub use error::{Error, ErrorKind, Result};
pub use image::{Image, StageTimes, Timings};
#[cfg(feature = "webgpu")]
pub use loading::Loading;
pub use model::{GenerateOptions, Model, check};
pub use noise::Noise;
pub use profile::KernelCost;
#[cfg(fuzzing)]
pub use prompt::read_prompt;
pub use prompt::{Prompt, check_tokenizer};
pub use watch::{Stage, Watch};

/// The version of this crate, as images carry it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
