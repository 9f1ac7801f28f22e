//! The preprocessor: `#import name` (a file of `shared/`, once), `#ifdef`, `#ifndef`, `#else`, `#endif`; `#for i 8` … `#end` writes its
//! lines once for each number below 8, with `{i}` replaced; and nothing more.
//!
//! Loops are unrolled here because a list of accumulators that a shader's own loop indexes falls out of the registers wherever a driver
//! does not unroll it.

use std::collections::{BTreeMap, BTreeSet};

/// The most text that one kernel may unroll to: a mistaken count is refused, not written.
const BYTES: usize = 1 << 20;

/// A row of the variant table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    /// The compiled shader's name.
    pub name: String,
    /// Its kernel's file, without the extension.
    pub file: String,
    /// What it defines.
    pub defines: BTreeSet<String>,
}

/// Reads the variant table.
pub fn variants(table: &str) -> Result<Vec<Variant>, String> {
    /// A kernel whose rows are being read: its file, whether it is compiled narrow too, whether it has had a row.
    struct Open {
        file: String,
        narrow: bool,
        has_rows: bool,
    }
    let mut rows: Vec<Variant> = Vec::new();
    let add = |rows: &mut Vec<Variant>, open: &Open, name: &str, defines: BTreeSet<String>| {
        rows.push(Variant { name: name.to_owned(), file: open.file.clone(), defines: defines.clone() });
        if open.narrow {
            let defines = defines.into_iter().chain(["UNIT_F16", "WEIGHT_F16"].map(str::to_owned)).collect();
            rows.push(Variant { name: format!("{name}_narrow"), file: open.file.clone(), defines });
        }
    };
    let finish = |open: &Option<Open>, rows: &mut Vec<Variant>| {
        if let Some(open) = open.as_ref().filter(|open| !open.has_rows) {
            add(rows, open, &open.file, BTreeSet::new());
        }
    };
    let mut open: Option<Open> = None;
    for (number, line) in table.lines().enumerate() {
        let text = line.split('#').next().unwrap_or_default();
        if text.trim().is_empty() {
            continue;
        }
        if !text.starts_with(' ') {
            finish(&open, &mut rows);
            let (file, narrow) = match text.trim().split_once(' ') {
                None => (text.trim(), false),
                Some((file, "narrow")) => (file, true),
                Some((_, other)) => return Err(format!("variants, line {}: {other:?} is not `narrow`", number + 1)),
            };
            open = Some(Open { file: file.to_owned(), narrow, has_rows: false });
            continue;
        }
        let (name, defines) = text.split_once(':').ok_or_else(|| format!("variants, line {}: a variant is `name: DEFINES`", number + 1))?;
        let kernel = open.as_mut().ok_or_else(|| format!("variants, line {}: no file above it", number + 1))?;
        kernel.has_rows = true;
        add(&mut rows, kernel, name.trim(), defines.split_whitespace().map(str::to_owned).collect());
    }
    finish(&open, &mut rows);
    let mut names = BTreeSet::new();
    match rows.iter().find(|row| !names.insert(&row.name)) {
        Some(twice) => Err(format!("variants: {} is there twice", twice.name)),
        None => Ok(rows),
    }
}

/// The text of a kernel with its imports, without comments and indentation.
pub fn compose(kernel: &str, defines: &BTreeSet<String>, shared: &BTreeMap<String, String>) -> Result<String, String> {
    let mut text = String::new();
    append(&mut text, kernel, defines, shared, &mut BTreeSet::new())?;
    Ok(text)
}

fn append(
    text: &mut String,
    source: &str,
    defines: &BTreeSet<String>,
    shared: &BTreeMap<String, String>,
    imported: &mut BTreeSet<String>,
) -> Result<(), String> {
    let lines: Vec<(usize, String)> = source.lines().enumerate().map(|(number, line)| (number + 1, line.trim().to_owned())).collect();
    lines_into(text, &lines, defines, shared, imported)
}

fn lines_into(
    text: &mut String,
    lines: &[(usize, String)],
    defines: &BTreeSet<String>,
    shared: &BTreeMap<String, String>,
    imported: &mut BTreeSet<String>,
) -> Result<(), String> {
    // For every open condition: whether its current branch is taken, and whether its `#else` has come.
    let mut open: Vec<(bool, bool)> = Vec::new();
    let mut at_line = 0;
    while let Some((number, line)) = lines.get(at_line) {
        at_line += 1;
        let at = |message: &str| format!("line {number}: {message}");
        let mut words = line.split_whitespace();
        match words.next() {
            None => {}
            Some(word) if word.starts_with("//") => {}
            Some(word @ ("#ifdef" | "#ifndef")) => {
                let name = words.next().ok_or_else(|| at("a condition without a name"))?;
                open.push((defines.contains(name) == (word == "#ifdef"), false));
            }
            Some("#else") => match open.last_mut() {
                Some((taken, other @ false)) => (*taken, *other) = (!*taken, true),
                _ => return Err(at("#else without a condition")),
            },
            Some("#endif") => {
                open.pop().ok_or_else(|| at("#endif without a condition"))?;
            }
            Some(_) if open.iter().any(|(taken, _)| !taken) => {}
            Some("#for") => {
                let (Some(name), Some(count), None) = (words.next(), words.next().and_then(|count| count.parse::<usize>().ok()), words.next()) else {
                    return Err(at("a loop is `#for name count`"));
                };
                let length = body(&lines[at_line..]).ok_or_else(|| at("a loop is not closed by #end"))?;
                for turn in 0..count {
                    let (name, turn) = (format!("{{{name}}}"), turn.to_string());
                    let turned: Vec<(usize, String)> =
                        lines[at_line..at_line + length].iter().map(|(number, line)| (*number, line.replace(&name, &turn))).collect();
                    lines_into(text, &turned, defines, shared, imported)?;
                    if text.len() > BYTES {
                        return Err(at("too many turns"));
                    }
                }
                at_line += length + 1;
            }
            Some("#end") => return Err(at("#end without a loop")),
            Some("#import") => {
                let name = words.next().ok_or_else(|| at("an import without a name"))?;
                let snippet = shared.get(name).ok_or_else(|| at(&format!("no shared/{name}.wgsl")))?;
                if imported.insert(name.to_owned()) {
                    append(text, snippet, defines, shared, imported).map_err(|error| at(&format!("in shared/{name}.wgsl, {error}")))?;
                }
            }
            Some(word) if word.starts_with('#') => return Err(at(&format!("unknown directive {word}"))),
            Some(_) => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    if open.is_empty() { Ok(()) } else { Err("a condition is not closed".into()) }
}

/// How many lines a loop has, up to its own `#end`.
fn body(lines: &[(usize, String)]) -> Option<usize> {
    let mut depth = 1;
    lines.iter().position(|(_, line)| {
        match line.split_whitespace().next() {
            Some("#for") => depth += 1,
            Some("#end") => depth -= 1,
            _ => {}
        }
        depth == 0
    })
}
