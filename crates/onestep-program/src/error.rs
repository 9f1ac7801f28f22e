//! What can be wrong with a bundle, in sentences that name the culprit.

use crate::printable::printable;

/// The category to branch on. New members may appear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// A size or count above the [limits](crate::limits).
    Limit,
    /// Not the format it claims to be.
    Malformed,
    /// Made by a newer version, or with something this version does not know.
    Unsupported,
    /// The bytes are not those that the manifest names.
    Integrity,
    /// A file, tensor or program that is named but not there.
    Missing,
}

/// One finding, with the place it was found in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct BundleError {
    kind: Kind,
    place: String,
    message: String,
}

impl BundleError {
    /// `place` is what a user can look up: a file of the bundle, a tensor, an operation. Both texts become [`printable`].
    pub fn new(kind: Kind, place: impl Into<String>, message: impl Into<String>) -> Self {
        Self { kind, place: printable(&place.into()).into_owned(), message: printable(&message.into()).into_owned() }
    }
    /// The category of this error.
    pub fn kind(&self) -> Kind {
        self.kind
    }
    /// What is wrong, without the place.
    pub fn message(&self) -> &str {
        &self.message
    }
    /// The file, tensor or operation at fault.
    pub fn place(&self) -> &str {
        &self.place
    }
}
