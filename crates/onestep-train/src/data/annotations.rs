//! Names and keywords of emoji from Unicode's CLDR annotation files.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::error::{DataError, shown};

const MAX_FILE_BYTES: u64 = 16 << 20;
const MAX_NODES: u32 = 1_000_000;
const MAX_NAME_CHARS: usize = 200;
const MAX_KEYWORDS: usize = 100;

/// What CLDR says about one emoji.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Annotation {
    /// The short name, as it would be spoken.
    pub name: String,
    /// Keywords in the file's order, without the name.
    pub keywords: Vec<String>,
}

/// All annotations by emoji (without U+FE0F, as in the files), in code point order. A later file adds to and replaces earlier ones.
pub(super) fn read_annotations<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Result<BTreeMap<String, Annotation>, DataError> {
    let mut all = BTreeMap::new();
    for path in paths {
        let bytes = match fs::metadata(path) {
            Ok(m) if m.len() > MAX_FILE_BYTES => {
                return Err(unusable(path, format!("at most {MAX_FILE_BYTES} bytes"), format!("{}", m.len())));
            }
            Ok(_) => fs::read(path).map_err(|e| DataError::reading(path, &e))?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(DataError::input(format!("reading the emoji names in {}", path.display()), "a CLDR annotation file", "nothing there")
                    .advise(
                        "install it (Debian and Ubuntu: unicode-cldr-core; Fedora: cldr-emoji-annotation; macOS and others: \
                     common/annotations of https://github.com/unicode-org/cldr) or name other files with --annotations",
                    )
                    .at(path));
            }
            Err(e) => return Err(DataError::reading(path, &e)),
        };
        let text = String::from_utf8(bytes).map_err(|_| unusable(path, "UTF-8 text", "other bytes"))?;
        parse(&text, &mut all).map_err(|found| unusable(path, "a CLDR annotation file", found))?;
    }
    all.retain(|_, a| !a.name.is_empty());
    Ok(all)
}

fn unusable(path: &Path, expected: impl Into<String>, found: impl Into<String>) -> DataError {
    DataError::input(format!("reading the emoji names in {}", path.display()), expected, found)
        .advise("name another file with --annotations")
        .at(path)
}

fn parse(text: &str, all: &mut BTreeMap<String, Annotation>) -> Result<(), String> {
    // The files name their DTD; the parser reads no file for it and counts entity expansions.
    let options = roxmltree::ParsingOptions { allow_dtd: true, nodes_limit: MAX_NODES, ..Default::default() };
    let document = roxmltree::Document::parse_with_options(text, options).map_err(|e| e.to_string())?;
    let root = document.root_element();
    if root.tag_name().name() != "ldml" {
        return Err(format!("a file of <{}>", shown(root.tag_name().name())));
    }
    for node in root.descendants().filter(|n| n.has_tag_name("annotation")) {
        let (Some(emoji), Some(text)) = (node.attribute("cp"), node.text()) else { continue };
        if emoji.is_empty() || emoji.chars().count() > 32 {
            continue;
        }
        let entry = all.entry(emoji.replace('\u{FE0F}', "")).or_default();
        if node.attribute("type") == Some("tts") {
            entry.name = one_line(text);
        } else {
            entry.keywords = text.split('|').map(one_line).filter(|k| !k.is_empty()).take(MAX_KEYWORDS).collect();
        }
    }
    for annotation in all.values_mut() {
        let name = &annotation.name;
        annotation.keywords.retain(|k| k != name);
    }
    Ok(())
}

/// Lower-case, single spaces, typographic marks as the ones on a keyboard: how people type prompts.
fn one_line(text: &str) -> String {
    let plain: String = text
        .chars()
        .map(|c| match c {
            '’' | '‘' => '\'',
            '“' | '”' => '"',
            '–' | '—' => '-',
            c if c.is_control() => ' ',
            c => c,
        })
        .take(MAX_NAME_CHARS)
        .collect();
    plain.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<BTreeMap<String, Annotation>, String> {
        let mut all = BTreeMap::new();
        parse(text, &mut all).map(|()| all)
    }

    #[test]
    fn names_and_keywords_come_together() {
        let all = parsed(
            "<!DOCTYPE ldml SYSTEM \"x.dtd\"><ldml><annotations>\
             <annotation cp=\"❤\">heart | red  heart</annotation><annotation cp=\"❤\" type=\"tts\">Red heart</annotation>\
             <annotation cp=\"☠\u{FE0F}\" type=\"tts\">Pirate’s sign</annotation></annotations></ldml>",
        )
        .unwrap();
        assert_eq!(all["❤"], Annotation { name: "red heart".into(), keywords: vec!["heart".into()] });
        assert_eq!(all["☠"].name, "pirate's sign");
    }

    #[test]
    fn other_and_hostile_files_are_refused() {
        assert!(parsed("<html/>").is_err());
        assert!(parsed("<ldml>").is_err());
        assert!(parsed("").is_err());
        let bomb = "<!DOCTYPE a [<!ENTITY a \"xxxxxxxxxx\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;\">\
            <!ENTITY c \"&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;\"><!ENTITY d \"&c;&c;&c;&c;&c;&c;&c;&c;&c;&c;\">\
            <!ENTITY e \"&d;&d;&d;&d;&d;&d;&d;&d;&d;&d;\">]><ldml><annotation cp=\"x\">&e;&e;&e;</annotation></ldml>";
        assert!(parsed(bomb).is_err());
        // Depth: many nested elements are an error or accepted, never an overflow.
        let _ = parsed(&format!("<ldml>{}{}</ldml>", "<a>".repeat(100_000), "</a>".repeat(100_000)));
    }

    #[test]
    fn a_missing_file_names_the_package() {
        let error = read_annotations([Path::new("/nowhere/en.xml")]).unwrap_err().to_string();
        assert!(error.contains("unicode-cldr-core") && error.contains("/nowhere/en.xml"), "{error}");
    }
}
