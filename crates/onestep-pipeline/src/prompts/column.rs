//! The column of a table that holds the prompts.

use super::refusal::quoted;

/// The names under which the prompt of a row is looked for if no column is named, in this order. CSV and Parquet ignore their case.
pub const COLUMNS: [&str; 3] = ["text", "caption", "prompt"];

/// The place of the column with the prompts among `names`.
pub(super) fn choose(names: &[String], column: Option<&str>) -> Result<usize, String> {
    let found = match column {
        Some(column) => names.iter().position(|name| name == column),
        None => COLUMNS.iter().find_map(|wanted| names.iter().position(|name| name.eq_ignore_ascii_case(wanted))),
    };
    found.ok_or_else(|| {
        const SHOWN: usize = 12;
        let listed: Vec<String> = names.iter().take(SHOWN).map(|name| quoted(name)).collect();
        let rest = names.len().saturating_sub(SHOWN);
        listed.join(", ") + &if rest > 0 { format!(" and {rest} more") } else { String::new() }
    })
}

/// What was looked for, in words.
pub(super) fn wanted(column: Option<&str>) -> String {
    column.map_or_else(|| format!("a column {}, {} or {}", COLUMNS[0], COLUMNS[1], COLUMNS[2]), |column| format!("a column {column}"))
}

/// What to do if it is not there.
pub(super) const NAME_THE_COLUMN: &str = "name the one with the prompts by --caption-column";
