//! Errors of training commands.

use std::path::Path;

use onestep_pipeline::{PipelineError, PipelineErrorKind};
use onestep_store::{StoreError, StoreErrorKind};

use crate::data::DataError;

/// The category, which decides the program's exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrainErrorKind {
    /// An option that cannot work.
    Usage,
    /// A file or folder that cannot be used.
    Input,
    /// The device is missing or too small.
    Device,
    /// Reading or writing failed.
    Storage,
    /// A loss or weight became NaN or infinite.
    NonFinite,
    /// The user interrupted the command; the state was saved.
    Interrupted,
}

/// A message for the user, with its category.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct TrainError {
    kind: TrainErrorKind,
    message: String,
}

impl TrainError {
    /// `message` is one sentence: what was being done, what was expected, what was found, what to try.
    pub fn new(kind: TrainErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
    /// A file or folder of the user that cannot be used.
    pub fn input(message: impl Into<String>) -> Self {
        Self::new(TrainErrorKind::Input, message)
    }
    /// Reading or writing `path` failed.
    pub fn storage(doing: &str, path: &Path, error: &std::io::Error) -> Self {
        let hint = match error.kind() {
            std::io::ErrorKind::StorageFull => "; free some space and try again",
            std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => "; choose a folder you may write to",
            _ => "",
        };
        let kind = if error.kind() == std::io::ErrorKind::NotFound { TrainErrorKind::Input } else { TrainErrorKind::Storage };
        Self::new(kind, format!("{doing} {} failed: {error}{hint}", path.display()))
    }
    /// The category.
    pub fn kind(&self) -> TrainErrorKind {
        self.kind
    }
}

/// An option with its value as given, whether it is valid, and what was expected.
pub type Rule = (String, bool, &'static str);

/// Checks options.
///
/// # Errors
/// The first option that breaks its rule, with its name, value and what was expected.
pub fn check_options(rules: impl IntoIterator<Item = Rule>) -> Result<(), TrainError> {
    match rules.into_iter().find(|(_, holds, _)| !holds) {
        Some((given, _, expected)) => Err(TrainError::new(TrainErrorKind::Usage, format!("{given}: expected {expected}"))),
        None => Ok(()),
    }
}

impl From<DataError> for TrainError {
    fn from(error: DataError) -> Self {
        Self::input(error.to_string())
    }
}

impl From<PipelineError> for TrainError {
    fn from(error: PipelineError) -> Self {
        let kind = match error.kind() {
            PipelineErrorKind::Input => TrainErrorKind::Input,
            PipelineErrorKind::Usage => TrainErrorKind::Usage,
            _ => TrainErrorKind::Storage,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<StoreError> for TrainError {
    fn from(error: StoreError) -> Self {
        let kind = match error.kind() {
            StoreErrorKind::Busy => TrainErrorKind::Usage,
            StoreErrorKind::Destination | StoreErrorKind::Input => TrainErrorKind::Input,
            _ => TrainErrorKind::Storage,
        };
        Self::new(kind, error.to_string())
    }
}
