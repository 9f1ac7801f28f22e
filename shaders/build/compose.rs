//! The preprocessor: `#import name` (a file of `shared/`, once), `#ifdef`, `#ifndef`, `#else`, `#endif`, and nothing more.

use std::collections::{BTreeMap, BTreeSet};

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
    let mut rows: Vec<Variant> = Vec::new();
    let mut file: Option<(String, bool)> = None;
    let finish = |file: &Option<(String, bool)>, rows: &mut Vec<Variant>| {
        if let Some((name, false)) = file {
            rows.push(Variant { name: name.clone(), file: name.clone(), defines: BTreeSet::new() });
        }
    };
    for (number, line) in table.lines().enumerate() {
        let text = line.split('#').next().unwrap_or_default();
        if text.trim().is_empty() {
            continue;
        }
        if !text.starts_with(' ') {
            finish(&file, &mut rows);
            file = Some((text.trim().to_owned(), false));
            continue;
        }
        let (name, defines) = text.split_once(':').ok_or_else(|| format!("variants, line {}: a variant is `name: DEFINES`", number + 1))?;
        let (of, has_variants) = file.as_mut().ok_or_else(|| format!("variants, line {}: no file above it", number + 1))?;
        *has_variants = true;
        rows.push(Variant { name: name.trim().to_owned(), file: of.clone(), defines: defines.split_whitespace().map(str::to_owned).collect() });
    }
    finish(&file, &mut rows);
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
    // For every open condition: whether its current branch is taken, and whether its `#else` has come.
    let mut open: Vec<(bool, bool)> = Vec::new();
    for (number, line) in source.lines().enumerate() {
        let at = |message: &str| format!("line {}: {message}", number + 1);
        let line = line.trim();
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
