//! What can go wrong between a program and its result.

/// The category to branch on. New members may appear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// There is no adapter, or the program needs more than the adapter allows.
    Unsupported,
    /// The adapter's memory does not suffice.
    OutOfMemory,
    /// The device is gone: driver reset, another process, a closed laptop. A new device may work.
    DeviceLost,
    /// What the caller gave does not fit the program: names, lengths, weights.
    Invalid,
    /// A mistake in this library or in a driver.
    Internal,
}

/// One finding, in a sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RunError {
    kind: ErrorKind,
    message: String,
}

impl RunError {
    /// A finding of that kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
    /// The category of this error.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
    pub(crate) fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }
}
