//! Chromium, Node and what the browser tests use of npm.

use std::{fs, path::PathBuf, process::Command};

use crate::{
    folders,
    process::{self, Failure, Result},
};

/// What runs the browser tests.
pub struct Programs {
    pub node: PathBuf,
    pub chromium: PathBuf,
}

/// The folder of the browser tests.
pub fn tests() -> PathBuf {
    folders::root().join("tests/browser")
}

/// `CHROMIUM`, else the first of Chromium and Chrome on PATH.
pub fn chromium() -> Option<PathBuf> {
    let named = std::env::var_os("CHROMIUM").map(PathBuf::from);
    named.or_else(|| ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"].iter().find_map(|name| process::find(name)))
}

/// Fetches the packages of `tests/browser/package-lock.json`, unless they are there.
pub fn install() -> Result<Programs> {
    let missing = |what: &str| Failure(format!("{what} is missing, which the browser tests need"));
    let programs = Programs { node: process::find("node").ok_or_else(|| missing("Node"))?, chromium: chromium().ok_or_else(|| missing("Chromium"))? };
    let tests = tests();
    let wanted = fs::read(tests.join("package-lock.json")).map_err(|error| Failure(format!("tests/browser/package-lock.json: {error}")))?;
    let mark = tests.join("node_modules/.installed-lock.json");
    if fs::read(&mark).is_ok_and(|installed| installed == wanted) {
        return Ok(programs);
    }
    let npm = process::find("npm").ok_or_else(|| missing("npm"))?;
    println!("Fetching the packages of the browser tests into tests/browser/node_modules");
    process::run(Command::new(npm).current_dir(&tests).args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]))?;
    fs::write(&mark, wanted).map_err(|error| Failure(format!("{}: {error}", mark.display())))?;
    Ok(programs)
}
