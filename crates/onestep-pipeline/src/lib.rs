//! Text-to-image models as they lie on disk.
//!
//! - [`Pipeline`]: opens a folder of diffusers, the folder of one component, or a single file, and checks that its parts fit.
//! - [`inspect`]: what a model is and what can be done with it, from configurations and headers alone.
//! - [`weights`]: tensors on disk, read one by one.
//! - [`config`]: the configuration of each component, read key by key.
//! - [`tokenizer`]: the files of a tokenizer, converted to one form.
//! - [`schedule`]: the noise levels of a scheduler's configuration.
//! - [`solver`]: sampling in a fixed number of evaluations of a network.
//! - [`one_step`]: how one evaluation of a network becomes a latent.
//! - [`expected_tensors`]: the names and shapes of the tensors that a configuration implies.
//! - [`single_file`]: whole models in one file, in the original key layout.
//! - [`lora`]: small changes of weights, merged when these are read.
//! - [`prompts`]: files of prompts as text, JSON Lines, CSV or Parquet (feature `prompts`).
//!
//! The crate depends on no tensor library: networks are in `onestep-nets`.

pub mod config;
mod error;
pub mod expected_tensors;
mod family;
pub mod guard;
pub mod inspect;
pub mod lora;
pub mod one_step;
mod part;
mod pipeline;
#[cfg(feature = "prompts")]
pub mod prompts;
pub mod schedule;
pub mod single_file;
pub mod solver;
pub mod tokenizer;
pub mod weights;

pub use error::{PipelineError, PipelineErrorKind};
pub use family::Family;
pub use part::Part;
pub use pipeline::{
    Component, ComponentClass, ComponentConfig, ImageSize, Layout, OpenOptions, Pipeline, Sizes, Source, TokenizerFiles, Use, model_index,
};
