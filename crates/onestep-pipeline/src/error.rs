//! The error of opening and reading models.

use onestep_program::{BundleError, printable};
use onestep_store::{StoreError, StoreErrorKind};

/// The category of a [`PipelineError`], which decides the program's exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PipelineErrorKind {
    /// A file or folder that cannot be used.
    Input,
    /// An option that cannot work with this model.
    Usage,
    /// Reading failed.
    Storage,
}

/// Why a model was not opened or read: one sentence with its category.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PipelineError {
    kind: PipelineErrorKind,
    message: String,
}

impl PipelineError {
    /// `message` is one sentence: what was being done, what was expected, what was found, what to try. It is made
    /// [`printable`], because it may quote a hostile file.
    pub fn new(kind: PipelineErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: printable(&message.into()).into_owned() }
    }

    /// A file or folder that cannot be used.
    pub fn input(message: impl Into<String>) -> Self {
        Self::new(PipelineErrorKind::Input, message)
    }

    /// An option that cannot work with this model.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(PipelineErrorKind::Usage, message)
    }

    /// The category.
    pub fn kind(&self) -> PipelineErrorKind {
        self.kind
    }
}

impl From<StoreError> for PipelineError {
    fn from(error: StoreError) -> Self {
        let kind = if error.kind() == StoreErrorKind::Input { PipelineErrorKind::Input } else { PipelineErrorKind::Storage };
        Self::new(kind, error.to_string())
    }
}

impl From<BundleError> for PipelineError {
    fn from(error: BundleError) -> Self {
        Self::input(error.to_string())
    }
}
