//! The error of this crate.

use std::io::{self, ErrorKind};
use std::path::Path;

/// The category of a [`StoreError`], which determines the exit code of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// The destination holds something that onestep must not replace, or cannot hold the result.
    Destination,
    /// Another process is writing to the same destination.
    Busy,
    /// A file to read is missing, or is not a regular file.
    Input,
    /// The disk is full, read-only or failed.
    Storage,
}

/// Why a file or folder was not read or written: one sentence with its category.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct StoreError {
    kind: StoreErrorKind,
    message: String,
}

impl StoreError {
    /// An error with a sentence that states the operation, what was expected and found, and what to try.
    pub fn new(kind: StoreErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// The operating system failed an operation on `path`; `doing` is its verb ("writing").
    pub fn storage(doing: &str, path: &Path, error: &io::Error) -> Self {
        let hint = match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "; free some space and try again",
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => "; choose a destination that you may write to",
            _ => "",
        };
        Self::new(StoreErrorKind::Storage, format!("{doing} {} failed: {error}{hint}", path.display()))
    }

    /// The error for a destination that must not be written; nothing has been changed.
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
