//! The checks of JavaScript: eslint, prettier and TypeScript, in the versions that `package.json` pins.

use std::{fs, process::Command};

use crate::{
    folders,
    process::{self, Failure, Result, while_doing},
    setup,
};

const PACKAGE: &str = "web/packages/onestep";
/// Folders with a `tsconfig.json`: the npm package and the page, both strict, and the browser tests.
const PROJECTS: [&str; 3] = [PACKAGE, ".", "tests/browser"];

/// Runs all checks, so that one call reports what each of them finds.
pub fn check() -> Result<()> {
    setup::javascript()?;
    let mut checks = vec![tool("eslint/bin/eslint.js", &["."]), tool("prettier/bin/prettier.cjs", &["--check", "."])];
    checks.extend(PROJECTS.map(|project| tool("typescript/bin/tsc", &["--noEmit", "--project", project])));
    let failures: Vec<String> = checks.iter_mut().filter_map(|check| process::run(check).err()).map(|Failure(sentence)| sentence).collect();
    if failures.is_empty() { Ok(()) } else { Err(Failure(format!("{} (`npm run format` repairs what prettier finds)", failures.join("; ")))) }
}

/// Generates the declarations of the npm package into its `types/`.
pub fn declarations() -> Result<()> {
    setup::javascript()?;
    let types = folders::root().join(PACKAGE).join("types");
    // Declarations of a source that is gone would be packed too.
    if types.exists() {
        fs::remove_dir_all(&types).map_err(while_doing(types.display()))?;
    }
    process::run(&mut tool("typescript/bin/tsc", &["--project", PACKAGE]))
}

fn tool(script: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("node");
    command.current_dir(folders::root()).arg(format!("node_modules/{script}")).args(arguments);
    command
}
