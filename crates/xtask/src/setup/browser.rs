//! Chromium, Node and what the browser tests use of npm.

use std::{fs, path::PathBuf, process::Command};

use crate::{
    folders,
    process::{self, Failure, Result, while_doing},
    setup::Missing,
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

/// A copy of the lock file that the packages were installed by.
fn mark() -> PathBuf {
    tests().join("node_modules/.installed-lock.json")
}

/// The lock file, unless its packages are there.
fn wanted() -> Result<Option<Vec<u8>>> {
    let wanted = fs::read(tests().join("package-lock.json")).map_err(while_doing("tests/browser/package-lock.json"))?;
    Ok(Some(wanted).filter(|wanted| fs::read(mark()).ok().as_ref() != Some(wanted)))
}

fn npm_ci(npm: PathBuf) -> Command {
    let mut command = Command::new(npm);
    command.current_dir(tests()).args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]);
    command
}

pub fn missing() -> Option<Missing> {
    wanted().ok().flatten().map(|_| Missing {
        what: vec![("npm packages of tests/browser/package-lock.json".to_owned(), "drive the browser in its tests")],
        place: "into tests/browser/node_modules".to_owned(),
        command: process::line(&npm_ci("npm".into())),
        by_hand: false,
    })
}

/// Fetches the packages of `tests/browser/package-lock.json`, unless they are there.
pub fn install() -> Result<Programs> {
    let missing = |what: &str| Failure(format!("{what} is missing, which the browser tests need"));
    let programs = Programs { node: process::find("node").ok_or_else(|| missing("Node"))?, chromium: chromium().ok_or_else(|| missing("Chromium"))? };
    if let Some(wanted) = wanted()? {
        process::run(&mut npm_ci(process::find("npm").ok_or_else(|| missing("npm"))?))?;
        fs::write(mark(), wanted).map_err(while_doing(mark().display()))?;
    }
    Ok(programs)
}
