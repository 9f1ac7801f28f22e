//! Plain text: one prompt per line.

use super::collector::Collector;
use super::lines::Lines;
use super::refusal::quoted;
use crate::error::PipelineError;

/// Reads all lines.
pub(super) fn read(lines: &mut Lines<'_>, column: Option<&str>, collector: &mut Collector<'_>) -> Result<(), PipelineError> {
    if let Some(column) = column {
        let expected = format!("a file with a column {}", quoted(column));
        return Err(collector.refuse("", expected, "plain text, which has no columns", "leave --caption-column out"));
    }
    while let Some((number, line)) = lines.next()? {
        collector.add(line, format_args!("line {number}"))?;
    }
    Ok(())
}
