//! Files of prompts: plain text, JSON Lines, CSV, and a column of a Parquet file.
//!
//! The ending of the file's name says which: `.jsonl` and `.ndjson`, `.csv` and `.tsv`, `.parquet`; every other name is text, one prompt per line.
//! Prompts are kept in the order of the file, duplicates included, without white space around them. Empty ones are skipped and counted.

mod collector;
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
use lines::Lines;
use refusal::{refusal, unreadable};

use crate::error::PipelineError;
use crate::guard::guarded;

/// Most prompts of one file.
pub const MAX_PROMPTS: usize = 10_000_000;
/// Most bytes of all prompts of one file together.
pub const MAX_TEXT_BYTES: usize = 1 << 30;
/// The names under which the prompt of a row is looked for if no column is named, in this order. CSV and Parquet ignore their case.
pub const COLUMNS: [&str; 3] = ["text", "caption", "prompt"];

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
        collector.finish()
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

/// The place of the column with the prompts among `names`.
fn choose(names: &[String], column: Option<&str>) -> Result<usize, String> {
    let found = match column {
        Some(column) => names.iter().position(|name| name == column),
        None => COLUMNS.iter().find_map(|wanted| names.iter().position(|name| name.eq_ignore_ascii_case(wanted))),
    };
    found.ok_or_else(|| {
        const SHOWN: usize = 12;
        let listed: Vec<String> = names.iter().take(SHOWN).map(|name| refusal::quoted(name)).collect();
        let rest = names.len().saturating_sub(SHOWN);
        listed.join(", ") + &if rest > 0 { format!(" and {rest} more") } else { String::new() }
    })
}

/// What was looked for, in words.
fn wanted(column: Option<&str>) -> String {
    column.map_or_else(|| format!("a column {}, {} or {}", COLUMNS[0], COLUMNS[1], COLUMNS[2]), |column| format!("a column {column}"))
}

/// What to do if it is not there.
const NAME_THE_COLUMN: &str = "name the one with the prompts by --caption-column";
