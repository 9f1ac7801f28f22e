//! wasm-bindgen: the program on PATH if it has the version of the crate, else one built from this package on wasm-bindgen's library.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    folders, native,
    process::{self, Failure, Result, while_doing},
    setup::missing::{Missing, may_install},
};

/// Of the crate wasm-bindgen in Cargo.lock.
const VERSION: &str = "0.2.130";
const PROGRAM: &str = "wasm-bindgen";

fn is_right(program: &Path) -> bool {
    process::output(Command::new(program).arg("--version")).is_some_and(|says| says.split_whitespace().any(|word| word == VERSION))
}

fn on_path() -> Option<PathBuf> {
    process::find(PROGRAM).filter(|program| is_right(program))
}

/// The built one, in a folder where trunk finds it by its name.
fn kept() -> PathBuf {
    folders::tools().join("bin").join(format!("{PROGRAM}{}", std::env::consts::EXE_SUFFIX))
}

/// With the profile `tools` of Cargo.toml.
fn build() -> Command {
    let mut cargo = native::cargo();
    cargo.args(["build", "--locked", "--profile=tools", "--package=xtask", "--features=bindgen", "--bin=bindgen"]);
    cargo
}

pub fn missing() -> Option<Missing> {
    // Where nothing may be installed it is built all the same, since it is part of the repository like the page.
    if !may_install() || on_path().is_some() || is_right(&kept()) {
        return None;
    }
    Some(Missing {
        what: vec![(format!("wasm-bindgen {VERSION}"), "makes the JavaScript side of the page's WebAssembly, built from this repository")],
        location: format!("into {}", kept().display()),
        command: process::line(&build()),
        by_hand: false,
    })
}

/// Copies the program that cargo built. rustc refuses to build it under its name: it takes a crate `wasm_bindgen` of this package's version for an
/// old wasm-bindgen.
fn keep() -> Result<()> {
    let (built, kept) = (folders::target().join("tools").join(format!("bindgen{}", std::env::consts::EXE_SUFFIX)), kept());
    let program = fs::read(&built).map_err(while_doing(built.display()))?;
    if fs::read(&kept).is_ok_and(|kept| kept == program) {
        return Ok(());
    }
    fs::create_dir_all(folders::tools().join("bin")).map_err(while_doing(kept.display()))?;
    // Not over the old one, which another build may be running.
    let new = kept.with_extension(format!("new-{}", std::process::id()));
    fs::copy(&built, &new).and_then(|_| fs::rename(&new, &kept)).map_err(while_doing(kept.display()))
}

/// The program's path.
pub fn find_or_build() -> Result<PathBuf> {
    if let Some(found) = on_path() {
        return Ok(found);
    }
    // Where it is built already, cargo finds that within a second.
    process::run(&mut build())?;
    keep()?;
    if is_right(&kept()) { Ok(kept()) } else { Err(Failure(format!("{} was built and is not wasm-bindgen {VERSION}", kept().display()))) }
}
