//! What must be on the machine: each thing is looked for first, then installed, and where that may not be, its command is said.

mod bench;
mod browser;
mod packages;
mod tool;
mod wasm_std;

use std::path::PathBuf;

use crate::{
    folders, native,
    process::{self, Result},
    wasm::Toolchain,
};

/// Pinned here and in Trunk.toml's build; the second is the version in Cargo.lock.
const TRUNK: tool::Tool = tool::Tool { package: "trunk", program: "trunk", version: "0.21.14", locked: true, why: "builds the page" };
/// Its own lock file names a version that has been withdrawn.
const WASM_BINDGEN: tool::Tool = tool::Tool {
    package: "wasm-bindgen-cli",
    program: "wasm-bindgen",
    version: "0.2.130",
    locked: false,
    why: "makes JavaScript's side of the wasm module",
};

/// deny.toml is written for this version.
const CARGO_DENY: tool::Tool = tool::Tool {
    package: "cargo-deny",
    program: "cargo-deny",
    version: "0.20.2",
    locked: true,
    why: "checks licences, sources and known faults of dependencies",
};

/// What the page needs.
pub fn page() -> Result<Toolchain> {
    let toolchain = wasm_std::find_or_install()?;
    TRUNK.find_or_install()?;
    WASM_BINDGEN.find_or_install()?;
    Ok(toolchain)
}

/// What the native tests need: a graphics driver, and the images and names that the model is trained on.
pub fn native() -> Result<()> {
    packages::find_or_install(&[packages::VULKAN, packages::EMOJI_FONT, packages::EMOJI_NAMES])
}

/// What the check of dependencies needs: its program, which it gives, and the crates of the lock file, those of other platforms included.
pub fn deny() -> Result<PathBuf> {
    CARGO_DENY.find_or_install()?;
    process::run(native::cargo().args(["fetch", "--locked", "--quiet"]))?;
    Ok(CARGO_DENY.path())
}

/// What the browser tests need besides the page.
pub fn browser() -> Result<browser::Programs> {
    packages::find_or_install(&[packages::NODE, packages::NPM, packages::CHROMIUM])?;
    browser::install()
}

/// What the checks of JavaScript and the npm package's types need.
pub fn javascript() -> Result<()> {
    packages::find_or_install(&[packages::NODE, packages::NPM])?;
    browser::fetch_packages(&folders::root(), "the checks of JavaScript")?;
    // The tests' types come from what they use.
    browser::fetch_packages(&browser::tests(), "the browser tests")
}

/// What the comparison with others needs besides the page.
pub fn bench() -> Result<bench::Tools> {
    packages::find_or_install(&[packages::NODE, packages::NPM, packages::CHROMIUM, packages::VULKAN, packages::PYTHON])?;
    bench::install()
}

/// Everything.
pub fn everything() -> Result<()> {
    native()?;
    deny()?;
    page()?;
    javascript()?;
    browser()?;
    println!("Everything is there: `cargo xtask page` shows the page, `cargo xtask test` runs the tests.");
    Ok(())
}

/// The trunk that set-up found or installed.
pub fn trunk() -> PathBuf {
    TRUNK.path()
}

/// The wasm-bindgen that set-up found or installed.
pub fn wasm_bindgen() -> PathBuf {
    WASM_BINDGEN.path()
}

/// Whether set-up may change the machine outside its own folder.
fn may_install() -> bool {
    std::env::var("ONESTEP_INSTALL").map_or(true, |answer| answer != "no")
}
