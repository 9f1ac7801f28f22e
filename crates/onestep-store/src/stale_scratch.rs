//! Temporary names, and removal of stale temporary files that killed processes left.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState};
use std::path::{Path, PathBuf};

use crate::{error::StoreError, lock::Lock};

/// Separates the destination's name and the process id in temporary names.
const MARK: &str = ".onestep-";
/// Suffix of the old folder during a replacement, on file systems that cannot exchange two folders.
const OLD: &str = ".old";
/// Longer names of destinations, in bytes, are replaced by a hash, because file systems limit names to 255 bytes.
const LONGEST: usize = 180;

/// The hidden temporary names of one destination, in the same folder and therefore on the same file system.
#[derive(Clone, Debug)]
pub(crate) struct ScratchNames {
    folder: PathBuf,
    prefix: String,
}

impl ScratchNames {
    /// The names for the destination `name` in `folder`.
    pub(crate) fn new(folder: &Path, name: &OsStr) -> Self {
        let readable = name.to_str().filter(|name| name.len() <= LONGEST);
        let stem = readable.map_or_else(
            || {
                let mut hasher = DefaultHasher::new();
                name.hash(&mut hasher);
                format!("{:016x}", hasher.finish())
            },
            str::to_owned,
        );
        Self { folder: folder.to_owned(), prefix: format!(".{stem}{MARK}") }
    }

    /// The path of the destination's lock file.
    pub(crate) fn lock(&self) -> PathBuf {
        self.folder.join(format!("{}lock", self.prefix))
    }

    /// A unique path with the process id and a random number.
    pub(crate) fn fresh(&self) -> PathBuf {
        let random = RandomState::new().hash_one(std::time::SystemTime::now());
        self.folder.join(format!("{}{}-{random:016x}", self.prefix, std::process::id()))
    }

    /// The path of the old folder while `scratch` replaces it.
    pub(crate) fn old_of(scratch: &Path) -> PathBuf {
        let mut name = scratch.as_os_str().to_owned();
        name.push(OLD);
        PathBuf::from(name)
    }

    fn is_scratch(&self, name: &str) -> bool {
        name.strip_prefix(&self.prefix).is_some_and(is_suffix)
    }

    /// Removes stale temporary files of this destination; the caller holds its lock. A folder that was being replaced when its process was killed
    /// is restored.
    pub(crate) fn clear(&self, destination: &Path) -> Result<(), StoreError> {
        let storage = |error: std::io::Error| StoreError::storage("listing", &self.folder, &error);
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(storage)? {
            let entry = entry.map_err(storage)?;
            if entry.file_name().to_str().is_some_and(|name| self.is_scratch(name)) {
                found.push(entry.path());
            }
        }
        found.sort();
        for path in &found {
            if is_old_folder(path) && fs::symlink_metadata(destination).is_err() {
                fs::rename(path, destination).map_err(|error| StoreError::storage("putting back", destination, &error))?;
            } else {
                remove(path)?;
            }
        }
        Ok(())
    }
}

/// True for an old folder of an interrupted replacement, but not for a link.
fn is_old_folder(path: &Path) -> bool {
    path.as_os_str().to_string_lossy().ends_with(OLD) && fs::symlink_metadata(path).is_ok_and(|found| found.is_dir())
}

/// `PID-RANDOM` or `PID-RANDOM.old`.
fn is_suffix(text: &str) -> bool {
    let text = text.strip_suffix(OLD).unwrap_or(text);
    text.split_once('-').is_some_and(|(process, random)| {
        !process.is_empty()
            && process.bytes().all(|byte| byte.is_ascii_digit())
            && random.len() == 16
            && random.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    })
}

/// True if `name` is a temporary name of one of the `files` in the same folder.
pub(crate) fn is_scratch_of(name: &str, files: &BTreeSet<String>) -> bool {
    let (folder, name) = name.rsplit_once('/').map_or(("", name), |(folder, name)| (folder, name));
    let scratch = name.strip_prefix('.').and_then(|name| name.rsplit_once(MARK));
    let in_folder = |of: &str| if folder.is_empty() { of.to_owned() } else { format!("{folder}/{of}") };
    scratch.is_some_and(|(of, suffix)| (is_suffix(suffix) || suffix == "lock") && files.contains(&in_folder(of)))
}

/// Removes a file or folder; a link is removed and not followed.
pub(crate) fn remove(path: &Path) -> Result<(), StoreError> {
    let is_folder = fs::symlink_metadata(path).is_ok_and(|found| found.is_dir());
    let removed = if is_folder { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    removed.map_err(|error| StoreError::storage("removing", path, &error))
}

/// Removes stale temporary files in a folder that `lock` protects, and in its subfolders `inner`.
///
/// # Errors
/// Storage.
pub fn remove_stale_scratch(folder: &Path, inner: &[&str], lock: &Lock) -> Result<(), StoreError> {
    if !lock.is_held() {
        return Ok(());
    }
    for folder in std::iter::once(folder.to_owned()).chain(inner.iter().map(|name| folder.join(name))) {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let scratch = name.to_str().and_then(|name| name.strip_prefix('.')?.rsplit_once(MARK));
            if let Some((destination, _)) = scratch.filter(|(_, suffix)| is_suffix(suffix) || *suffix == "lock") {
                let destination = folder.join(destination);
                if is_old_folder(&entry.path()) && fs::symlink_metadata(&destination).is_err() {
                    fs::rename(entry.path(), &destination).map_err(|error| StoreError::storage("putting back", &destination, &error))?;
                } else {
                    remove(&entry.path())?;
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_scratch_names_of_the_destination_are_cleared() {
        let home = tempfile::tempdir().unwrap();
        let names = ScratchNames::new(home.path(), OsStr::new("b"));
        let mine = names.fresh();
        fs::create_dir_all(mine.join("deep")).unwrap();
        fs::write(names.fresh(), "x").unwrap();
        let kept = [
            "b.old",
            "b.partial",
            ".b.old",
            ".b.onestep-",
            ".b.onestep-12-xyz",
            ".b.onestep-notes",
            ".bb.onestep-1-0123456789abcdef",
            ".b.partial-7",
        ];
        for name in kept {
            fs::create_dir(home.path().join(name)).unwrap();
        }
        names.clear(&home.path().join("b")).unwrap();
        let mut left: Vec<_> = fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        left.sort();
        let mut kept = kept.map(str::to_owned);
        kept.sort();
        assert_eq!(left, kept);
    }

    #[test]
    fn a_folder_that_was_being_replaced_is_put_back() {
        let home = tempfile::tempdir().unwrap();
        let names = ScratchNames::new(home.path(), OsStr::new("b"));
        let old = ScratchNames::old_of(&names.fresh());
        fs::create_dir(&old).unwrap();
        fs::write(old.join("a"), "a").unwrap();
        names.clear(&home.path().join("b")).unwrap();
        assert_eq!(fs::read_to_string(home.path().join("b/a")).unwrap(), "a");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
    }

    #[test]
    fn long_and_odd_names_have_scratch_names() {
        let home = tempfile::tempdir().unwrap();
        let long = "n".repeat(255);
        let names = ScratchNames::new(home.path(), OsStr::new(&long));
        fs::write(names.fresh(), "").unwrap();
        assert_ne!(names.fresh(), names.fresh());
    }
}
