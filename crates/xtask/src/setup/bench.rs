//! What the comparison with other systems needs of npm and PyPI: kept next to the other tools, out of the repository.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    folders,
    process::{self, Failure, Result, while_doing},
    setup::browser,
};

/// What runs the comparison.
pub struct Tools {
    pub node: PathBuf,
    pub chromium: PathBuf,
    /// A Python with `benches/requirements.txt`.
    pub python: PathBuf,
    /// The folder with `node_modules`.
    pub packages: PathBuf,
}

pub fn install() -> Result<Tools> {
    let missing = |what: &str| Failure(format!("{what} is missing, which the comparison needs"));
    let node = process::find("node").ok_or_else(|| missing("Node"))?;
    let chromium = browser::chromium().ok_or_else(|| missing("Chromium"))?;
    Ok(Tools { node, chromium, python: python()?, packages: packages()? })
}

/// Does something once for each state of a file; a copy of the file next to the result marks it as done.
fn once(wanted: &Path, mark: &Path, does: impl FnOnce() -> Result<()>) -> Result<()> {
    let text = fs::read(wanted).map_err(while_doing(wanted.display()))?;
    if fs::read(mark).is_ok_and(|done| done == text) {
        return Ok(());
    }
    does()?;
    fs::write(mark, text).map_err(while_doing(mark.display()))
}

/// onnxruntime-web, and what drives the browser.
fn packages() -> Result<PathBuf> {
    let (benches, kept) = (folders::root().join("benches"), folders::bench().join("npm"));
    once(&benches.join("package-lock.json"), &kept.join("installed-lock.json"), || {
        let npm = process::find("npm").ok_or_else(|| Failure("npm is missing, which fetches the other side of the comparison".into()))?;
        println!("Fetching onnxruntime-web, to compare with, and playwright-core, which drives the browser, into {}", kept.display());
        fs::create_dir_all(&kept).map_err(while_doing(kept.display()))?;
        for name in ["package.json", "package-lock.json", ".npmrc"] {
            fs::copy(benches.join(name), kept.join(name)).map_err(while_doing(name))?;
        }
        process::run(Command::new(npm).current_dir(&kept).args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]))
    })?;
    Ok(kept)
}

/// PyTorch and diffusers, which make the networks and export them, and onnxruntime.
fn python() -> Result<PathBuf> {
    if let Some(own) = env::var_os("ONESTEP_BENCH_PYTHON").filter(|value| !value.is_empty()) {
        return Ok(PathBuf::from(own));
    }
    let (requirements, kept) = (folders::root().join("benches/requirements.txt"), folders::bench().join("python"));
    let python = if cfg!(windows) { kept.join("Scripts/python.exe") } else { kept.join("bin/python") };
    once(&requirements, &kept.join("installed-requirements.txt"), || {
        let found = ["python3", "python"].iter().find_map(|name| process::find(name));
        let found = found.ok_or_else(|| Failure("Python is missing, which exports the networks for the other side of the comparison".into()))?;
        println!(
            "Installing PyTorch, diffusers and onnxruntime (benches/requirements.txt) into {} (6 GB, once; ONESTEP_BENCH_PYTHON names another Python that has them)",
            kept.display()
        );
        process::run(Command::new(found).args(["-m", "venv", "--clear"]).arg(&kept))?;
        process::run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]).arg(&requirements))
    })?;
    Ok(python)
}
