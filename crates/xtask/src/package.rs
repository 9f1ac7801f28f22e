//! The npm package: its WebAssembly builds, its generated types, and the archive that npm would publish.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    folders, javascript, page,
    process::{self, Failure, Result, while_doing},
    setup,
    wasm::Module,
};

/// The package's folder.
fn folder() -> PathBuf {
    folders::root().join("web/packages/onestep")
}

pub fn run(options: &[&str]) -> Result<()> {
    if let Some(other) = options.first() {
        return Err(Failure(format!("cargo xtask package does not know {other:?}; it takes nothing")));
    }
    page::build(&setup::page()?)?;
    let archive = pack(&folders::target().join("package"))?;
    println!("The package is {}", archive.display());
    Ok(())
}

/// Packs the package with the WebAssembly builds of the page that was built last; the archive is in `into`.
pub fn pack(into: &Path) -> Result<PathBuf> {
    javascript::declarations()?;
    let wasm = folder().join("wasm");
    fs::create_dir_all(&wasm).map_err(while_doing(wasm.display()))?;
    for module in Module::ALL {
        for name in [format!("{}.js", module.name()), format!("{}_bg.wasm", module.name())] {
            let built = folders::root().join("dist").join(&name);
            fs::copy(&built, wasm.join(&name)).map_err(while_doing(built.display()))?;
        }
    }
    fs::create_dir_all(into).map_err(while_doing(into.display()))?;
    let npm = process::find("npm").ok_or_else(|| Failure("npm is missing, which packs the package".into()))?;
    process::run(Command::new(npm).current_dir(folder()).args(["pack", "--silent", "--pack-destination"]).arg(into))?;
    let mut archives: Vec<PathBuf> = fs::read_dir(into)
        .map_err(while_doing(into.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "tgz"))
        .collect();
    archives.sort();
    archives.pop().ok_or_else(|| Failure(format!("npm packed nothing into {}", into.display())))
}
