//! The error of this crate: a kind to branch on and a sentence for users.

use onestep_program::{BundleError, BundleErrorKind};
#[cfg(feature = "webgpu")]
use onestep_runtime::{ErrorKind as RunKind, RunError};

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The category of an [`Error`], to branch on. New categories may be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// This machine, browser or build does not support the call.
    Unsupported,
    /// A file does not have the hash that the manifest lists.
    Integrity,
    /// The bundle is damaged, incomplete or from a newer version.
    InvalidBundle,
    /// A value that the caller provided is out of range or does not fit.
    InvalidOption,
    /// The device has not enough memory.
    OutOfMemory,
    /// The device was lost; open the model again.
    DeviceLost,
    /// A network computed NaN or an infinite value.
    NonFinite,
    /// [`Callbacks::stage`](crate::Callbacks::stage) returned `false`.
    Cancelled,
    /// A bug in onestep.
    Internal,
}

impl ErrorKind {
    /// The name in the npm package and in `--json` output: `invalid-bundle`.
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

/// Why a call failed: one sentence with its category.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: ErrorKind,
    message: String,
    location: Option<String>,
}

impl Error {
    /// An error with this message.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), location: None }
    }
    /// The category of this error.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
    /// The file or tensor of the bundle that is at fault, if there is one.
    pub fn location(&self) -> Option<&str> {
        self.location.as_deref()
    }
    #[cfg(feature = "webgpu")]
    /// The error of a run after its program and inputs were checked: a refusal is then a bug in onestep, not a fault of the bundle.
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
            BundleErrorKind::Integrity => ErrorKind::Integrity,
            _ => ErrorKind::InvalidBundle,
        };
        Self { kind, message: error.to_string(), location: Some(error.location().to_owned()) }
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
    fn a_wrong_hash_and_a_malformed_file_are_different_kinds() {
        let of = |kind| Error::from(BundleError::new(kind, "weights-00001.safetensors", "is not what it should be"));
        assert_eq!(of(BundleErrorKind::Integrity).kind(), ErrorKind::Integrity);
        assert_eq!(of(BundleErrorKind::Missing).kind(), ErrorKind::InvalidBundle);
        assert_eq!(of(BundleErrorKind::Limit).location(), Some("weights-00001.safetensors"));
        assert!(of(BundleErrorKind::Malformed).to_string().contains("weights-00001.safetensors"));
    }
}
