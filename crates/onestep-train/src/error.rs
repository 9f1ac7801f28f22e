//! What can stop a training command.

use std::path::Path;

use onestep_store::{StoreError, StoreErrorKind};

use crate::data::DataError;

/// The category, which decides the program's exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrainErrorKind {
    /// An option that makes no sense.
    Usage,
    /// A file or folder that cannot be used.
    Input,
    /// The device is missing or too small.
    Device,
    /// Reading or writing failed.
    Storage,
    /// A loss or weight became NaN or infinite.
    NonFinite,
    /// The user asked to stop; the state was saved.
    Interrupted,
}

/// One sentence for the user, with its category.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct TrainError {
    kind: TrainErrorKind,
    message: String,
}

impl TrainError {
    /// A sentence that says what was being done, what was found and what to try.
    pub fn new(kind: TrainErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
    /// Something the user gave cannot be used.
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

/// An option as it was given, whether it makes sense, and what would.
pub type Rule = (String, bool, &'static str);

/// Refuses the first option that breaks its rule, by name and value.
///
/// # Errors
/// Such an option.
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
