//! Where words go: data to standard output, messages to standard error.

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use onestep_program::printable;
use serde::Serialize;
use serde_json::json;

use crate::exit::{Exit, Failure};
use crate::shared::Shared;

/// Writes a line of data. If the reader has gone away (`onestep … | head`), the program ends without a word.
pub fn data(line: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(|e| match e.kind() {
        io::ErrorKind::BrokenPipe => Failure::silent(Exit::Done),
        _ => Failure::new(Exit::Storage, format!("writing the result to standard output: expected it to be writable, found {e}")),
    })
}

/// The number in every JSON object that is printed; another one when readers of the old would be led astray.
const SCHEMA: u32 = 2;

/// Writes what serializes as a JSON object as a line of data, with the number of its schema.
pub fn json(object: &impl Serialize) -> Result<(), Failure> {
    let fail = |e: serde_json::Error| Failure::new(Exit::Failed, format!("writing the result as JSON failed: {e}"));
    let mut object = serde_json::to_value(object).map_err(fail)?;
    object["schema"] = SCHEMA.into();
    data(&object.to_string())
}

/// Writes where the result is: the path, or a JSON object with it.
pub fn path(shared: &Shared, path: &Path) -> Result<(), Failure> {
    if shared.json {
        return json(&json!({ "path": path.display().to_string() }));
    }
    let line = path.display().to_string();
    // Scripts get the path as it is, people one that cannot steer their terminal.
    if io::stdout().is_terminal() { text(&line) } else { data(&line) }
}

/// Writes a message for people, in [`printable`] form: names in it may come from files. A standard error that is closed is no reason to fail.
pub fn message(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", printable(line));
}

/// Writes a line for people to standard output, in [`printable`] form; [`data`] is for what other programs read.
pub fn text(line: &str) -> Result<(), Failure> {
    data(&printable(line))
}
