//! Documents say what is: their links and the paths that they name exist.

use std::{
    collections::BTreeSet,
    fs,
    path::{Component, Path, PathBuf},
    process::Command,
};

use onestep_tests::root;
use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};

/// Markdown wraps here. Tables, code, headings and links cannot be wrapped.
const WIDTH: usize = 100;
/// What a name in back quotes begins with if it is a path of the repository.
const FOLDERS: [&str; 8] = ["crates/", "shaders/", "web/", "tests/", "benches/", "docs/", "fuzz/", ".github/"];

/// All Markdown files of the repository, relative to its root.
fn documents() -> Vec<PathBuf> {
    let output =
        Command::new("git").current_dir(root()).args(["ls-files", "--cached", "--others", "--exclude-standard", "*.md"]).output().expect("git runs");
    assert!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    let files = String::from_utf8(output.stdout).expect("UTF-8");
    files.lines().map(PathBuf::from).filter(|file| root().join(file).is_file()).collect()
}

/// Without `.` and `..`, so that a path is compared by its name.
fn normal(path: &Path) -> PathBuf {
    let mut result = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(result.pop()),
            Component::CurDir => {}
            other => result.push(other),
        }
    }
    result
}

/// The anchors of a document's headings, as GitHub and mdBook make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    let mut heading: Option<(HeadingLevel, String)> = None;
    for event in Parser::new_ext(text, Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::Heading { level, .. }) => heading = Some((level, String::new())),
            Event::Text(part) | Event::Code(part) => {
                if let Some((_, title)) = &mut heading {
                    title.push_str(&part);
                }
            }
            Event::End(TagEnd::Heading(_)) => {
                if let Some((_, title)) = heading.take() {
                    let kept =
                        title.to_lowercase().chars().filter(|sign| sign.is_alphanumeric() || [' ', '-', '_'].contains(sign)).collect::<String>();
                    anchors.insert(kept.replace(' ', "-"));
                }
            }
            _ => {}
        }
    }
    anchors
}

#[test]
fn links_between_documents_and_to_files_exist() {
    let mut broken = Vec::new();
    for document in documents() {
        let text = fs::read_to_string(root().join(&document)).expect("readable");
        for event in Parser::new_ext(&text, Options::ENABLE_TABLES) {
            let Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) = event else { continue };
            // Of the API documentation, which `cargo xtask docs` puts next to the book and checks.
            let is_built = document.ends_with("docs/src/api.md");
            if dest_url.contains("://") || dest_url.starts_with("mailto:") || is_built {
                continue;
            }
            let (file, anchor) = dest_url.split_once('#').map_or((&*dest_url, None), |(file, anchor)| (file, Some(anchor)));
            let target = if file.is_empty() { document.clone() } else { normal(&document.parent().expect("a folder").join(file)) };
            let full = root().join(&target);
            let is_there = full.exists()
                && anchor.is_none_or(|anchor| {
                    target.extension().is_none_or(|ending| ending != "md") || anchors(&fs::read_to_string(&full).unwrap_or_default()).contains(anchor)
                });
            if !is_there {
                broken.push(format!("{} links to {dest_url}", document.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn paths_that_documents_name_exist() {
    let mut missing = Vec::new();
    for document in documents() {
        let text = fs::read_to_string(root().join(&document)).expect("readable");
        for event in Parser::new_ext(&text, Options::ENABLE_TABLES) {
            let Event::Code(code) = event else { continue };
            let is_path =
                FOLDERS.iter().any(|folder| code.starts_with(folder)) && !code.contains(|sign: char| sign.is_whitespace() || "*<{…:".contains(sign));
            // Made by a build, and named as such.
            let is_made = ["web/packages/onestep/wasm", "tests/browser/node_modules"].iter().any(|made| code.starts_with(made));
            if is_path && !is_made && !root().join(&*code).exists() {
                missing.push(format!("{} names `{code}`", document.display()));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn prose_is_wrapped() {
    let mut long = Vec::new();
    // What the benchmarks write is as wide as their sentences.
    let is_written = |document: &Path| {
        document.file_name().is_some_and(|name| ["results.md", "first-visit.md", "metric-cost.md"].iter().any(|written| name == *written))
    };
    for document in documents().into_iter().filter(|document| !is_written(document)) {
        let text = fs::read_to_string(root().join(&document)).expect("readable");
        let mut in_code = false;
        for (index, line) in text.lines().enumerate() {
            if line.trim_start().starts_with("```") {
                in_code = !in_code;
            }
            let can_be_wrapped = !in_code
                && !line.starts_with('<')
                && !line.starts_with('|')
                && !line.starts_with('#')
                && !line.contains("](")
                && line.trim().contains(' ');
            if can_be_wrapped && line.chars().count() > WIDTH {
                long.push(format!("{}:{}: {} characters", document.display(), index + 1, line.chars().count()));
            }
        }
    }
    assert!(long.is_empty(), "{}", long.join("\n"));
}
