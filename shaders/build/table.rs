//! The table of variants: which kernels are compiled, and with which preprocessor definitions.

use std::collections::BTreeSet;

use super::flags::Flags;

/// One variant of a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    /// The family's name with the suffixes of the flags.
    pub name: String,
    /// The family's name.
    pub family: String,
    /// The flags among the definitions.
    pub flags: Flags,
    /// The kernel's file, without the extension.
    pub file: String,
    /// All definitions, flags included.
    pub defines: BTreeSet<String>,
    /// True if browsers cannot run it.
    pub native: bool,
}

/// A file's header line while its rows are read.
struct Header {
    file: String,
    /// The groups of optional definitions that all of its families have.
    groups: Vec<Vec<Vec<String>>>,
    native: bool,
    has_rows: bool,
}

impl Header {
    /// Adds all variants of a family: one for every choice from the groups.
    fn add(&self, variants: &mut Vec<Variant>, family: &str, groups: &[Vec<Vec<String>>], fixed: &[String]) {
        let mut choices: Vec<BTreeSet<String>> = vec![fixed.iter().cloned().collect()];
        for group in groups.iter().chain(&self.groups) {
            choices = choices
                .iter()
                .flat_map(|defines| group.iter().map(move |choice| defines.iter().cloned().chain(choice.iter().cloned()).collect()))
                .collect();
        }
        for defines in choices {
            let flags = defines.iter().filter_map(|define| Flags::of_definition(define)).fold(Flags::NONE, |flags, flag| flags | flag);
            variants.push(Variant {
                name: format!("{family}{}", flags.suffix()),
                family: family.to_owned(),
                flags,
                file: self.file.clone(),
                defines,
                native: self.native,
            });
        }
    }
}

/// Reads the table; an error names the line.
pub fn variants(table: &str) -> Result<Vec<Variant>, String> {
    let mut variants: Vec<Variant> = Vec::new();
    let mut header: Option<Header> = None;
    let finish = |header: &Option<Header>, variants: &mut Vec<Variant>| {
        if let Some(header) = header.as_ref().filter(|header| !header.has_rows) {
            header.add(variants, &header.file, &[], &[]);
        }
    };
    for (number, line) in table.lines().enumerate() {
        let text = line.split('#').next().unwrap_or_default();
        let at = |message: &str| format!("variants, line {}: {message}", number + 1);
        if text.trim().is_empty() {
            continue;
        }
        if !text.starts_with(' ') {
            finish(&header, &mut variants);
            let (file, groups, words) = parts(text).map_err(|error| at(&error))?;
            if let Some(word) = words.iter().find(|word| *word != "native") {
                return Err(at(&format!("{word:?} is neither `native` nor a group of definitions")));
            }
            header = Some(Header { file, groups, native: !words.is_empty(), has_rows: false });
            continue;
        }
        let (row, defines) = text.split_once(':').ok_or_else(|| at("a family is `name [FLAG]: DEFINITIONS`"))?;
        let header = header.as_mut().ok_or_else(|| at("no file above it"))?;
        header.has_rows = true;
        let (family, groups, words) = parts(row).map_err(|error| at(&error))?;
        if let Some(word) = words.first() {
            return Err(at(&format!("{word:?} is not a group of definitions")));
        }
        let fixed: Vec<String> = defines.split_whitespace().map(str::to_owned).collect();
        header.add(&mut variants, &family, &groups, &fixed);
    }
    finish(&header, &mut variants);
    let mut names = BTreeSet::new();
    match variants.iter().find(|variant| !names.insert(&variant.name)) {
        Some(twice) => Err(format!("variants: {} is there twice", twice.name)),
        None => Ok(variants),
    }
}

/// The name at the start of a line, its groups, and the other words. `[A|B+C]` is a choice among none, A, and B with C; `(A|B)` one of A and B.
#[allow(clippy::type_complexity, reason = "both callers destructure it at once")]
fn parts(text: &str) -> Result<(String, Vec<Vec<Vec<String>>>, Vec<String>), String> {
    let mut words = text.split_whitespace();
    let name = words.next().ok_or("a name is missing")?.to_owned();
    let (mut groups, mut others) = (Vec::new(), Vec::new());
    for word in words {
        let optional = word.strip_prefix('[').and_then(|word| word.strip_suffix(']'));
        let required = word.strip_prefix('(').and_then(|word| word.strip_suffix(')'));
        match optional.or(required) {
            Some(choices) => {
                let none = optional.map(|_| Vec::new());
                groups.push(none.into_iter().chain(choices.split('|').map(|choice| choice.split('+').map(str::to_owned).collect())).collect());
            }
            None => others.push(word.to_owned()),
        }
    }
    Ok((name, groups, others))
}

/// A file without comments and indentation; composing such files gives the same text as composing the originals.
pub fn stripped(source: &str) -> String {
    source.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//")).flat_map(|line| [line, "\n"]).collect()
}
