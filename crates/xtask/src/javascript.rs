//! The checks of JavaScript: eslint, prettier and TypeScript, as the `package.json` of the repository pins them.

use std::process::Command;

use crate::{
    folders,
    process::{self, Failure, Result},
    setup,
};

/// Where TypeScript finds the sources: the package in strict mode, then everything that uses it.
const PROJECTS: [&str; 2] = ["web/packages/onestep", "."];

/// Runs all checks, so that one call reports what each of them finds.
pub fn check() -> Result<()> {
    setup::javascript()?;
    let mut checks = vec![tool("eslint", "eslint/bin/eslint.js", &["."]), tool("prettier", "prettier/bin/prettier.cjs", &["--check", "."])];
    // The tests are checked against the libraries that they use.
    setup::browser()?;
    checks.extend(PROJECTS.map(|project| tool("tsc", "typescript/bin/tsc", &["--noEmit", "--project", project])));
    let failed: Vec<&str> = checks.into_iter().filter_map(|(name, mut command)| process::run(&mut command).is_err().then_some(name)).collect();
    if failed.is_empty() { Ok(()) } else { Err(Failure(format!("{} found faults; `npm run format` mends the layout", failed.join(", ")))) }
}

/// Generates the declarations of the npm package (`types/`) from its sources.
pub fn declarations() -> Result<()> {
    setup::javascript()?;
    let types = folders::root().join(PROJECTS[0]).join("types");
    // A file of a source that is gone would be packed.
    let _ = std::fs::remove_dir_all(types);
    process::run(&mut tool("tsc", "typescript/bin/tsc", &["--project", PROJECTS[0]]).1)
}

fn tool(name: &'static str, script: &str, arguments: &[&str]) -> (&'static str, Command) {
    let mut command = Command::new("node");
    command.current_dir(folders::root()).arg(folders::root().join("node_modules").join(script)).args(arguments);
    (name, command)
}
