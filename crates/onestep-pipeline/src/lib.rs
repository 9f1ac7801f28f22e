//! Text-to-image models as they lie on disk.
//!
//! - [`config`]: the configuration of each component, read key by key;
//! - [`schedule`]: the noise levels of a scheduler's configuration;
//! - [`one_step`]: how one evaluation of a network becomes a latent.
//!
//! The crate depends on no tensor library: networks are in `onestep-nets`.

pub mod config;
pub mod one_step;
pub mod schedule;
