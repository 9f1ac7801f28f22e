//! From captioned images to a one-step student.
//!
//! The steps in the order in which they are run, each a module that reads top to bottom:
//! [`data`] → [`autoencoder`] → [`teacher`] → [`pairs`] → [`distil`] → [`evaluate`], which takes its [`features`] from a [`image_classifier`]
//! where there is one.
//! What they share: the [`run_folder`] with its [`checkpoint`]s, the [`optimizer`], the [`pipeline_folder`] in which
//! models are kept, and the [`sampler`] (the teacher's ODE).
//!
//! Every random number of a step is drawn from its own counter-based stream, numbered by the step: a resumed run draws what the
//! unbroken one would have drawn.

pub mod autoencoder;
pub mod chart;
pub mod checkpoint;
pub mod data;
pub mod device;
pub mod distil;
pub mod error;
pub mod evaluate;
pub mod features;
pub mod guard;
pub mod html_page;
pub mod image_augmentation;
pub mod image_classifier;
pub mod image_grid;
pub mod latent_metric;
pub mod measures;
pub mod observer;
pub mod optimizer;
pub mod pairs;
pub mod parameters;
mod pickle_check;
pub mod pipeline_folder;
pub mod presets;
pub mod report_page;
pub mod run_folder;
pub mod sampler;
pub mod store;
pub mod teacher;
pub mod training_loop;
pub mod weight_file;

pub use error::{TrainError, TrainErrorKind};
pub use observer::Observer;
