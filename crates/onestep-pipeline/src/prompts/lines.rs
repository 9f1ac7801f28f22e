//! Lines of a text file, one at a time.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use onestep_program::file_signature::BYTE_ORDER_MARK;

use super::refusal::{refusal, unreadable};
use crate::error::PipelineError;

/// The longest line: an object or row may hold more than its prompt.
pub(super) const MAX_LINE_BYTES: u64 = 16 << 20;

/// A text file, after its byte order mark.
pub(super) struct Lines<'a> {
    path: &'a Path,
    reader: BufReader<File>,
    number: u64,
    line: Vec<u8>,
}

impl<'a> Lines<'a> {
    pub fn new(path: &'a Path, file: File) -> Result<Self, PipelineError> {
        let mut reader = BufReader::with_capacity(1 << 16, file);
        let beginning = reader.fill_buf().map_err(|error| unreadable(path, &error))?;
        if beginning.starts_with(BYTE_ORDER_MARK) {
            reader.consume(BYTE_ORDER_MARK.len());
        }
        Ok(Self { path, reader, number: 0, line: Vec::new() })
    }

    /// The bytes that are read already.
    pub fn beginning(&self) -> &[u8] {
        self.reader.buffer()
    }

    /// The file with everything that is not read yet, for formats that have no lines.
    pub fn reader(&mut self) -> &mut BufReader<File> {
        &mut self.reader
    }

    /// The next line with its number, from 1; none at the end.
    pub fn next(&mut self) -> Result<Option<(u64, &str)>, PipelineError> {
        self.line.clear();
        let mut limited = self.reader.by_ref().take(MAX_LINE_BYTES + 1);
        let count = limited.read_until(b'\n', &mut self.line).map_err(|error| unreadable(self.path, &error))?;
        if count == 0 {
            return Ok(None);
        }
        self.number += 1;
        let number = self.number;
        let refuse = |location: String, expected: &str, found: &str, advice: &str| refusal(self.path, location, expected, found, advice);
        if count as u64 > MAX_LINE_BYTES {
            let expected = format!("lines of at most {} MiB", MAX_LINE_BYTES >> 20);
            return Err(refuse(format!("line {number}"), &expected, "a longer one", "write one prompt per line"));
        }
        match std::str::from_utf8(&self.line) {
            Ok(line) => Ok(Some((number, line))),
            Err(error) => {
                let location = format!("line {number}, byte {}", error.valid_up_to() + 1);
                Err(refuse(location, "UTF-8 text", "other bytes", "save the file as UTF-8"))
            }
        }
    }
}
