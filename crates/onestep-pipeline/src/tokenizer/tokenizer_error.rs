//! Why a tokenizer was refused.

use onestep_program::{BundleError, error::BundleErrorKind};
use onestep_store::StoreError;
use thiserror::Error;

/// A tokenizer that cannot be read. The message names the file and the key.
#[derive(Debug, Clone, Error)]
pub enum TokenizerError {
    /// A file's content is refused.
    #[error(transparent)]
    Content(#[from] BundleError),
    /// A file cannot be read from the disk.
    #[error(transparent)]
    File(#[from] StoreError),
}

impl TokenizerError {
    /// Content that contradicts itself or is not what the file should hold.
    pub(super) fn malformed(location: &str, message: impl Into<String>) -> Self {
        Self::Content(BundleError::new(BundleErrorKind::Malformed, location, message))
    }

    /// Sound content that asks for something that is not implemented.
    pub(super) fn unsupported(location: &str, message: impl Into<String>) -> Self {
        Self::Content(BundleError::new(BundleErrorKind::Unsupported, location, message))
    }
}
