//! The model that the page is built with.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use crate::{
    folders,
    process::{Result, while_doing},
};

/// The bundle's folder, if it is there.
pub fn folder() -> Option<PathBuf> {
    let folder = env::var_os("ONESTEP_BUNDLE").filter(|value| !value.is_empty()).map_or_else(|| folders::root().join("models/emoji"), PathBuf::from);
    folder.join("manifest.json").is_file().then_some(folder)
}

/// Copies the bundle into the page that trunk is building. The page without one says so itself.
pub fn copy(staging: &Path) -> Result<()> {
    let Some(folder) = folder() else {
        println!("there is no bundle in models/emoji yet, so the page comes without a model");
        return Ok(());
    };
    let target = staging.join("bundle");
    fs::create_dir_all(&target).map_err(while_doing(target.display()))?;
    for entry in fs::read_dir(&folder).map_err(while_doing(folder.display()))? {
        let path = entry.map_err(while_doing(folder.display()))?.path();
        if let (true, Some(name)) = (path.is_file(), path.file_name()) {
            fs::copy(&path, target.join(name)).map_err(while_doing(path.display()))?;
        }
    }
    Ok(())
}
