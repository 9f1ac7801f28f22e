//! Text-to-image models as they lie on disk.
//!
//! - [`config`]: the configuration of each component, read key by key.
//! - [`prompts`]: files of prompts as text, JSON Lines, CSV or Parquet (feature `prompts`).
//!
//! The crate depends on no tensor library: networks are in `onestep-nets`.

pub mod config;
#[cfg(feature = "prompts")]
pub mod prompts;
