//! Where words go: data to standard output, messages to standard error.

use std::io::{self, Write};

use serde::Serialize;

use crate::exit::{Exit, Failure};

/// Writes a line of data. If the reader has gone away (`onestep … | head`), the program ends without a word.
pub fn data(line: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(|e| match e.kind() {
        io::ErrorKind::BrokenPipe => Failure::silent(Exit::Done),
        _ => Failure::new(Exit::Storage, format!("writing the result to standard output: expected a place that takes it, found {e}")),
    })
}

/// Writes one JSON object as a line of data.
pub fn json(value: &impl Serialize) -> Result<(), Failure> {
    let line = serde_json::to_string(value).map_err(|e| Failure::new(Exit::Failed, format!("writing the result as JSON failed: {e}")))?;
    data(&line)
}

/// Writes a message for people. A standard error that is closed is no reason to fail.
pub fn message(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}
