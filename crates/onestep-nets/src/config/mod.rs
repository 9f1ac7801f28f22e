//! What all configurations share: reading a `config.json` key by key, and refusing what is not implemented.

mod config_error;
mod config_reader;
mod per_block;

pub use config_error::ConfigError;
pub(crate) use config_reader::{ConfigReader, object, written};
pub use per_block::PerBlock;
