//! Text-to-image models as they lie on disk.
//!
//! - [`config`]: the configuration of each component, read key by key.
//! - [`tokenizer`]: the files of a tokenizer, converted to one form.
//!
//! The crate depends on no tensor library: networks are in `onestep-nets`.

pub mod config;
pub mod tokenizer;
