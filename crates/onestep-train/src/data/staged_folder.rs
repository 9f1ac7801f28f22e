//! A folder that appears whole or not at all: filled beside its place, then renamed into it.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::error::DataError;

/// A folder being filled under a temporary name; it is removed again unless `publish` was called.
pub(super) struct StagedFolder {
    staged: PathBuf,
    place: PathBuf,
    files: Vec<PathBuf>,
    published: bool,
}

impl StagedFolder {
    /// Begins a folder that shall stand at `place`.
    pub fn begin(place: &Path) -> Result<Self, DataError> {
        let (parent, name) = parent_and_name(place)?;
        fs::create_dir_all(&parent).map_err(|e| DataError::writing(&parent, &e))?;
        let staged = parent.join(format!(".{name}.partial-{}", std::process::id()));
        if staged.exists() {
            fs::remove_dir_all(&staged).map_err(|e| DataError::writing(&staged, &e))?;
        }
        fs::create_dir(&staged).map_err(|e| DataError::writing(&staged, &e))?;
        Ok(Self { staged, place: parent.join(name), files: Vec::new(), published: false })
    }

    /// Writes one file. `name` is ours, a single segment.
    pub fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), DataError> {
        let path = self.staged.join(name);
        let written = File::create_new(&path).and_then(|mut file| file.write_all(bytes));
        written.map_err(|e| DataError::writing(&path, &e))?;
        self.files.push(path);
        Ok(())
    }

    /// Makes everything durable and moves the folder into its place. If `replace` is set, what stands there is moved away
    /// first, removed at the end, and put back if the move fails.
    pub fn publish(mut self, replace: bool) -> Result<PathBuf, DataError> {
        for path in &self.files {
            File::open(path).and_then(|f| f.sync_all()).map_err(|e| DataError::writing(path, &e))?;
        }
        sync_folder(&self.staged)?;
        let (parent, name) = parent_and_name(&self.place)?;
        let old = parent.join(format!(".{name}.old-{}", std::process::id()));
        if replace {
            fs::rename(&self.place, &old).map_err(|e| DataError::writing(&self.place, &e))?;
        }
        if let Err(e) = fs::rename(&self.staged, &self.place) {
            if replace && fs::rename(&old, &self.place).is_err() {
                return Err(DataError::writing(&self.place, &e).advise(format!("the folder that stood there is now {}", old.display())));
            }
            return Err(DataError::writing(&self.place, &e));
        }
        self.published = true;
        sync_folder(&parent)?;
        if replace {
            fs::remove_dir_all(&old).map_err(|e| DataError::writing(&old, &e))?;
        }
        Ok(self.place.clone())
    }
}

impl Drop for StagedFolder {
    fn drop(&mut self) {
        if !self.published {
            // Nothing can be done about a folder that cannot be removed; its name tells what it is.
            let _ = fs::remove_dir_all(&self.staged);
        }
    }
}

fn parent_and_name(place: &Path) -> Result<(PathBuf, String), DataError> {
    let name = place.file_name().and_then(|n| n.to_str()).ok_or_else(|| {
        DataError::input("making a folder", "a path that ends with the folder's name", format!("{}", place.display()))
            .advise("name the folder itself, for example ./emoji")
            .at(place)
    })?;
    let parent = match place.parent() {
        Some(p) if p.as_os_str().is_empty() => PathBuf::from("."),
        Some(p) => p.to_path_buf(),
        None => PathBuf::from("."),
    };
    Ok((parent, name.to_owned()))
}

/// A rename is durable only when its folder is; where folders cannot be opened (Windows) there is nothing to do.
fn sync_folder(path: &Path) -> Result<(), DataError> {
    if cfg!(unix) {
        File::open(path).and_then(|f| f.sync_all()).map_err(|e| DataError::writing(path, &e))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_appears_whole_or_not_at_all() {
        let home = tempfile::tempdir().unwrap();
        let place = home.path().join("deep/pictures");
        let mut staged = StagedFolder::begin(&place).unwrap();
        staged.write("a.txt", b"a").unwrap();
        assert!(!place.exists());
        drop(staged);
        assert_eq!(fs::read_dir(home.path().join("deep")).unwrap().count(), 0);

        let mut staged = StagedFolder::begin(&place).unwrap();
        staged.write("a.txt", b"a").unwrap();
        staged.publish(false).unwrap();
        let mut staged = StagedFolder::begin(&place).unwrap();
        staged.write("b.txt", b"b").unwrap();
        staged.publish(true).unwrap();
        let names: Vec<_> = fs::read_dir(&place).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["b.txt"]);
        assert_eq!(fs::read_dir(home.path().join("deep")).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_needs_a_name() {
        for place in ["/", ".", "..", "x/.."] {
            assert!(StagedFolder::begin(Path::new(place)).is_err(), "{place}");
        }
    }
}
