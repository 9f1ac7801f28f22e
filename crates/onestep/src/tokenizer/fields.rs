//! Objects of the file, read so that nothing in them is passed over in silence.

use onestep_program::{BundleError, error::Kind, limits::Limit};
use serde_json::{Map, Value as Json};

/// Each step has tables of its own and goes over the whole prompt; files have five at most.
pub(super) const STEPS: Limit = Limit { what: "steps of a normalizer, pre_tokenizer or post_processor", max: 16 };

/// An object whose keys are all known.
pub(super) struct Fields<'a> {
    object: &'a Map<String, Json>,
    what: &'a str,
    place: &'a str,
}

static NULL: Json = Json::Null;

impl<'a> Fields<'a> {
    /// `what` names the object in sentences, `known` are its keys.
    pub(super) fn new(json: &'a Json, what: &'a str, known: &[&str], place: &'a str) -> Result<Self, BundleError> {
        let object = json.as_object().ok_or_else(|| BundleError::new(Kind::Malformed, place, format!("has no {what}")))?;
        let fields = Self { object, what, place };
        match object.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => Err(fields.unsupported(format!("has {key:?} in its {what}, which this release does not know"))),
            None => Ok(fields),
        }
    }

    /// The value, or null where there is none.
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
    /// A choice that may be left out.
    pub(super) fn flag(&self, key: &str, otherwise: bool) -> Result<bool, BundleError> {
        match self.get(key) {
            Json::Null => Ok(otherwise),
            value => value.as_bool().ok_or_else(|| self.wrong(key, "true or false")),
        }
    }

    fn wrong(&self, key: &str, expected: &str) -> BundleError {
        self.malformed(format!("has a {key:?} in its {} that is not {expected}", self.what))
    }
    pub(super) fn malformed(&self, message: String) -> BundleError {
        BundleError::new(Kind::Malformed, self.place, message)
    }
    pub(super) fn unsupported(&self, message: String) -> BundleError {
        BundleError::new(Kind::Unsupported, self.place, message)
    }
}

/// What a part says it is; nothing where there is no such part.
pub(super) fn kind(part: &Json) -> Option<&str> {
    if part.is_null() { None } else { Some(part["type"].as_str().unwrap_or_default()) }
}

/// The refusal of a part of another kind than those that are read.
pub(super) fn unknown_kind(kind: &str, role: &str, known: &str, place: &str) -> BundleError {
    BundleError::new(Kind::Unsupported, place, format!("uses {kind:?} as {role}; these are read: {known}"))
}
