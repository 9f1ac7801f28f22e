//! `cargo xtask vocabulary`: one idea has one name, the field's, so that a stranger finds a thing by the word that papers use for it.

mod table;

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use crate::{
    folders,
    process::{self, Failure, Result},
};

use table::{ORDINARY_ENGLISH, OTHERS, RULES, Rule, Scope};

/// Endings of the files that are read as documents; all others of [`CODE`] are code with comments.
const DOCUMENTS: [&str; 2] = ["md", "txt"];
/// Endings of code, and what begins a comment in it.
const CODE: [(&str, &str); 17] = [
    ("rs", "//"),
    ("wgsl", "//"),
    ("js", "//"),
    ("mjs", "//"),
    ("cjs", "//"),
    ("jsx", "//"),
    ("ts", "//"),
    ("tsx", "//"),
    ("css", "/*"),
    ("html", "<!--"),
    ("py", "#"),
    ("sh", "#"),
    ("toml", "#"),
    ("yml", "#"),
    ("yaml", "#"),
    ("cff", "#"),
    ("json", "\0"),
];

/// A replaced word that is still used.
#[derive(Debug, PartialEq)]
struct Use {
    line: usize,
    word: String,
    instead: &'static str,
}

/// Prints each replaced word that the repository still uses; an error if there is one. `prefixes` limits the files.
pub fn run(prefixes: &[&str]) -> Result<()> {
    let root = folders::root();
    let mut git = Command::new("git");
    git.current_dir(&root).args(["ls-files", "--cached", "--others", "--exclude-standard"]);
    let files = process::output(&mut git)
        .ok_or_else(|| Failure("listing the files of the repository: git ls-files failed; run this in a git checkout".into()))?;
    let mut counts = BTreeMap::<String, usize>::new();
    for path in files.lines().filter(|path| prefixes.is_empty() || prefixes.iter().any(|prefix| path.starts_with(prefix))) {
        if !is_text(path) || ORDINARY_ENGLISH.iter().any(|prefix| path.starts_with(prefix)) {
            continue;
        }
        for Use { line, word, instead } in
            uses_in(path, path).into_iter().chain(read(&root, path)?.map_or_else(Vec::new, |text| uses_in(path, &text)))
        {
            println!("{path}:{line}: \"{word}\"; use: {instead}");
            *counts.entry(word).or_default() += 1;
        }
    }
    if counts.is_empty() {
        println!("no replaced word is used");
        return Ok(());
    }
    let counts: Vec<_> = counts.iter().map(|(word, count)| format!("{word} {count}")).collect();
    Err(Failure(format!("replaced words are still used ({}); crates/xtask/src/vocabulary/table.rs says what to use instead", counts.join(", "))))
}

fn read(root: &Path, path: &str) -> Result<Option<String>> {
    let full = root.join(path);
    // Deleted, but not yet in git; or a link to somewhere else.
    if !fs::symlink_metadata(&full).is_ok_and(|data| data.is_file()) {
        return Ok(None);
    }
    fs::read_to_string(full).map(Some).map_err(process::while_doing(format!("reading {path}")))
}

fn ending(path: &str) -> &str {
    path.rsplit_once('.').map_or("", |(_, ending)| ending)
}

fn is_text(path: &str) -> bool {
    let ending = ending(path);
    DOCUMENTS.contains(&ending) || CODE.iter().any(|(name, _)| *name == ending)
}

/// All uses of replaced words in a text.
fn uses_in(path: &str, text: &str) -> Vec<Use> {
    let comment = CODE.iter().find(|(name, _)| *name == ending(path)).map(|(_, comment)| *comment);
    let rules: Vec<&Rule> = RULES.iter().filter(|rule| rule.is_for(path)).collect();
    let mut uses = Vec::new();
    let mut in_block = false;
    for (index, line) in text.lines().enumerate() {
        let (code, prose) = match comment {
            None => ("", line),
            Some(comment) => split_comment(line, comment, &mut in_block),
        };
        let (code_words, type_words, prose_words, plain_words) = (words(code, true), type_words(code), words(prose, true), words(prose, false));
        for rule in &rules {
            let found = match rule.scope {
                Scope::Everywhere => rule.first_in(&code_words, line).or_else(|| rule.first_in(&prose_words, line)),
                Scope::Names => rule.first_in(&code_words, line),
                Scope::Types => rule.first_in(&type_words, line),
                Scope::Prose => rule.first_in(&plain_words, line),
            };
            uses.extend(found.map(|word| Use { line: index + 1, word, instead: rule.instead }));
        }
    }
    uses
}

/// The code and the comment of a line. `in_block`: whether the line begins within a block comment of JavaScript, CSS or HTML.
fn split_comment<'a>(line: &'a str, comment: &str, in_block: &mut bool) -> (&'a str, &'a str) {
    let slashes = comment == "//";
    let (open, close) = if comment == "<!--" { ("<!--", "-->") } else { ("/*", "*/") };
    if *in_block {
        return match line.find(close) {
            Some(end) => {
                *in_block = false;
                (&line[end + close.len()..], &line[..end])
            }
            None => ("", line),
        };
    }
    // In an address, `//` begins no comment.
    let single = (slashes || comment == "#")
        .then(|| line.match_indices(comment).map(|(at, _)| at).find(|&at| at == 0 || !line[..at].ends_with([':', '"', '\''])))
        .flatten();
    let block = (comment != "#" && comment != "\0").then(|| line.find(open)).flatten();
    match (single, block) {
        (Some(single), block) if block.is_none_or(|block| single <= block) => (&line[..single], &line[single..]),
        (_, Some(block)) => {
            *in_block = !line[block..].contains(close);
            (&line[..block], &line[block..])
        }
        _ => (line, ""),
    }
}

/// The words of a text in lower case: by everything that is no letter and, if `camel`, by capitals within a word.
fn words(text: &str, camel: bool) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before = ' ';
    for sign in text.chars() {
        let starts = camel && sign.is_uppercase() && before.is_lowercase();
        if (!sign.is_alphanumeric() || starts) && !words.last().is_some_and(String::is_empty) {
            words.push(String::new());
        }
        if sign.is_alphanumeric() {
            words.last_mut().expect("never empty").extend(sign.to_lowercase());
        }
        before = sign;
    }
    words.retain(|word| !word.is_empty());
    words
}

/// The components of the CamelCase names in code.
fn type_words(code: &str) -> Vec<String> {
    let names = code.split(|sign: char| !sign.is_alphanumeric() && sign != '_');
    names
        .filter(|name| name.starts_with(char::is_uppercase) && name.contains(char::is_lowercase) && !name.contains('_'))
        .flat_map(|name| words(name, true))
        .collect()
}

impl Rule {
    fn is_for(&self, path: &str) -> bool {
        let in_any = |prefixes: &[&str]| prefixes.iter().any(|prefix| path.starts_with(prefix));
        (self.only.is_empty() || in_any(self.only)) && !in_any(self.except)
    }

    /// The first of the replaced words that occurs, unless the line names an interface of others with it.
    fn first_in(&self, words: &[String], line: &str) -> Option<String> {
        let occurs = |phrase: &&&str| match phrase.split_once(' ') {
            None => words.iter().any(|word| word == *phrase),
            Some((first, rest)) => {
                let rest: Vec<&str> = rest.split(' ').collect();
                words.windows(1 + rest.len()).any(|window| window[0] == first && window[1..].iter().eq(rest.iter()))
            }
        };
        let of_others = |word: &&&str| OTHERS.iter().any(|(known, lines)| known == *word && lines.iter().any(|part| line.contains(part)));
        self.words.iter().find(|word| occurs(word) && !of_others(word)).map(|word| (*word).to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        uses_in(path, text).into_iter().map(|found| format!("{}:{}", found.line, found.word)).collect()
    }

    #[test]
    fn replaced_words_are_found_in_identifiers_keys_comments_and_documents() {
        assert_eq!(found("a.rs", "fn list_pictures() {}\nstruct PictureFolder;"), ["1:pictures", "2:picture"]);
        assert_eq!(found("a.rs", "let key = \"logit_true\"; // whose?"), ["1:logit true", "1:whose"]);
        assert_eq!(found("README.md", "It is led by a metric,\nto the bit."), ["1:led by", "2:to the bit"]);
        assert_eq!(found("a.js", "/* its\n   kin */\nconst b = 1;"), ["2:kin"]);
        assert_eq!(found("a.rs", "struct PngFacts;\nlet facts = 1;"), ["1:facts"]);
    }

    #[test]
    fn words_of_other_interfaces_and_other_areas_are_left() {
        assert_eq!(found("a.rs", "let post_processor = json[\"post_processor\"];"), [""; 0]);
        assert_eq!(found("a.js", "context.drawImage(image, 0, 0);"), [""; 0]);
        assert_eq!(found("crates/onestep-nets/src/a.rs", "x.narrow(0, 1, 2)"), [""; 0]);
        assert_eq!(found("crates/onestep-runtime/src/a.rs", "let narrow = 1;"), ["1:narrow"]);
        assert_eq!(found("a.rs", "let owned = 1; // in place"), [""; 0]);
    }
}
