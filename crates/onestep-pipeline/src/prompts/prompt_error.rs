//! Why a file of prompts was refused.

use std::fmt::Display;
use std::io;
use std::path::Path;

use onestep_program::printable;

/// One sentence: the file and the line or row, what was expected, what was found, what to try.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PromptError(String);

impl PromptError {
    /// `place` is a line or row of the file, or empty.
    pub(super) fn new(path: &Path, place: impl Display, expected: impl Display, found: impl Display, advice: &str) -> Self {
        let place = place.to_string();
        let comma = if place.is_empty() { "" } else { ", " };
        Self(
            printable(&format!("reading the prompts in {}{comma}{place}: expected {expected}, found {found}; {advice}", path.display())).into_owned(),
        )
    }

    /// The operating system could not open or read it.
    pub(super) fn unreadable(path: &Path, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::new(path, "", "a file", "nothing there", "check the path"),
            io::ErrorKind::PermissionDenied => Self::new(path, "", "a file that may be read", "no permission", "check who may read it"),
            _ => Self::new(path, "", "a readable file", error, "check the path and the disk"),
        }
    }
}

/// Text from a file in quotes, shortened for a sentence.
pub(super) fn quoted(text: &str) -> String {
    const SHOWN: usize = 60;
    let cut: String = text.chars().take(SHOWN).collect();
    let more = if cut.len() < text.len() { "…" } else { "" };
    format!("\"{cut}{more}\"")
}
