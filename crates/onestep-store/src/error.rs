//! Why something was not read or written.

use std::io::{self, ErrorKind};
use std::path::Path;

/// The category, which decides a program's exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// The destination holds what onestep must not replace, or cannot hold the result.
    Destination,
    /// Another process is writing to the same destination.
    Busy,
    /// A file that was to be read is missing, or no ordinary file.
    Input,
    /// The disk is full, read-only or failed.
    Storage,
}

/// One sentence for the user, with its category.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct StoreError {
    kind: StoreErrorKind,
    message: String,
}

impl StoreError {
    /// A sentence that says what was being done, what was expected, what was found and what to try.
    pub fn new(kind: StoreErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// An operation on `path` failed; `doing` is its verb ("writing").
    pub fn storage(doing: &str, path: &Path, error: &io::Error) -> Self {
        let hint = match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "; free some space and try again",
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => "; choose a place that you may write to",
            _ => "",
        };
        Self::new(StoreErrorKind::Storage, format!("{doing} {} failed: {error}{hint}", path.display()))
    }

    /// A destination that must not be written; nothing has been changed.
    pub(crate) fn destination(what: &str, path: &Path, expected: &str, found: impl std::fmt::Display) -> Self {
        let message =
            format!("writing {what} {}: expected {expected}, found {found}; nothing was changed: choose another destination", path.display());
        Self::new(StoreErrorKind::Destination, message)
    }

    /// The category.
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }
}
