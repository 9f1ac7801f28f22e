//! The commands that documents show are commands of the program.
#![cfg(feature = "train")]

use std::{fs, path::Path, process::Command};

/// The documents that show commands.
const DOCUMENTS: [&str; 8] = [
    "README.md",
    "CONTRIBUTING.md",
    "docs/src/generate.md",
    "docs/src/train.md",
    "docs/src/embed.md",
    "docs/src/rust.md",
    "benches/README.md",
    "benches/ablation/README.md",
];

/// The words of each command of the program in the shell blocks of a document.
fn commands(text: &str) -> Vec<Vec<String>> {
    let mut commands = Vec::new();
    for block in text.split("```sh\n").skip(1) {
        let block = block.split("```").next().unwrap_or_default().replace("\\\n", " ");
        for line in block.lines() {
            let words = words(line);
            if let Some((first, rest)) = words.split_first()
                && (first == "onestep" || first == "target/release/onestep")
            {
                commands.push(rest.to_vec());
            }
        }
    }
    commands
}

/// A line as a shell splits it, up to a comment.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quoted = false;
    for sign in line.chars() {
        match sign {
            '"' => quoted = !quoted,
            '#' if !quoted && word.is_empty() => break,
            ' ' if !quoted => words.extend(Some(std::mem::take(&mut word)).filter(|word| !word.is_empty())),
            other => word.push(other),
        }
    }
    words.extend(Some(word).filter(|word| !word.is_empty()));
    words
}

#[test]
fn commands_of_the_documents_are_understood() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut seen = 0;
    for document in DOCUMENTS {
        let text = fs::read_to_string(root.join(document)).unwrap_or_else(|error| panic!("{document}: {error}"));
        for command in commands(&text) {
            seen += 1;
            // Options are read in their order, so an unknown one is refused before help is given.
            let output = Command::new(env!("CARGO_BIN_EXE_onestep")).args(&command).arg("--help").output().expect("it starts");
            assert!(output.status.success(), "{document}: onestep {}\n{}", command.join(" "), String::from_utf8_lossy(&output.stderr));
        }
    }
    assert!(seen > 20, "only {seen} commands were found");
}
