//! Reads JSON objects of the file and refuses unknown keys.

use onestep_program::{BundleError, error::BundleErrorKind, limits::Limit};
use serde_json::{Map, Value as Json};

/// Each step has its tables and passes over the whole prompt; real files have at most five.
pub(super) const STEPS: Limit = Limit { what: "steps of a normalizer, pre_tokenizer or post_processor", max: 16 };

/// An object that has known keys only.
pub(super) struct Fields<'a> {
    object: &'a Map<String, Json>,
    what: &'a str,
    location: &'a str,
}

static NULL: Json = Json::Null;

impl<'a> Fields<'a> {
    /// `what` names the object in errors; `known` lists its keys.
    pub(super) fn new(json: &'a Json, what: &'a str, known: &[&str], location: &'a str) -> Result<Self, BundleError> {
        let object = json.as_object().ok_or_else(|| BundleError::new(BundleErrorKind::Malformed, location, format!("has no {what}")))?;
        let fields = Self { object, what, location };
        match object.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => Err(fields.unsupported(format!("has {key:?} in its {what}, which this release does not know"))),
            None => Ok(fields),
        }
    }

    /// The value, or null if there is none.
    pub(super) fn get(&self, key: &str) -> &'a Json {
        self.object.get(key).unwrap_or(&NULL)
    }
    pub(super) fn text(&self, key: &str) -> Result<&'a str, BundleError> {
        self.get(key).as_str().ok_or_else(|| self.wrong(key, "text"))
    }
    pub(super) fn list(&self, key: &str) -> Result<&'a [Json], BundleError> {
        self.get(key).as_array().map(Vec::as_slice).ok_or_else(|| self.wrong(key, "a list"))
    }
    pub(super) fn number(&self, key: &str) -> Result<u32, BundleError> {
        self.get(key).as_u64().and_then(|number| u32::try_from(number).ok()).ok_or_else(|| self.wrong(key, "a whole number below 2^32"))
    }
    /// An optional boolean.
    pub(super) fn flag(&self, key: &str, default: bool) -> Result<bool, BundleError> {
        match self.get(key) {
            Json::Null => Ok(default),
            value => value.as_bool().ok_or_else(|| self.wrong(key, "true or false")),
        }
    }

    fn wrong(&self, key: &str, expected: &str) -> BundleError {
        self.malformed(format!("has a {key:?} in its {} that is not {expected}", self.what))
    }
    pub(super) fn malformed(&self, message: String) -> BundleError {
        BundleError::new(BundleErrorKind::Malformed, self.location, message)
    }
    pub(super) fn unsupported(&self, message: String) -> BundleError {
        BundleError::new(BundleErrorKind::Unsupported, self.location, message)
    }
}

/// The type of a part, or `None` if the part is null.
pub(super) fn kind(part: &Json) -> Option<&str> {
    if part.is_null() { None } else { Some(part["type"].as_str().unwrap_or_default()) }
}

/// The error for a part of an unsupported type.
pub(super) fn unknown_kind(kind: &str, role: &str, known: &str, location: &str) -> BundleError {
    BundleError::new(BundleErrorKind::Unsupported, location, format!("uses {kind:?} as {role}; supported are {known}"))
}
