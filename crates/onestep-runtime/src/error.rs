//! Errors of planning and running.

/// The category of an error, to branch on. New members may be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// There is no adapter, or the program exceeds the adapter's limits.
    Unsupported,
    /// The adapter's memory does not suffice.
    OutOfMemory,
    /// The device is lost: a driver reset, another process, a closed laptop. A new device may work.
    DeviceLost,
    /// The caller's input does not fit the program: names, sizes, weights.
    Invalid,
    /// A mistake of this library or of a driver.
    Internal,
}

/// An error: a kind and a sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RunError {
    kind: ErrorKind,
    message: String,
}

impl RunError {
    /// An error of that kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
    /// The category.
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
