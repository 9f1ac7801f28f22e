//! What the operating system's packages bring.

use std::{env, fs, path::Path, process::Command};

use crate::{
    process::{self, Failure, Result},
    setup::Missing,
};

/// Something that a package brings, and how to see that it is there.
pub struct Package {
    /// Its name in Debian and Ubuntu.
    pub debian: &'static str,
    pub why: &'static str,
    pub is_there: fn() -> bool,
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
fn has_vulkan_driver() -> bool {
    let folders = ["/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d", "/run/opengl-driver/share/vulkan/icd.d"];
    env::var_os("VK_ICD_FILENAMES").is_some() || folders.iter().any(|folder| fs::read_dir(folder).is_ok_and(|mut files| files.next().is_some()))
}

fn not_there(packages: &[Package]) -> Vec<&Package> {
    packages.iter().filter(|package| !(package.is_there)()).collect()
}

/// Those that are missing, with the one command that brings them.
pub fn missing(packages: &[Package]) -> Option<Missing> {
    let missing = not_there(packages);
    if missing.is_empty() {
        return None;
    }
    let (has_apt, is_root) = (process::find("apt-get").is_some(), is_root());
    let names: Vec<&str> = missing.iter().map(|package| package.debian).collect();
    let command = format!("{}apt-get install --no-install-recommends {}", if is_root { "" } else { "sudo " }, names.join(" "));
    Some(Missing {
        what: missing.iter().map(|package| (package.debian.to_owned(), package.why)).collect(),
        location: if has_apt { "packages of this system" } else { "Debian's names: install their like with this system's package manager" }
            .to_owned(),
        command,
        by_hand: !has_apt || !is_root,
    })
}

/// Installs those that are missing in one go.
pub fn find_or_install(packages: &[Package]) -> Result<()> {
    let missing = not_there(packages);
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = missing.iter().map(|package| package.debian).collect();
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
