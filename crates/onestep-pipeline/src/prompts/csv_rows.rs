//! CSV, and values separated by tabs: the first row has the names of the columns.

use std::io::BufRead;

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

use super::collector::Collector;
use super::column::{NAME_THE_COLUMN, choose, wanted};
use super::lines::{Lines, MAX_LINE_BYTES};
use super::refusal::unreadable;
use crate::error::PipelineError;

const MAX_FIELDS: usize = 10_000;
const FORM: &str = "a text with commas, quotes or line breaks stands in double quotes, with quotes in it doubled";

/// Reads all rows.
pub(super) fn read(lines: &mut Lines<'_>, delimiter: u8, column: Option<&str>, collector: &mut Collector<'_>) -> Result<(), PipelineError> {
    let mut rows = Rows { reader: ReaderBuilder::new().delimiter(delimiter).build(), lines, bytes: vec![0; 1 << 12], ends: vec![0; 64], count: 0 };
    let Some(line) = rows.next(collector)? else { return Ok(()) };
    let location = format!("line {line}");
    let names: Vec<String> =
        (0..rows.count).map(|field| rows.text(field, line, collector).map(|name| name.trim().to_owned())).collect::<Result<_, _>>()?;
    let chosen =
        choose(&names, column).map_err(|found| collector.refuse(&location, wanted(column), format_args!("the columns {found}"), NAME_THE_COLUMN))?;
    if names.iter().filter(|name| **name == names[chosen]).count() > 1 {
        return Err(collector.refuse(location, format_args!("one column {}", names[chosen]), "several of this name", "rename the others"));
    }
    while let Some(line) = rows.next(collector)? {
        if rows.count != names.len() {
            // A blank line between rows is skipped by the reader already.
            let (expected, found) = (format!("{} fields, as in the first row", names.len()), rows.count);
            return Err(collector.refuse(format_args!("line {line}"), expected, found, FORM));
        }
        let text = rows.text(chosen, line, collector)?;
        collector.add(text, format_args!("line {line}"))?;
    }
    Ok(())
}

/// The rows of a file, one at a time.
struct Rows<'a, 'b> {
    reader: Reader,
    lines: &'a mut Lines<'b>,
    /// The fields of the row without quotes, one behind the other.
    bytes: Vec<u8>,
    /// Where each of them ends.
    ends: Vec<usize>,
    count: usize,
}

impl Rows<'_, '_> {
    /// Reads the next row, and returns the line in which it begins.
    fn next(&mut self, collector: &Collector<'_>) -> Result<Option<u64>, PipelineError> {
        let (mut length, mut count) = (0, 0);
        let mut line = self.reader.line();
        loop {
            let input = self.lines.reader().fill_buf().map_err(|error| unreadable(collector.path(), &error))?;
            if count == 0 && length == 0 {
                // Blank lines before the row belong to none.
                line = self.reader.line() + leading_line_breaks(input);
            }
            let (result, taken, written, ended) = self.reader.read_record(input, &mut self.bytes[length..], &mut self.ends[count..]);
            self.lines.reader().consume(taken);
            length += written;
            count += ended;
            let refuse =
                |expected: String| collector.refuse(format_args!("the row that begins in line {line}"), expected, "more; is a quote missing", FORM);
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull if self.bytes.len() as u64 >= MAX_LINE_BYTES => {
                    return Err(refuse(format!("at most {} MiB", MAX_LINE_BYTES >> 20)));
                }
                ReadRecordResult::OutputFull => self.bytes.resize(2 * self.bytes.len(), 0),
                ReadRecordResult::OutputEndsFull if self.ends.len() >= MAX_FIELDS => return Err(refuse(format!("at most {MAX_FIELDS} fields"))),
                ReadRecordResult::OutputEndsFull => self.ends.resize(2 * self.ends.len(), 0),
                ReadRecordResult::Record => {
                    self.count = count;
                    return Ok(Some(line));
                }
                ReadRecordResult::End => return Ok(None),
            }
        }
    }

    /// The text of a field of the row.
    fn text(&self, field: usize, line: u64, collector: &Collector<'_>) -> Result<&str, PipelineError> {
        let start = if field == 0 { 0 } else { self.ends[field - 1] };
        std::str::from_utf8(&self.bytes[start..self.ends[field]])
            .map_err(|_| collector.refuse(format_args!("line {line}, field {}", field + 1), "UTF-8 text", "other bytes", "save the file as UTF-8"))
    }
}

/// The number of line breaks at the beginning.
fn leading_line_breaks(bytes: &[u8]) -> u64 {
    bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).filter(|byte| **byte == b'\n').count() as u64
}
