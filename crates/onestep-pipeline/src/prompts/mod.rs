//! Files of prompts: plain text, JSON Lines, CSV, and a column of a Parquet file.
//!
//! The ending of the file's name says which: `.jsonl` and `.ndjson`, `.csv` and `.tsv`, `.parquet`; every other name is text, one prompt per line.
//! Prompts are kept in the order of the file, duplicates included, without white space around them. Empty ones are skipped and counted.

mod collector;
mod column;
mod csv_rows;
mod json_lines;
mod lines;
mod parquet_column;
mod refusal;
#[cfg(test)]
mod tests;
mod text;

use std::fs::{self, File};
use std::path::Path;

use onestep_program::file_signature::wrong_format;

use collector::Collector;
pub use collector::{MAX_PROMPTS, MAX_TEXT_BYTES};
pub use column::COLUMNS;
use lines::Lines;
use refusal::{refusal, unreadable};

use crate::error::PipelineError;
use crate::guard::guarded;

/// The prompts of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromptFile {
    prompts: Vec<String>,
    blank: u64,
}

impl PromptFile {
    /// Reads a file of prompts. `column` is the key of the objects or the name of the column; without it, the first of [`COLUMNS`] that is there.
    ///
    /// # Errors
    /// A file that cannot be read, is of another format or holds no prompt; a row without the column; text that is not UTF-8; more than a limit.
    /// The error names file and line or row.
    pub fn read(path: &Path, column: Option<&str>) -> Result<Self, PipelineError> {
        let mut collector = Collector::new(path);
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_ascii_lowercase();
        let file = open(path)?;
        if ending == "parquet" {
            guarded(path.display(), "the reader of Parquet files", || parquet_column::read(file, column, &mut collector))??;
        } else {
            let mut lines = Lines::new(path, file)?;
            refuse_other_formats(path, &ending, lines.beginning())?;
            match ending.as_str() {
                "jsonl" | "ndjson" => json_lines::read(&mut lines, column, &mut collector)?,
                "csv" => csv_rows::read(&mut lines, b',', column, &mut collector)?,
                "tsv" => csv_rows::read(&mut lines, b'\t', column, &mut collector)?,
                _ => text::read(&mut lines, column, &mut collector)?,
            }
        }
        let (prompts, blank) = collector.finish()?;
        Ok(Self { prompts, blank })
    }

    /// The prompts in the order of the file; never empty.
    pub fn prompts(&self) -> &[String] {
        &self.prompts
    }

    /// The prompts in the order of the file; never empty.
    pub fn into_prompts(self) -> Vec<String> {
        self.prompts
    }

    /// The number of lines or rows without a prompt, which were skipped.
    pub fn blank(&self) -> u64 {
        self.blank
    }
}

/// Opens a regular file. A pipe or a device is refused before it is opened, because that could wait for ever.
fn open(path: &Path) -> Result<File, PipelineError> {
    let refuse = |error: &std::io::Error| unreadable(path, error);
    let found = fs::metadata(path).map_err(|error| refuse(&error))?;
    if !found.is_file() {
        let what = if found.is_dir() { "a folder" } else { "a pipe, a socket or a device" };
        return Err(refusal(path, "", "a file", what, "name a file of prompts"));
    }
    File::open(path).map_err(|error| refuse(&error))
}

/// Refuses what is no text although its name does not say so.
fn refuse_other_formats(path: &Path, ending: &str, beginning: &[u8]) -> Result<(), PipelineError> {
    let refuse = |found: &str, advice: &str| Err(refusal(path, "", "prompts as text, JSON Lines, CSV or Parquet", found, advice));
    if beginning.starts_with(b"PAR1") {
        return refuse("a Parquet file", "let its name end with .parquet");
    }
    if beginning.starts_with(b"\xff\xfe") || beginning.starts_with(b"\xfe\xff") {
        return refuse("UTF-16 text", "save it as UTF-8");
    }
    // A line of text may begin with "<", as an HTML page does.
    if let Some(what) = wrong_format(beginning).filter(|_| !beginning.trim_ascii_start().starts_with(b"<")) {
        return refuse(&format!("a file that is {what}"), "give the file itself, unpacked");
    }
    match ending {
        "json" => refuse("a name that ends with .json", "write one JSON object per line into a file whose name ends with .jsonl"),
        "png" | "jpg" | "jpeg" | "safetensors" | "arrow" | "feather" | "xlsx" | "ods" | "tar" => {
            refuse(&format!("a name that ends with .{ending}"), "name a file of prompts")
        }
        _ => Ok(()),
    }
}
