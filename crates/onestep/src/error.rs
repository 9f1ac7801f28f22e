//! What can go wrong, as a kind to branch on and a sentence for people.

use onestep_program::{BundleError, error::Kind as BundleKind};
#[cfg(feature = "webgpu")]
use onestep_runtime::{ErrorKind as RunKind, RunError};

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The category to branch on. New members may appear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// This machine, browser or build cannot do it.
    Unsupported,
    /// Bytes are not those that the manifest names.
    Integrity,
    /// The bundle is damaged, incomplete or from a newer version.
    InvalidBundle,
    /// An option of the caller's has a value that cannot be used.
    InvalidOption,
    /// The device could not give the memory.
    OutOfMemory,
    /// The device is gone; open the model again.
    DeviceLost,
    /// A network computed what is not a number.
    NonFinite,
    /// The caller's [`Watch`](crate::Watch) said stop.
    Cancelled,
    /// A mistake of ours.
    Internal,
}

impl ErrorKind {
    /// The name that the npm package and `--json` use.
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorKind::Unsupported => "unsupported",
            ErrorKind::Integrity => "integrity",
            ErrorKind::InvalidBundle => "invalid-bundle",
            ErrorKind::InvalidOption => "invalid-option",
            ErrorKind::OutOfMemory => "out-of-memory",
            ErrorKind::DeviceLost => "device-lost",
            ErrorKind::NonFinite => "non-finite",
            ErrorKind::Cancelled => "cancelled",
            ErrorKind::Internal => "internal",
        }
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: ErrorKind,
    message: String,
    place: Option<String>,
}

impl Error {
    /// A sentence of a kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), place: None }
    }
    /// The category of this error.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
    /// The file or tensor of the bundle at fault, where there is one.
    pub fn place(&self) -> Option<&str> {
        self.place.as_deref()
    }
    #[cfg(feature = "webgpu")]
    /// What a run reports once its program and inputs have been checked: a refusal then is our mistake and not the bundle's.
    pub(crate) fn while_running(error: RunError) -> Self {
        match error.kind() {
            RunKind::Invalid => Self::new(ErrorKind::Internal, error.to_string()),
            _ => error.into(),
        }
    }
}

impl From<BundleError> for Error {
    fn from(error: BundleError) -> Self {
        let kind = match error.kind() {
            BundleKind::Integrity => ErrorKind::Integrity,
            _ => ErrorKind::InvalidBundle,
        };
        Self { kind, message: error.to_string(), place: Some(error.place().to_owned()) }
    }
}

#[cfg(feature = "webgpu")]
impl From<RunError> for Error {
    fn from(error: RunError) -> Self {
        let kind = match error.kind() {
            RunKind::Unsupported => ErrorKind::Unsupported,
            RunKind::OutOfMemory => ErrorKind::OutOfMemory,
            RunKind::DeviceLost => ErrorKind::DeviceLost,
            RunKind::Invalid => ErrorKind::InvalidBundle,
            _ => ErrorKind::Internal,
        };
        Self::new(kind, error.to_string())
    }
}

#[cfg(feature = "cpu")]
impl From<onestep_cpu::CpuError> for Error {
    fn from(error: onestep_cpu::CpuError) -> Self {
        let kind = match &error {
            onestep_cpu::CpuError::Cancelled { .. } => ErrorKind::Cancelled,
            onestep_cpu::CpuError::Program(_) | onestep_cpu::CpuError::Weight { .. } => ErrorKind::InvalidBundle,
            _ => ErrorKind::Internal,
        };
        Self::new(kind, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_byte_and_a_broken_file_are_different_kinds() {
        let of = |kind| Error::from(BundleError::new(kind, "weights-00001.safetensors", "is not what it should be"));
        assert_eq!(of(BundleKind::Integrity).kind(), ErrorKind::Integrity);
        assert_eq!(of(BundleKind::Missing).kind(), ErrorKind::InvalidBundle);
        assert_eq!(of(BundleKind::Limit).place(), Some("weights-00001.safetensors"));
        assert!(of(BundleKind::Malformed).to_string().contains("weights-00001.safetensors"));
    }
}
