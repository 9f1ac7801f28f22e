//! Why a configuration was refused.

use thiserror::Error;

/// A configuration that cannot be read, or that asks for mathematics which this crate does not implement.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// The text is not JSON, or not a JSON object.
    #[error("the configuration of {config} is not a JSON object: {reason}")]
    NotAnObject {
        /// The class that was to be configured.
        config: &'static str,
        /// What the JSON reader says.
        reason: String,
    },
    /// A key has a value that is malformed, out of range, or not implemented.
    #[error("the configuration of {config} has {key} = {value}: {reason}")]
    Key {
        /// The class that was to be configured.
        config: &'static str,
        /// The key of `config.json`.
        key: String,
        /// Its value, as JSON text, shortened when long.
        value: String,
        /// What would be acceptable.
        reason: String,
    },
    /// A request to a schedule or a generator that its configuration does not allow.
    #[error("{0}")]
    Request(String),
}
