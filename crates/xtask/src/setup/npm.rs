//! npm packages of the repository's lock files.

use std::{fs, path::PathBuf, process::Command};

use crate::{
    folders,
    process::{self, Failure, Result, while_doing},
    setup::Missing,
};

/// The packages of one `package-lock.json`.
pub struct Packages {
    /// The lock file's folder, relative to the repository; empty for its root.
    pub folder: &'static str,
    pub why: &'static str,
}

impl Packages {
    fn folder(&self) -> PathBuf {
        folders::root().join(self.folder)
    }

    fn lock_name(&self) -> String {
        if self.folder.is_empty() { "package-lock.json".to_owned() } else { format!("{}/package-lock.json", self.folder) }
    }

    /// A copy of the lock file that the packages were installed by.
    fn mark(&self) -> PathBuf {
        self.folder().join("node_modules/.installed-lock.json")
    }

    /// The lock file, unless its packages are installed.
    fn wanted(&self) -> Result<Option<Vec<u8>>> {
        let wanted = fs::read(self.folder().join("package-lock.json")).map_err(while_doing(self.lock_name()))?;
        Ok(Some(wanted).filter(|wanted| fs::read(self.mark()).ok().as_ref() != Some(wanted)))
    }

    fn npm_ci(&self, npm: PathBuf) -> Command {
        let mut command = Command::new(npm);
        command.current_dir(self.folder()).args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]);
        command
    }

    pub fn missing(&self) -> Option<Missing> {
        self.wanted().ok().flatten().map(|_| Missing {
            what: vec![(format!("npm packages of {}", self.lock_name()), self.why)],
            location: format!("into {}", self.folder().join("node_modules").display()),
            command: process::line(&self.npm_ci("npm".into())),
            by_hand: false,
        })
    }

    /// Installs the packages, unless they are there.
    pub fn install(&self) -> Result<()> {
        if let Some(wanted) = self.wanted()? {
            let npm = process::find("npm").ok_or_else(|| Failure(format!("npm is missing, which installs the packages of {}", self.lock_name())))?;
            process::run(&mut self.npm_ci(npm))?;
            fs::write(self.mark(), wanted).map_err(while_doing(self.mark().display()))?;
        }
        Ok(())
    }
}
