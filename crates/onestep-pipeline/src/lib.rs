//! Text-to-image models as they lie on disk.
//!
//! - [`Pipeline`]: opens a folder of diffusers, the folder of one component, or a single file, and checks that its parts fit.
//! - [`inspect`]: what a model is and what can be done with it, from configurations and headers alone.
//! - [`weights`]: tensors on disk, read one by one.
//! - [`config`]: the configuration of each component, read key by key.
//! - [`schedule`]: the noise levels of a scheduler's configuration.
//! - [`one_step`]: how one evaluation of a network becomes a latent.
//!
//! The crate depends on no tensor library: networks are in `onestep-nets`.

pub mod config;
mod error;
pub mod guard;
pub mod inspect;
pub mod one_step;
mod pipeline;
pub mod schedule;
pub mod weights;

pub use error::{PipelineError, PipelineErrorKind};
pub use pipeline::{
    Component, ComponentClass, ComponentConfig, Family, Layout, OpenOptions, Part, Pipeline, Sizes, Source, TOKENIZER_FILES, TokenizerFiles, Use,
    model_index,
};
