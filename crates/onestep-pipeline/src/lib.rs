//! Text-to-image models as they lie on disk.
//!
//! - [`config`]: the configuration of each component, read key by key.
//!
//! The crate depends on no tensor library: networks are in `onestep-nets`.

pub mod config;
