//! Programs from crates.io, installed into the kept folder.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    folders,
    process::{self, Failure, Result},
    setup::Missing,
};

/// A program of an exact version.
pub struct Tool {
    pub package: &'static str,
    pub program: &'static str,
    pub version: &'static str,
    pub default_features: bool,
    /// Of the compiler: low, or optimising takes longer than all that the program ever runs.
    pub opt_level: &'static str,
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

    pub fn missing(&self) -> Option<Missing> {
        if self.is_this(&self.path()) {
            return None;
        }
        Some(Missing {
            what: vec![(format!("{} {}", self.package, self.version), self.why)],
            location: "some minutes".to_owned(),
            command: process::line(&self.install()),
            by_hand: false,
        })
    }

    pub fn find_or_install(&self) -> Result<()> {
        if self.is_this(&self.path()) {
            return Ok(());
        }
        process::run(&mut self.install())?;
        if self.is_this(&self.path()) {
            Ok(())
        } else {
            Err(Failure(format!("{} was installed but does not say that it is version {}", self.package, self.version)))
        }
    }

    fn install(&self) -> Command {
        let mut command = Command::new("cargo");
        command.current_dir(folders::root()).args(["install", "--locked", "--profile=dev", &format!("{}@{}", self.package, self.version), "--root"]);
        command.arg(folders::tools());
        if !self.default_features {
            command.arg("--no-default-features");
        }
        command.env("CARGO_TARGET_DIR", folders::tools().join("target")).env("CARGO_PROFILE_DEV_OPT_LEVEL", self.opt_level);
        // So a crate that macros use as well as the program is compiled once for both.
        for setting in ["DEBUG", "DEBUG_ASSERTIONS", "OVERFLOW_CHECKS", "INCREMENTAL"] {
            command.env(format!("CARGO_PROFILE_DEV_{setting}"), "false");
        }
        command
    }

    fn is_this(&self, path: &Path) -> bool {
        process::output(Command::new(path).arg("--version"))
            .is_some_and(|says| says.split_whitespace().any(|word| word.trim_start_matches('v') == self.version))
    }
}
