//! Tokens that are one token wherever they occur in a text.

use serde_json::{Map, Value, json};

use super::refused;
use crate::PipelineError;

/// An added token without its id. The flags are those of `tokenizer.json`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AddedToken {
    pub content: String,
    flags: [bool; 4],
    pub special: bool,
}

/// In the order of [`AddedToken::flags`].
const FLAGS: [&str; 4] = ["single_word", "lstrip", "rstrip", "normalized"];

impl AddedToken {
    /// A token of this text. Special tokens are found in the text as it was typed, others in the normalised text.
    pub fn new(content: &str, special: bool) -> Self {
        Self { content: content.to_owned(), flags: [false, false, false, !special], special }
    }

    /// Reads a token as a text or as an object with its flags; `what` names it in errors.
    pub fn read(value: &Value, special: Option<bool>, what: &str, location: &str) -> Result<Self, PipelineError> {
        let refuse =
            |found: &dyn std::fmt::Display| refused(location, format!("{what} is {found}, expected a text or an object with its \"content\""));
        let object = match value {
            Value::String(content) => return Ok(Self::new(content, special.unwrap_or(true))),
            Value::Object(object) => object,
            other => return Err(refuse(other)),
        };
        let content = object.get("content").and_then(Value::as_str).ok_or_else(|| refuse(&"an object without one"))?;
        let flag = |key: &str, default: bool| match object.get(key) {
            None | Some(Value::Null) => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => Err(refused(location, format!("{what} has {key} = {other}, expected true or false"))),
        };
        let mut token = Self::new(content, special.map_or_else(|| flag("special", false), Ok)?);
        for (key, value) in FLAGS.into_iter().zip(&mut token.flags) {
            *value = flag(key, *value)?;
        }
        Ok(token)
    }

    /// The entry of `tokenizer.json`.
    pub fn entry(&self, id: u32) -> Value {
        let mut entry: Map<String, Value> = FLAGS.into_iter().map(str::to_owned).zip(self.flags.map(Value::Bool)).collect();
        entry.extend([("id".to_owned(), json!(id)), ("content".to_owned(), json!(self.content)), ("special".to_owned(), json!(self.special))]);
        Value::Object(entry)
    }
}
