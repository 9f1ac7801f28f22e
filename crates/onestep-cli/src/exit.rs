//! How the program ends: the exit codes that scripts may rely on, and the sentence that goes with each failure.

use std::fmt;
use std::process::ExitCode;

use onestep_pipeline::{PipelineError, PipelineErrorKind};
use onestep_store::{StoreError, StoreErrorKind};

/// An exit code. The numbers are a promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// What was asked for is done.
    Done = 0,
    /// Failed for a reason without a code; trying again may help.
    Failed = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// A bundle, checkpoint, image folder or other input was refused.
    Input = 3,
    /// No device of the kind asked for, or not enough memory on it.
    Device = 4,
    /// The disk is full, read-only or failed.
    Storage = 5,
    /// A value became NaN or infinite, in training or while generating.
    NonFinite = 6,
    /// Interrupted from the keyboard; what had to be saved is saved.
    Interrupted = 130,
    /// Asked to end by another program; what had to be saved is saved.
    Terminated = 143,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// Why a command did not do what was asked: a code and a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    exit: Exit,
    message: String,
}

impl Failure {
    /// A failure with a sentence: what was being done, what was expected, what was found, what to try.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }

    /// Nothing to say: the reader of our output has closed it.
    pub fn silent(exit: Exit) -> Self {
        Self { exit, message: String::new() }
    }

    /// The code.
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// The sentence; empty if there is nothing to say.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<PipelineError> for Failure {
    fn from(error: PipelineError) -> Self {
        let exit = match error.kind() {
            PipelineErrorKind::Input => Exit::Input,
            PipelineErrorKind::Usage => Exit::Usage,
            _ => Exit::Storage,
        };
        Self::new(exit, error.to_string())
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let exit = match error.kind() {
            StoreErrorKind::Busy => Exit::Usage,
            StoreErrorKind::Destination | StoreErrorKind::Input => Exit::Input,
            _ => Exit::Storage,
        };
        Self::new(exit, error.to_string())
    }
}

impl From<onestep::Error> for Failure {
    fn from(error: onestep::Error) -> Self {
        use onestep::ErrorKind as Kind;
        let exit = match error.kind() {
            Kind::Integrity | Kind::InvalidBundle => Exit::Input,
            Kind::InvalidOption => Exit::Usage,
            Kind::NonFinite => Exit::NonFinite,
            Kind::Unsupported | Kind::OutOfMemory | Kind::DeviceLost => Exit::Device,
            Kind::Cancelled => Exit::Interrupted,
            _ => Exit::Failed,
        };
        Self::new(exit, error.to_string())
    }
}
