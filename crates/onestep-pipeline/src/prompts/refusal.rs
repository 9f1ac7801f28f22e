//! Sentences for files of prompts that are refused.

use std::fmt::Display;
use std::io;
use std::path::Path;

use crate::error::PipelineError;

/// A refusal of the file `path`. `location` is a line or row of it, or empty.
pub(super) fn refusal(path: &Path, location: impl Display, expected: impl Display, found: impl Display, advice: &str) -> PipelineError {
    let location = location.to_string();
    let comma = if location.is_empty() { "" } else { ", " };
    PipelineError::input(format!("reading the prompts in {}{comma}{location}: expected {expected}, found {found}; {advice}", path.display()))
}

/// The operating system could not open or read it.
pub(super) fn unreadable(path: &Path, error: &io::Error) -> PipelineError {
    match error.kind() {
        io::ErrorKind::NotFound => refusal(path, "", "a file", "nothing there", "check the path"),
        io::ErrorKind::PermissionDenied => refusal(path, "", "a file that may be read", "no permission", "check who may read it"),
        _ => refusal(path, "", "a readable file", error, "check the path and the disk"),
    }
}

/// Text from a file in quotes, shortened for a sentence.
pub(super) fn quoted(text: &str) -> String {
    const SHOWN: usize = 60;
    let cut: String = text.chars().take(SHOWN).collect();
    let more = if cut.len() < text.len() { "…" } else { "" };
    format!("\"{cut}{more}\"")
}
