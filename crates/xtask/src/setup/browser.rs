//! Chromium, Node and what the browser tests use of npm.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    folders,
    process::{self, Failure, Result, while_doing},
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
    fetch_packages(&tests(), "the browser tests")?;
    Ok(programs)
}

/// Fetches the packages of a folder's `package-lock.json` into its `node_modules`, unless they are there.
pub fn fetch_packages(folder: &Path, user: &str) -> Result<()> {
    let lock = folder.join("package-lock.json");
    let wanted = fs::read(&lock).map_err(while_doing(lock.display()))?;
    let modules = folder.join("node_modules");
    let mark = modules.join(".installed-lock.json");
    if fs::read(&mark).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    let npm = process::find("npm").ok_or_else(|| Failure(format!("npm is missing, which fetches the packages of {user}")))?;
    println!("Fetching the packages of {user} into {}", modules.display());
    process::run(Command::new(npm).current_dir(folder).args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]))?;
    fs::write(&mark, wanted).map_err(while_doing(mark.display()))
}
