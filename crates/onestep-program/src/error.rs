//! The error of every reader in this crate.

use crate::printable::printable;

/// The category of a [`BundleError`], to branch on. New categories may be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BundleErrorKind {
    /// A size or count above the [limits](crate::limits).
    Limit,
    /// The bytes are not in the expected format, or contradict themselves.
    Malformed,
    /// Valid, but of a version or with a feature that this release does not support.
    Unsupported,
    /// The bytes do not have the hash that the manifest lists.
    Integrity,
    /// A file, tensor or program is named but does not exist.
    Missing,
}

/// Why a file was refused, and where: shown as `location: message`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{location}: {message}")]
pub struct BundleError {
    kind: BundleErrorKind,
    location: String,
    message: String,
}

impl BundleError {
    /// An error at `location`, something that a user can look up: a file of the bundle, a tensor, an operation.
    ///
    /// Both texts are made [`printable`], because they may quote a hostile file.
    pub fn new(kind: BundleErrorKind, location: impl Into<String>, message: impl Into<String>) -> Self {
        Self { kind, location: printable(&location.into()).into_owned(), message: printable(&message.into()).into_owned() }
    }
    /// The category of this error.
    pub fn kind(&self) -> BundleErrorKind {
        self.kind
    }
    /// What is wrong, without the location.
    pub fn message(&self) -> &str {
        &self.message
    }
    /// The file, tensor or operation at fault.
    pub fn location(&self) -> &str {
        &self.location
    }
}
