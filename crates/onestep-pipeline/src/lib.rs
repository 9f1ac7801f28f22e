//! Text-to-image models as they lie on disk.
//!
//! - [`config`]: the configuration of each component, read key by key;
//! - [`one_step`]: how one evaluation of a network becomes a latent;
//! - [`prompts`]: files of prompts as text, JSON Lines, CSV or Parquet (feature `prompts`);
//! - [`schedule`]: the noise levels of a scheduler's configuration.
//!
//! The crate depends on no tensor library: networks are in `onestep-nets`.

pub mod config;
pub mod one_step;
#[cfg(feature = "prompts")]
pub mod prompts;
pub mod schedule;
