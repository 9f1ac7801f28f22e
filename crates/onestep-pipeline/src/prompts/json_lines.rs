//! JSON Lines: one object per line.

use serde_json::{Map, Value};

use super::collector::Collector;
use super::column::{COLUMNS, NAME_THE_COLUMN, choose};
use super::lines::Lines;
use super::refusal::quoted;
use crate::error::PipelineError;

const OBJECT: &str = "a JSON object";
const FORM: &str = "write one object per line, such as {\"text\": \"a red heart\"}";

/// Reads all lines. The key is looked for in each object, since objects may differ.
pub(super) fn read(lines: &mut Lines<'_>, column: Option<&str>, collector: &mut Collector<'_>) -> Result<(), PipelineError> {
    while let Some((number, line)) = lines.next()? {
        if line.trim().is_empty() {
            collector.skip();
            continue;
        }
        let location = format!("line {number}");
        let object: Map<String, Value> = match serde_json::from_str(line) {
            Ok(Value::Object(object)) => object,
            Ok(other) => return Err(collector.refuse(location, OBJECT, quoted(&other.to_string()), FORM)),
            Err(error) => {
                // Its own words end with the line, which is always 1 here.
                let said = error.to_string();
                let said = said.split(" at line ").next().unwrap_or_default();
                return Err(collector.refuse(
                    format_args!("{location}, column {}", error.column()),
                    OBJECT,
                    format_args!("text that is none ({said})"),
                    FORM,
                ));
            }
        };
        let known = match column {
            Some(column) => object.get_key_value(column),
            None => COLUMNS.iter().find_map(|&key| object.get_key_value(key)),
        };
        match known {
            Some((_, Value::String(text))) => collector.add(text, location)?,
            Some((_, Value::Null)) => collector.skip(),
            Some((key, other)) => {
                let expected = format!("text in the key {}", quoted(key));
                return Err(collector.refuse(location, expected, quoted(&other.to_string()), FORM));
            }
            None => {
                let names: Vec<String> = object.keys().cloned().collect();
                let found = choose(&names, Some("")).err().filter(|listed| !listed.is_empty()).unwrap_or_else(|| "none".to_owned());
                let expected = column.map_or_else(|| "a key text, caption or prompt".to_owned(), |column| format!("a key {}", quoted(column)));
                return Err(collector.refuse(location, expected, found, NAME_THE_COLUMN));
            }
        }
    }
    Ok(())
}
