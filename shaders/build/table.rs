//! The table of variants: which kernels are compiled, and with which names defined.

use std::collections::BTreeSet;

/// A row of the variant table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    /// The compiled shader's name.
    pub name: String,
    /// Its kernel's file, without the extension.
    pub file: String,
    /// What it defines.
    pub defines: BTreeSet<String>,
    /// Whether it is for native adapters alone.
    pub native: bool,
}

/// Reads the variant table.
pub fn variants(table: &str) -> Result<Vec<Variant>, String> {
    /// A kernel whose rows are being read: its file, whether it is compiled narrow too or natively alone, whether it has had a row.
    struct Open {
        file: String,
        narrow: bool,
        native: bool,
        has_rows: bool,
    }
    let mut rows: Vec<Variant> = Vec::new();
    let add = |rows: &mut Vec<Variant>, open: &Open, name: &str, defines: BTreeSet<String>| {
        rows.push(Variant { name: name.to_owned(), file: open.file.clone(), defines: defines.clone(), native: open.native });
        if open.narrow {
            let defines = defines.into_iter().chain(["UNIT_F16", "WEIGHT_F16"].map(str::to_owned)).collect();
            rows.push(Variant { name: format!("{name}_narrow"), file: open.file.clone(), defines, native: open.native });
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
            let (file, mark) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
            if !["", "narrow", "native"].contains(&mark) {
                return Err(format!("variants, line {}: {mark:?} is neither `narrow` nor `native`", number + 1));
            }
            open = Some(Open { file: file.to_owned(), narrow: mark == "narrow", native: mark == "native", has_rows: false });
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

/// A file without comments and indentation; what is composed of such files is the same.
pub fn stripped(source: &str) -> String {
    source.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//")).flat_map(|line| [line, "\n"]).collect()
}
