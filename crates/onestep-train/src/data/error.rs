//! Errors of making and reading data, each one sentence that a user can act on.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The kind of an error: fix the input, or report a fault of this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DataErrorKind {
    /// Unusable input: a missing or damaged file, an image of the wrong size, an invalid option.
    Input,
    /// A step that cannot fail on sound input failed; worth a report.
    Internal,
}

/// An error while making or reading data: the operation, what was expected, what was found, what to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataError(Box<Parts>);

/// Boxed, so that results stay small.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Parts {
    kind: DataErrorKind,
    doing: String,
    expected: String,
    found: String,
    advice: String,
    path: Option<PathBuf>,
}

impl DataError {
    /// Unusable input.
    pub(super) fn input(doing: impl Into<String>, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(DataErrorKind::Input, doing, expected, found)
    }

    /// A fault of this program.
    pub(super) fn internal(doing: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(DataErrorKind::Internal, doing, "no failure here", found).advise("please report it with the command that you ran")
    }

    /// A file or folder that could not be read.
    pub(super) fn reading(path: &Path, error: &io::Error) -> Self {
        let advice = match error.kind() {
            io::ErrorKind::NotFound => "check the path",
            io::ErrorKind::PermissionDenied => "check who may read it",
            _ => "check the disk, then try again",
        };
        Self::input(format!("reading {}", path.display()), "a readable file", plain(error)).advise(advice).at(path)
    }

    fn new(kind: DataErrorKind, doing: impl Into<String>, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self(Box::new(Parts { kind, doing: doing.into(), expected: expected.into(), found: found.into(), advice: String::new(), path: None }))
    }

    /// Adds advice: what to try.
    pub(super) fn advise(mut self, advice: impl Into<String>) -> Self {
        self.0.advice = advice.into();
        self
    }

    /// Adds the file or folder that it is about.
    pub(super) fn at(mut self, path: &Path) -> Self {
        self.0.path = Some(path.to_path_buf());
        self
    }

    /// The kind of the error.
    pub fn kind(&self) -> DataErrorKind {
        self.0.kind
    }

    /// The file or folder that it is about, if there is one.
    pub fn path(&self) -> Option<&Path> {
        self.0.path.as_deref()
    }
}

impl fmt::Display for DataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}, found {}", self.0.doing, self.0.expected, self.0.found)?;
        if !self.0.advice.is_empty() {
            write!(f, "; {}", self.0.advice)?;
        }
        Ok(())
    }
}

impl std::error::Error for DataError {}

/// The operating system's words without its number, and lower-case as they stand inside a sentence.
pub(super) fn plain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "nothing there".to_owned(),
        io::ErrorKind::PermissionDenied => "no permission".to_owned(),
        io::ErrorKind::StorageFull => "no space left".to_owned(),
        io::ErrorKind::ReadOnlyFilesystem => "a read-only file system".to_owned(),
        io::ErrorKind::IsADirectory => "a folder where a file should be".to_owned(),
        io::ErrorKind::NotADirectory => "a file where a folder should be".to_owned(),
        _ => error.to_string(),
    }
}

/// A name from outside, made safe to print in one line: control characters escaped, length cut.
pub(super) fn shown(text: &str) -> String {
    let mut out = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == 80 {
            out.push('…');
            break;
        }
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_has_all_four_parts() {
        let error = DataError::input("reading a.png", "an image of 64x64", "one of 32x32").advise("pass --fit crop-resize");
        assert_eq!(error.to_string(), "reading a.png: expected an image of 64x64, found one of 32x32; pass --fit crop-resize");
        assert_eq!(error.kind(), DataErrorKind::Input);
    }

    #[test]
    fn shown_escapes_and_cuts() {
        assert_eq!(shown("a\u{1b}[31m\nb"), "a\\u{1b}[31m\\nb");
        assert_eq!(shown(&"x".repeat(200)).chars().count(), 81);
    }
}
