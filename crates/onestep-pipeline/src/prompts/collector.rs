//! Collects the prompts of a file within the limits.

use std::fmt::Display;
use std::path::Path;

use onestep_program::limits::PROMPT_BYTES;

use super::refusal::refusal;
use crate::error::PipelineError;

/// Most prompts of one file.
pub const MAX_PROMPTS: usize = 10_000_000;
/// Most bytes of all prompts of one file together.
pub const MAX_TEXT_BYTES: usize = 1 << 30;

/// The prompts read so far.
pub(super) struct Collector<'a> {
    path: &'a Path,
    prompts: Vec<String>,
    blank: u64,
    bytes: usize,
}

impl<'a> Collector<'a> {
    pub fn new(path: &'a Path) -> Self {
        Self { path, prompts: Vec::new(), blank: 0, bytes: 0 }
    }

    /// The file, for errors.
    pub fn path(&self) -> &'a Path {
        self.path
    }

    /// An error at a line or row.
    pub fn refuse(&self, location: impl Display, expected: impl Display, found: impl Display, advice: &str) -> PipelineError {
        refusal(self.path, location, expected, found, advice)
    }

    /// Counts a line or row without a prompt.
    pub fn skip(&mut self) {
        self.blank += 1;
    }

    /// Adds the prompt of a line or row.
    pub fn add(&mut self, prompt: &str, location: impl Display) -> Result<(), PipelineError> {
        let prompt = prompt.trim();
        if prompt.is_empty() {
            self.skip();
            return Ok(());
        }
        if let Some(at) = prompt.find('\0') {
            return Err(self.refuse(location, "text", format_args!("a zero byte after {at} bytes"), "give a file of text"));
        }
        self.check(prompt.len() as u64 <= PROMPT_BYTES.max, &location, format_args!("a prompt of at most {} bytes", PROMPT_BYTES.max), prompt.len())?;
        self.check(self.prompts.len() < MAX_PROMPTS, &location, format_args!("at most {MAX_PROMPTS} prompts"), "more")?;
        self.bytes += prompt.len();
        self.check(self.bytes <= MAX_TEXT_BYTES, &location, format_args!("at most {} MiB of prompts", MAX_TEXT_BYTES >> 20), "more")?;
        self.prompts.push(prompt.to_owned());
        Ok(())
    }

    fn check(&self, holds: bool, location: &dyn Display, expected: impl Display, found: impl Display) -> Result<(), PipelineError> {
        if holds { Ok(()) } else { Err(self.refuse(location, expected, found, "split the file or shorten the prompt")) }
    }

    /// The prompts; none is an error.
    pub fn finish(self) -> Result<(Vec<String>, u64), PipelineError> {
        if self.prompts.is_empty() {
            let found = if self.blank == 0 { "none".to_owned() } else { format!("{} blank lines or rows", self.blank) };
            return Err(refusal(self.path, "", "prompts", found, "write one prompt per line"));
        }
        Ok((self.prompts, self.blank))
    }
}
