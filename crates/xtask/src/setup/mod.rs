//! What must be on the machine: each thing is looked for first, then named with its command, then installed if that is allowed.

mod bench;
mod bindgen;
mod browser;
mod missing;
mod npm;
mod packages;
mod tool;
mod wasm_std;

use std::path::PathBuf;

use crate::{
    native,
    process::{self, Result},
    setup::packages::Package,
    wasm::Toolchain,
};

pub use missing::{Missing, announce};

/// Without its default features: TLS, for downloading tools, which set-up does, and for serving HTTPS; and asking whether there is a newer trunk.
const TRUNK: tool::Tool =
    tool::Tool { package: "trunk", program: "trunk", version: "0.21.14", default_features: false, opt_level: "0", why: "builds and serves the page" };

/// deny.toml is written for this version.
const CARGO_DENY: tool::Tool = tool::Tool {
    package: "cargo-deny",
    program: "cargo-deny",
    version: "0.20.2",
    default_features: true,
    opt_level: "1",
    why: "checks licences, sources and known faults of dependencies",
};

/// Without serving, watching and searching.
const MDBOOK: tool::Tool =
    tool::Tool { package: "mdbook", program: "mdbook", version: "0.5.4", default_features: false, opt_level: "0", why: "builds the book" };

/// eslint, prettier and TypeScript.
const JAVASCRIPT: npm::Packages = npm::Packages { folder: "", why: "check JavaScript and generate the npm package's types" };

/// The operating system's packages that the steps need.
const FOR_NATIVE: [Package; 3] = [packages::VULKAN, packages::EMOJI_FONT, packages::EMOJI_NAMES];
const FOR_JAVASCRIPT: [Package; 2] = [packages::NODE, packages::NPM];
const FOR_BROWSER: [Package; 3] = [packages::NODE, packages::NPM, packages::CHROMIUM];
const FOR_BENCH: [Package; 5] = [packages::NODE, packages::NPM, packages::CHROMIUM, packages::VULKAN, packages::PYTHON];

/// What is missing for [`page`], and so on for the others.
pub fn missing_for_page() -> Vec<Missing> {
    [wasm_std::missing(), TRUNK.missing(), bindgen::missing()].into_iter().flatten().collect()
}

pub fn missing_for_native() -> Vec<Missing> {
    packages::missing(&FOR_NATIVE).into_iter().collect()
}

pub fn missing_for_deny() -> Vec<Missing> {
    CARGO_DENY.missing().into_iter().collect()
}

pub fn missing_for_javascript() -> Vec<Missing> {
    packages::missing(&FOR_JAVASCRIPT).into_iter().chain(JAVASCRIPT.missing()).chain(browser::PACKAGES.missing()).collect()
}

pub fn missing_for_browser() -> Vec<Missing> {
    packages::missing(&FOR_BROWSER).into_iter().chain(browser::PACKAGES.missing()).collect()
}

/// What the page needs.
pub fn page() -> Result<Toolchain> {
    missing::agree(&missing_for_page())?;
    let compiler = wasm_std::find_or_install()?;
    TRUNK.find_or_install()?;
    Ok(Toolchain { compiler, bindgen: bindgen::find_or_build()? })
}

/// What the native tests need: a graphics driver, and the images and names that the model is trained on.
pub fn native() -> Result<()> {
    missing::agree(&missing_for_native())?;
    packages::find_or_install(&FOR_NATIVE)
}

/// What the check of dependencies needs: its program, which it gives, and the crates of the lock file, those of other platforms included.
pub fn deny() -> Result<PathBuf> {
    missing::agree(&missing_for_deny())?;
    CARGO_DENY.find_or_install()?;
    process::run(native::cargo().args(["fetch", "--locked", "--quiet"]))?;
    Ok(CARGO_DENY.path())
}

/// What the documentation needs besides the page and the browser tests: the program that builds the book, which it gives.
pub fn mdbook() -> Result<PathBuf> {
    missing::agree(MDBOOK.missing().as_slice())?;
    MDBOOK.find_or_install()?;
    Ok(MDBOOK.path())
}

/// What the browser tests need besides the page.
pub fn browser() -> Result<browser::Programs> {
    missing::agree(&missing_for_browser())?;
    packages::find_or_install(&FOR_BROWSER)?;
    browser::install()
}

/// What the checks of JavaScript and the npm package's types need.
pub fn javascript() -> Result<()> {
    missing::agree(&missing_for_javascript())?;
    packages::find_or_install(&FOR_JAVASCRIPT)?;
    JAVASCRIPT.install()?;
    // The tests' types come from what they use.
    browser::PACKAGES.install()
}

/// What the comparison with others needs besides the page.
pub fn bench() -> Result<bench::Tools> {
    missing::agree(packages::missing(&FOR_BENCH).as_slice())?;
    packages::find_or_install(&FOR_BENCH)?;
    bench::install()
}

/// Everything.
pub fn everything() -> Result<()> {
    announce(
        [missing_for_native, missing_for_deny, missing_for_page, missing_for_javascript, missing_for_browser]
            .into_iter()
            .flat_map(|missing| missing())
            .collect(),
    );
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
