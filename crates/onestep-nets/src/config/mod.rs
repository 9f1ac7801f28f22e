//! What all configurations share: reading a `config.json` key by key, and refusing what is not implemented.

mod config_error;
mod config_reader;
mod per_block;
mod python_json;

pub use config_error::ConfigError;
pub use config_reader::object;
pub(crate) use config_reader::parse;
pub(crate) use config_reader::{ConfigReader, written};
pub use per_block::PerBlock;
