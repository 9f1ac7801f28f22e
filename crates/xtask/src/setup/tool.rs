//! Programs from crates.io, installed into the kept folder.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    folders,
    process::{self, Failure, Result},
    setup::may_install,
};

/// A program of an exact version.
pub struct Tool {
    pub package: &'static str,
    pub program: &'static str,
    pub version: &'static str,
    /// Whether to build with the versions that its authors tested.
    pub locked: bool,
    pub why: &'static str,
}

impl Tool {
    /// The one of the kept folder; else the one on PATH, if it is of this version; else where it is going to be.
    pub fn path(&self) -> PathBuf {
        let kept = folders::tools().join("bin").join(format!("{}{}", self.program, std::env::consts::EXE_SUFFIX));
        if self.is_this(&kept) {
            return kept;
        }
        process::find(self.program).filter(|found| self.is_this(found)).unwrap_or(kept)
    }

    pub fn find_or_install(&self) -> Result<()> {
        if self.is_this(&self.path()) {
            return Ok(());
        }
        let Self { package, version, why, .. } = self;
        let mut install = self.install();
        if !may_install() {
            return Err(Failure(format!("{package} {version} is missing, which {why}. Install it with: {}", process::line(&install))));
        }
        println!("Installing {package} {version}, which {why}, into {} (some minutes, once)", folders::tools().display());
        process::run(&mut install)?;
        if self.is_this(&self.path()) {
            Ok(())
        } else {
            Err(Failure(format!("{package} was installed but does not say that it is version {version}")))
        }
    }

    fn install(&self) -> Command {
        let mut command = Command::new("cargo");
        command.current_dir(folders::root()).args(["install", &format!("{}@{}", self.package, self.version), "--root"]).arg(folders::tools());
        if self.locked {
            command.arg("--locked");
        }
        // Little optimised: they are built in a third of the time and fast enough.
        command.env("CARGO_TARGET_DIR", folders::tools().join("target")).env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1");
        command.env("CARGO_PROFILE_RELEASE_LTO", "off").env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
        command
    }

    fn is_this(&self, path: &Path) -> bool {
        process::output(Command::new(path).arg("--version")).is_some_and(|says| says.split_whitespace().any(|word| word == self.version))
    }
}
