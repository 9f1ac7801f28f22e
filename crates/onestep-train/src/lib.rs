//! From captioned images to a one-step student.
//!
//! The steps in the order in which they run, one module each:
//! [`data`] → [`autoencoder`] → [`teacher`] → [`pairs`] → [`distil`] → [`evaluate`], with [`latent_metric`] for the loss of the distillation and
//! [`features`], which an [`image_classifier`] may give, for the evaluation.
//! They share the [`training_loop`], the [`run_folder`] with its [`checkpoint`]s, the [`optimizer`], the [`pipeline_folder`] in which models are
//! stored, and the [`sampler`] (the teacher's ODE solver).
//!
//! The random numbers of a step come from counter-based streams that are indexed by the step. So a resumed run samples the same numbers as an
//! uninterrupted one, and its result is bit-identical.

pub mod autoencoder;
pub mod chart;
pub mod checkpoint;
pub mod data;
pub mod device;
pub mod distil;
pub mod error;
pub mod evaluate;
pub mod features;
pub mod html_page;
pub mod image_augmentation;
pub mod image_classifier;
pub mod image_grid;
pub mod latent_metric;
pub mod measures;
pub mod observer;
pub mod optimizer;
mod pair_prompts;
pub mod pairs;
pub mod parameters;
pub mod pipeline_folder;
pub mod presets;
pub mod prompt_encoder;
pub mod report_page;
#[cfg(test)]
mod resume_tests;
pub mod run_folder;
pub mod sample;
pub mod sampler;
pub mod store;
pub mod teacher;
pub mod training_loop;
pub mod weight_file;

pub use error::{TrainError, TrainErrorKind};
pub use observer::Observer;
