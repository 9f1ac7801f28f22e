//! Reads the keys of a `config.json` one by one, so that every refusal names its key.

use onestep_program::limits;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::{ConfigError, python_json::quoted_words};

/// Longest JSON text that is quoted in an error message, in characters.
const QUOTED: usize = 120;

/// The keys of one `config.json`.
pub struct ConfigReader<'a> {
    config: &'static str,
    keys: &'a Map<String, Value>,
}

impl<'a> ConfigReader<'a> {
    /// Reads `keys` on behalf of the class named `config`.
    pub fn new(config: &'static str, keys: &'a Map<String, Value>) -> Self {
        Self { config, keys }
    }

    /// The value of `key`, or `default` when the key is absent.
    pub fn read<T: DeserializeOwned>(&self, key: &str, default: T) -> Result<T, ConfigError> {
        match self.keys.get(key) {
            None => Ok(default),
            Some(value) => T::deserialize(value.clone()).map_err(|error| self.refuse(key, error.to_string())),
        }
    }

    /// Refuses `key` unless it is absent or (each element of) its value equals one of `allowed`, given as JSON texts.
    pub fn only(&self, key: &str, allowed: &[&str]) -> Result<(), ConfigError> {
        let Some(value) = self.keys.get(key) else {
            return Ok(());
        };
        let is_allowed = |value: &Value| allowed.iter().any(|text| serde_json::from_str::<Value>(text).is_ok_and(|one| equal(&one, value)));
        let fine = is_allowed(value) || matches!(value, Value::Array(items) if !items.is_empty() && items.iter().all(is_allowed));
        if fine { Ok(()) } else { Err(self.refuse(key, format!("only {} is implemented", allowed.join(" or ")))) }
    }

    /// Whether the file has `key`.
    pub fn has(&self, key: &str) -> bool {
        self.keys.contains_key(key)
    }

    /// An error about `key` with the value that the file gives it.
    pub fn refuse(&self, key: &str, reason: impl Into<String>) -> ConfigError {
        let value = self.keys.get(key).map_or_else(|| "(absent)".to_owned(), Value::to_string);
        ConfigError::Key { config: self.config, key: key.to_owned(), value: shortened(&value), reason: reason.into() }
    }
}

/// Parses `text` as the JSON object that configures the class named `config`: JSON as Python writes it, within the
/// limits of size and depth, a byte order mark before it or not.
///
/// # Errors
/// Text that is no such object, with what it is where that can be told.
pub fn object(config: &'static str, text: &str) -> Result<Map<String, Value>, ConfigError> {
    parse(config, text)
}

/// [`object`], into a type of the caller's.
pub fn parse<T: DeserializeOwned>(config: &'static str, text: &str) -> Result<T, ConfigError> {
    let text = quoted_words(text.strip_prefix('\u{feff}').unwrap_or(text));
    limits::parse_json(text.as_bytes(), limits::CONFIG_BYTES, config)
        .map_err(|error| ConfigError::NotAnObject { config, reason: error.message().to_owned() })
}

/// Writes a configuration as indented JSON, with `extra` keys added to those of the structure.
///
/// Our configurations have text keys and finite numbers only, which JSON always holds.
pub fn written(config: &impl Serialize, extra: &[(&str, Value)]) -> String {
    let mut value = serde_json::to_value(config).unwrap_or(Value::Null);
    if let Value::Object(map) = &mut value {
        for (key, value) in extra {
            map.insert((*key).to_owned(), value.clone());
        }
    }
    format!("{value:#}\n")
}

/// `text`, cut after [`QUOTED`] characters.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Equality of JSON values that does not tell `1` from `1.0`.
fn equal(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}
