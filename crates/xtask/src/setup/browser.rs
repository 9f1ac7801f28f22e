//! Chromium, Node and what the browser tests use of npm.

use std::path::PathBuf;

use crate::{
    process::{self, Failure, Result},
    setup::npm::Packages,
};

/// The npm packages of the browser tests.
pub const PACKAGES: Packages = Packages { folder: "tests/browser", why: "drive the browser in its tests" };

/// What runs the browser tests.
pub struct Programs {
    pub node: PathBuf,
    pub chromium: PathBuf,
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
    PACKAGES.install()?;
    Ok(programs)
}
