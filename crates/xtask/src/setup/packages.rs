//! What the operating system's packages bring.

use std::{env, fs, path::Path, process::Command};

use crate::{
    process::{self, Failure, Result},
    setup::may_install,
};

/// Something that a package brings, and how to see that it is there.
pub struct Package {
    /// Its name in Debian and Ubuntu.
    debian: &'static str,
    why: &'static str,
    is_there: fn() -> bool,
}

pub const NODE: Package = Package { debian: "nodejs", why: "runs the browser tests", is_there: || process::find("node").is_some() };
pub const NPM: Package = Package { debian: "npm", why: "fetches what the browser tests use", is_there: || process::find("npm").is_some() };
pub const CHROMIUM: Package =
    Package { debian: "chromium", why: "is the browser of the browser tests", is_there: || super::browser::chromium().is_some() };
pub const VULKAN: Package = Package {
    debian: "mesa-vulkan-drivers",
    why: "is a graphics driver that needs no GPU",
    is_there: || !cfg!(target_os = "linux") || has_vulkan_driver(),
};
pub const PYTHON: Package = Package {
    debian: "python3-venv",
    why: "runs what we are compared with",
    is_there: || process::find("python3").is_some() || process::find("python").is_some(),
};
pub const EMOJI_FONT: Package = Package {
    debian: "fonts-noto-color-emoji",
    why: "holds the images of the built-in data",
    is_there: || !cfg!(target_os = "linux") || Path::new("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf").is_file(),
};
pub const EMOJI_NAMES: Package = Package {
    debian: "unicode-cldr-core",
    why: "holds their names",
    is_there: || !cfg!(target_os = "linux") || Path::new("/usr/share/unicode/cldr/common/annotations/en.xml").is_file(),
};
/// A compiler for wasm32 where rustup can fetch no target: the compiler, its cargo and the source of its standard library.
pub const RUSTC_WEB: Package = Package { debian: "rustc-web", why: "compiles for browsers", is_there: || Path::new("/usr/bin/rustc").is_file() };
pub const CARGO_WEB: Package =
    Package { debian: "cargo-web", why: "builds the standard library for browsers", is_there: || Path::new("/usr/bin/cargo").is_file() };
pub const RUST_SRC: Package =
    Package { debian: "rust-web-src", why: "is the standard library's source", is_there: || super::wasm_std::source().is_some() };

fn has_vulkan_driver() -> bool {
    let folders = ["/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d", "/run/opengl-driver/share/vulkan/icd.d"];
    env::var_os("VK_ICD_FILENAMES").is_some() || folders.iter().any(|folder| fs::read_dir(folder).is_ok_and(|mut files| files.next().is_some()))
}

/// Installs those that are missing in one go.
pub fn find_or_install(packages: &[Package]) -> Result<()> {
    let missing: Vec<&Package> = packages.iter().filter(|package| !(package.is_there)()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = missing.iter().map(|package| package.debian).collect();
    let reasons: Vec<String> = missing.iter().map(|package| format!("{} ({})", package.debian, package.why)).collect();
    let by_hand = format!("apt-get install --no-install-recommends {}", names.join(" "));
    if process::find("apt-get").is_none() {
        return Err(Failure(format!(
            "missing: {}. These are Debian's names; install the like of them with this machine's packages",
            reasons.join(", ")
        )));
    }
    if !may_install() || !is_root() {
        return Err(Failure(format!("missing: {}. Run: sudo {by_hand}", reasons.join(", "))));
    }
    println!("Installing {}", reasons.join(", "));
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").args(arguments);
        command
    };
    let install = [&["install", "--yes", "--quiet", "--no-install-recommends"], names.as_slice()].concat();
    // A machine that was made just now has no lists of packages yet.
    if process::run(&mut apt(&install)).is_err() {
        process::run(&mut apt(&["update", "--quiet"]))?;
        process::run(&mut apt(&install))?;
    }
    match missing.iter().find(|package| !(package.is_there)()) {
        Some(package) => Err(Failure(format!("{} is installed, but what it should bring is not there", package.debian))),
        None => Ok(()),
    }
}

pub fn is_root() -> bool {
    process::output(Command::new("id").arg("-u")).is_some_and(|id| id == "0")
}
