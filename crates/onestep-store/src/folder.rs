//! Results that are folders.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::{
    error::{StoreError, StoreErrorKind},
    lock::Lock,
    overlap::{refuse_overlap, resolved},
    reading::read_at_most,
    record::{RECORD_BYTES, RECORD_FILE, record},
    stale_scratch::{ScratchNames, is_scratch_of, remove},
    sync_folder,
};

/// Files that file managers create in any folder.
const LITTER: [&str; 3] = [".DS_Store", "Thumbs.db", "desktop.ini"];

/// A kind of folder that onestep writes.
#[derive(Clone, Copy, Debug)]
pub struct FolderKind {
    /// A noun phrase for errors: "a bundle".
    pub name: &'static str,
    /// The name of the file that marks such a folder.
    pub mark: &'static str,
    /// Given the content of the mark, the paths that the folder may hold, including the mark; `None` if it is not a mark of this kind.
    pub files: fn(&[u8]) -> Option<BTreeSet<String>>,
    /// True if [`publish`](FolderDestination::publish) adds the mark, a [`RECORD_FILE`]; false if the mark is one of the written files.
    pub is_recorded: bool,
}

/// A kind that is marked by a [`RECORD_FILE`].
#[macro_export]
macro_rules! recorded_folder_kind {
    ($name:literal) => {
        $crate::FolderKind { name: $name, mark: $crate::RECORD_FILE, files: |bytes| $crate::record_files($name, bytes), is_recorded: true }
    };
}

/// A folder that is being built under a temporary name, with the lock of its destination. Dropped without [`publish`](Self::publish), it is
/// removed.
#[derive(Debug)]
pub struct FolderDestination {
    kind: FolderKind,
    /// As the user gave it.
    given: PathBuf,
    /// Without links.
    target: PathBuf,
    names: ScratchNames,
    scratch: PathBuf,
    is_begun: bool,
    /// Names that the destination may hold even without a mark.
    also: BTreeSet<String>,
    /// Folders above the destination that were created for it, the deepest first.
    created: Vec<PathBuf>,
    lock: Option<Lock>,
}

impl FolderDestination {
    /// Locks the destination and checks that it may be replaced; see the [crate] for the rules. Call this before computing the result. Until
    /// something is written, only a hidden lock file is created.
    ///
    /// # Errors
    /// [`StoreErrorKind::Destination`] for a destination that must not be replaced, or that is one of `sources`, contains one or is inside one;
    /// [`StoreErrorKind::Busy`] if another process is writing it; storage.
    pub fn acquire(path: &Path, kind: FolderKind, sources: &[&Path]) -> Result<Self, StoreError> {
        refuse_overlap(kind.name, path, sources)?;
        Self::acquire_over(path, kind, BTreeSet::new())
    }

    /// Like [`acquire`](Self::acquire), for a path that only onestep writes to. A folder there may lack its mark, as after disk damage, if it holds
    /// no files except those named in `also`.
    ///
    /// # Errors
    /// Those of [`acquire`](Self::acquire).
    pub fn acquire_over(path: &Path, kind: FolderKind, also: BTreeSet<String>) -> Result<Self, StoreError> {
        let target = target(path, kind.name)?;
        check(path, &target, kind, &also)?;
        let (parent, name) = parent_and_name(&target, path, kind.name)?;
        let target = parent.join(&name);
        refuse_mount_point(path, &target, &parent, kind.name)?;
        let created = create_parents(&parent)?;
        let mut destination = Self {
            kind,
            given: path.to_owned(),
            names: ScratchNames::new(&parent, &name),
            scratch: PathBuf::new(),
            is_begun: false,
            also,
            target,
            created,
            lock: None,
        };
        destination.scratch = destination.names.fresh();
        let lock = Lock::acquire_temporary(&destination.names.lock(), path)?;
        let may_clear = lock.is_held();
        destination.lock = Some(lock);
        if may_clear {
            destination.names.clear(&destination.target)?;
        }
        // Another process may have written it until it gave us the lock.
        check(path, &destination.target, kind, &destination.also)?;
        Ok(destination)
    }

    /// The path of the folder that is being built, for writers that take a path.
    ///
    /// # Errors
    /// Storage.
    pub fn begin(&mut self) -> Result<&Path, StoreError> {
        if !self.is_begun {
            fs::create_dir(&self.scratch).map_err(|error| StoreError::storage("creating", &self.scratch, &error))?;
            self.is_begun = true;
        }
        Ok(&self.scratch)
    }

    /// Writes one file; `name` is a path within the folder, `/` between its parts.
    ///
    /// # Errors
    /// Storage.
    pub fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let mut file = self.create(name)?;
        file.write_all(bytes).map_err(|error| StoreError::storage("writing", &self.scratch.join(name), &error))
    }

    /// Copies a file from elsewhere, without its permissions; `name` is a path within the folder, `/` between its parts.
    ///
    /// # Errors
    /// Those of [`open`](crate::open); storage.
    pub fn copy(&mut self, name: &str, from: &Path) -> Result<(), StoreError> {
        let (mut source, _) = crate::open(from)?;
        let mut file = self.create(name)?;
        io::copy(&mut source, &mut file).map_err(|error| StoreError::storage("copying", from, &error))?;
        Ok(())
    }

    /// Creates a file to be written in chunks; `name` is a path within the folder, `/` between its parts.
    ///
    /// # Errors
    /// Storage.
    pub fn create(&mut self, name: &str) -> Result<File, StoreError> {
        let path = self.begin()?.join(name);
        if let Some(parent) = path.parent() {
            crate::create_folder(parent)?;
        }
        File::create_new(&path).map_err(|error| StoreError::storage("writing", &path, &error))
    }

    /// Syncs everything to disk and moves the folder to its destination in one step; the replaced folder is removed afterwards.
    ///
    /// # Errors
    /// [`StoreErrorKind::Destination`] if the destination holds foreign files by now; storage. The destination is then unchanged.
    pub fn publish(mut self) -> Result<(), StoreError> {
        self.begin()?;
        let Content { mut files, mut paths, folders } = Content::of(&self.scratch)?;
        if self.kind.is_recorded {
            self.write(RECORD_FILE, &record(self.kind.name, &files)?)?;
            files.insert(RECORD_FILE.to_owned());
            paths.push(self.scratch.join(RECORD_FILE));
        }
        for path in &paths {
            File::open(path).and_then(|file| file.sync_all()).map_err(|error| StoreError::storage("writing", path, &error))?;
        }
        // The innermost first: an entry is durable when the folder that holds it is synced.
        folders.iter().rev().try_for_each(|folder| sync_folder(folder))?;
        check(&self.given, &self.target, self.kind, &self.also)?;
        keep_permissions(&self.scratch, &self.target, &files)?;
        let replaced = move_to(&self.scratch, &self.target)?;
        self.is_begun = false;
        self.created.clear();
        sync_folder(self.target.parent().unwrap_or(Path::new(".")))?;
        if let Some(old) = replaced {
            remove(&old)?;
        }
        Ok(())
    }
}

impl Drop for FolderDestination {
    fn drop(&mut self) {
        if self.is_begun {
            // What cannot be removed now is removed by the next process that writes here.
            let _ = remove(&self.scratch);
        }
        self.lock = None;
        for folder in &self.created {
            // Succeeds for those that stayed empty.
            let _ = fs::remove_dir(folder);
        }
    }
}

/// What a folder holds.
#[derive(Default)]
struct Content {
    /// Paths of its files within the folder, `/` between their parts.
    files: BTreeSet<String>,
    /// Where they are; names that are not UTF-8 are whole only here.
    paths: Vec<PathBuf>,
    /// The folder and all folders in it, each after the one that holds it.
    folders: Vec<PathBuf>,
}

impl Content {
    fn of(folder: &Path) -> Result<Self, StoreError> {
        let mut content = Self::default();
        content.add(folder, "")?;
        Ok(content)
    }

    fn add(&mut self, folder: &Path, prefix: &str) -> Result<(), StoreError> {
        let storage = |error: io::Error| StoreError::storage("listing", folder, &error);
        self.folders.push(folder.to_owned());
        for entry in fs::read_dir(folder).map_err(storage)? {
            let entry = entry.map_err(storage)?;
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            if entry.file_type().map_err(storage)?.is_dir() {
                self.add(&entry.path(), &format!("{name}/"))?;
            } else {
                self.files.insert(name);
                self.paths.push(entry.path());
            }
        }
        Ok(())
    }
}

/// Who may read the old folder and its files may read the new ones, and nobody else.
fn keep_permissions(scratch: &Path, target: &Path, files: &BTreeSet<String>) -> Result<(), StoreError> {
    let copy = |from: &Path, to: &Path| match fs::symlink_metadata(from) {
        Ok(old) if !old.is_symlink() => {
            fs::set_permissions(to, old.permissions()).map_err(|error| StoreError::storage("setting the permissions of", to, &error))
        }
        _ => Ok(()),
    };
    for name in files {
        copy(&target.join(name), &scratch.join(name))?;
    }
    copy(target, scratch)
}

/// Locks a folder that a [`FolderDestination`] may replace, in order to write a file into it. Dropping the lock removes its file, which is next
/// to the folder.
///
/// # Errors
/// [`StoreErrorKind::Busy`] if another process is writing it; storage.
pub fn lock_folder(folder: &Path) -> Result<Lock, StoreError> {
    let target = target(folder, "the folder")?;
    let (parent, name) = parent_and_name(&target, folder, "the folder")?;
    Lock::acquire_temporary(&ScratchNames::new(&parent, &name).lock(), folder)
}

/// Moves the scratch folder to `target`; gives the path of the folder that was replaced.
fn move_to(scratch: &Path, target: &Path) -> Result<Option<PathBuf>, StoreError> {
    let storage = |error: io::Error| {
        let hint = match error.kind() {
            io::ErrorKind::ResourceBusy | io::ErrorKind::CrossesDevices => " (is it a mount point? name a folder inside it)",
            _ => "",
        };
        StoreError::new(StoreErrorKind::Storage, format!("moving the result to {} failed: {error}{hint}", target.display()))
    };
    let is_empty = match fs::read_dir(target) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::rename(scratch, target).map_err(storage)?;
            return Ok(None);
        }
        Err(error) => return Err(StoreError::storage("listing", target, &error)),
        Ok(mut entries) => entries.next().is_none(),
    };
    if is_empty {
        // Unix replaces an empty folder in the same call.
        if fs::rename(scratch, target).is_err() {
            fs::remove_dir(target).map_err(storage)?;
            fs::rename(scratch, target).map_err(storage)?;
        }
        return Ok(None);
    }
    if exchange(scratch, target) {
        return Ok(Some(scratch.to_owned()));
    }
    let old = ScratchNames::old_of(scratch);
    fs::rename(target, &old).map_err(storage)?;
    if let Err(error) = fs::rename(scratch, target) {
        fs::rename(&old, target).map_err(storage)?;
        return Err(storage(error));
    }
    Ok(Some(old))
}

/// Exchanges two folders in one step, where the file system can.
#[cfg(any(target_os = "linux", target_vendor = "apple"))]
fn exchange(one: &Path, other: &Path) -> bool {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).is_ok()
}

#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
fn exchange(_: &Path, _: &Path) -> bool {
    false
}

/// The destination without links: a link to a folder stands for that folder.
fn target(path: &Path, what: &str) -> Result<PathBuf, StoreError> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() => {
            path.canonicalize().map_err(|_| StoreError::destination(what, path, "a folder, or a path where nothing is", "a link that leads nowhere"))
        }
        _ => Ok(path.to_owned()),
    }
}

/// The folder above a destination and its name in it.
fn parent_and_name(target: &Path, given: &Path, what: &str) -> Result<(PathBuf, OsString), StoreError> {
    let refuse = || {
        let found = "a path that ends in no name";
        StoreError::destination(what, given, "a path that ends in the folder's own name, such as ./result", found)
    };
    let ends_in_dot = target.as_os_str().as_encoded_bytes().ends_with(b"/.");
    let name = target.file_name().filter(|_| !ends_in_dot).ok_or_else(refuse)?.to_owned();
    let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok((resolved(parent), name))
}

/// A mount point cannot be moved away, which is better said before the work than after it.
#[cfg(unix)]
fn refuse_mount_point(given: &Path, target: &Path, parent: &Path, what: &str) -> Result<(), StoreError> {
    use std::os::unix::fs::MetadataExt;
    match (fs::metadata(target), fs::metadata(parent)) {
        (Ok(inside), Ok(above)) if inside.dev() != above.dev() => {
            Err(StoreError::destination(what, given, "a folder that can be replaced", "a mount point (name a folder inside it)"))
        }
        _ => Ok(()),
    }
}

#[cfg(not(unix))]
fn refuse_mount_point(_: &Path, _: &Path, _: &Path, _: &str) -> Result<(), StoreError> {
    Ok(())
}

/// Creates what is missing of a path; gives what was created, the deepest first.
fn create_parents(parent: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let missing = parent.ancestors().take_while(|folder| !folder.as_os_str().is_empty() && fs::symlink_metadata(folder).is_err());
    let missing = missing.map(Path::to_owned).collect();
    crate::create_folder(parent)?;
    Ok(missing)
}

/// Refuses a destination that is neither absent, nor empty, nor a folder of `kind` with nothing else in it.
///
/// # Errors
/// [`StoreErrorKind::Destination`], naming what was found; storage.
pub fn check_folder(path: &Path, kind: FolderKind) -> Result<(), StoreError> {
    check(path, &target(path, kind.name)?, kind, &BTreeSet::new())
}

/// `given` is the path in errors, `target` the one that is looked at.
fn check(given: &Path, target: &Path, kind: FolderKind, also: &BTreeSet<String>) -> Result<(), StoreError> {
    let expected = format!("a new or empty folder, or {} that onestep wrote", kind.name);
    let refuse = |found: String| StoreError::destination(kind.name, given, &expected, found);
    let Some(first) = first_entry(given, target, kind.name)? else { return Ok(()) };
    let mark = target.join(kind.mark);
    let is_file = fs::symlink_metadata(&mark).is_ok_and(|found| found.is_file());
    let files = is_file.then(|| read_at_most(&mark, RECORD_BYTES).ok()).flatten().and_then(|bytes| (kind.files)(&bytes));
    let files = match files {
        Some(files) => files,
        None if !also.is_empty() => also.clone(),
        None => return Err(refuse(format!("a folder that holds {first}"))),
    };
    match foreign(target, "", &files)? {
        Some(name) => Err(refuse(format!("{name}, which is not one of its files"))),
        None => Ok(()),
    }
}

/// Refuses a destination that holds anything but files named in `allowed` and what a killed process may have left of writing them; for folders
/// that are begun once and then grow.
///
/// # Errors
/// As [`check_folder`].
pub fn refuse_foreign(path: &Path, what: &str, allowed: &[&str]) -> Result<(), StoreError> {
    let target = target(path, what)?;
    first_entry(path, &target, what)?;
    let allowed: BTreeSet<String> = allowed.iter().map(|&name| name.to_owned()).collect();
    match fs::symlink_metadata(&target).ok().map(|_| foreign(&target, "", &allowed)).transpose()?.flatten() {
        Some(name) => Err(StoreError::destination(what, path, "a new or empty folder", format!("a folder that holds {name}"))),
        None => Ok(()),
    }
}

/// The first entry of the folder at `target`; `None` where it is empty or nothing is there.
fn first_entry(given: &Path, target: &Path, what: &str) -> Result<Option<String>, StoreError> {
    let found = match fs::symlink_metadata(target) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return Err(StoreError::destination(what, given, "a folder's path", "a file where one of its folders should be"));
        }
        Err(error) => return Err(StoreError::storage("looking at", given, &error)),
        Ok(found) => found,
    };
    if !found.is_dir() {
        let what_is_there = if found.is_file() { "a file" } else { "a pipe, device or link" };
        return Err(StoreError::destination(what, given, "a folder, or a path where nothing is", what_is_there));
    }
    foreign(target, "", &BTreeSet::new())
}

/// The first path in `folder`, sorted by name, that is neither in `files` nor a folder of one of these.
fn foreign(folder: &Path, prefix: &str, files: &BTreeSet<String>) -> Result<Option<String>, StoreError> {
    let storage = |error: io::Error| StoreError::storage("listing", folder, &error);
    let mut entries = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>).map_err(storage)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let kind = entry.file_type().map_err(storage)?;
        let below = format!("{name}/");
        if kind.is_dir() && files.range(below.clone()..).next().is_some_and(|file| file.starts_with(&below)) {
            if let Some(found) = foreign(&entry.path(), &below, files)? {
                return Ok(Some(found));
            }
        } else if !(kind.is_file()
            && (files.contains(&name) || is_scratch_of(&name, files) || LITTER.contains(&entry.file_name().to_string_lossy().as_ref())))
        {
            return Ok(Some(if kind.is_dir() { below } else { name }));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: FolderKind = recorded_folder_kind!("a test result");
    const OTHER: FolderKind = recorded_folder_kind!("another result");

    fn write(path: &Path, text: &str) -> Result<(), StoreError> {
        let mut folder = FolderDestination::acquire(path, KIND, &[])?;
        folder.write("a.txt", text.as_bytes())?;
        folder.write("deep/b.txt", text.as_bytes())?;
        folder.publish()
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn it_appears_whole_and_replaces_its_kind_only() {
        let home = tempfile::tempdir().unwrap();
        let result = home.path().join("above/result");
        write(&result, "1").unwrap();
        assert_eq!(names(&result), ["a.txt", "deep", RECORD_FILE]);
        write(&result, "2").unwrap();
        assert_eq!(fs::read_to_string(result.join("deep/b.txt")).unwrap(), "2");
        assert_eq!(names(&home.path().join("above")), ["result"]);
        assert!(FolderDestination::acquire(&result, OTHER, &[]).unwrap_err().to_string().contains("holds a.txt"));
        // A missing file, and files of file managers, are no reason to refuse.
        fs::remove_file(result.join("a.txt")).unwrap();
        fs::write(result.join("deep/.DS_Store"), "").unwrap();
        write(&result, "3").unwrap();
        for foreign in ["notes.txt", "deep/c.txt", "deep/d"] {
            if foreign.ends_with('d') {
                fs::create_dir(result.join(foreign)).unwrap()
            } else {
                fs::write(result.join(foreign), "mine").unwrap()
            }
            let error = write(&result, "4").unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Destination);
            assert!(error.to_string().contains(foreign), "{error}");
            if foreign.ends_with('d') { fs::remove_dir(result.join(foreign)).unwrap() } else { fs::remove_file(result.join(foreign)).unwrap() }
        }
        assert_eq!(fs::read_to_string(result.join("a.txt")).unwrap(), "3");
        assert_eq!(names(&home.path().join("above")), ["result"]);
    }

    #[test]
    fn an_unpublished_one_leaves_nothing() {
        let home = tempfile::tempdir().unwrap();
        let result = home.path().join("x/y/result");
        let mut folder = FolderDestination::acquire(&result, KIND, &[]).unwrap();
        folder.write("a.txt", b"a").unwrap();
        drop(folder);
        assert_eq!(names(home.path()), [""; 0]);
    }

    #[test]
    fn foreign_destinations_are_refused_and_untouched() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        fs::create_dir_all(at("photos")).unwrap();
        fs::write(at("photos/a"), "a").unwrap();
        fs::write(at("file"), "f").unwrap();
        for name in ["new.old", "new.partial", ".new.partial"] {
            fs::create_dir(at(name)).unwrap();
            fs::write(at(name).join("a"), "a").unwrap();
        }
        for (out, said) in [
            ("photos", "holds a"),
            ("file", "found a file"),
            ("file/x", "a file where one of its folders should be"),
            (".", "no name"),
            ("photos/..", "no name"),
        ] {
            let error = write(&at(out), "x").unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Destination, "{error}");
            assert!(error.to_string().contains(said) || out.contains('.'), "{out}: {error}");
        }
        let before = names(home.path());
        write(&at("new"), "x").unwrap();
        write(&at("new"), "y").unwrap();
        let after: Vec<String> = names(home.path()).into_iter().filter(|name| name != "new").collect();
        assert_eq!(after, before);
        assert_eq!(fs::read_to_string(at("new.old/a")).unwrap(), "a");
        fs::create_dir(at("empty")).unwrap();
        write(&at("empty"), "x").unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stands_for_its_folder() {
        use std::os::unix::fs::symlink;
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        fs::create_dir(at("real")).unwrap();
        symlink(at("real"), at("link")).unwrap();
        symlink(at("missing"), at("dangling")).unwrap();
        write(&at("link"), "1").unwrap();
        assert!(fs::symlink_metadata(at("link")).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(at("real/a.txt")).unwrap(), "1");
        assert!(write(&at("dangling"), "1").unwrap_err().to_string().contains("leads nowhere"));
        // A link inside is somebody's own.
        symlink(at("real"), at("real/deep/out")).unwrap();
        assert!(write(&at("real"), "2").unwrap_err().to_string().contains("deep/out"));
    }

    #[test]
    fn one_process_at_a_time() {
        let home = tempfile::tempdir().unwrap();
        let result = home.path().join("result");
        let first = FolderDestination::acquire(&result, KIND, &[]).unwrap();
        assert_eq!(FolderDestination::acquire(&result, KIND, &[]).unwrap_err().kind(), StoreErrorKind::Busy);
        drop(first);
        write(&result, "1").unwrap();
        assert_eq!(names(home.path()), ["result"]);
    }

    #[cfg(unix)]
    #[test]
    fn permissions_stay() {
        use std::os::unix::fs::PermissionsExt;
        let home = tempfile::tempdir().unwrap();
        let result = home.path().join("result");
        write(&result, "1").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        fs::set_permissions(&result, fs::Permissions::from_mode(0o700)).unwrap();
        fs::set_permissions(result.join("a.txt"), fs::Permissions::from_mode(0o600)).unwrap();
        write(&result, "2").unwrap();
        assert_eq!((mode(&result), mode(&result.join("a.txt"))), (0o700, 0o600));
    }

    #[test]
    fn what_comes_between_is_not_lost() {
        let home = tempfile::tempdir().unwrap();
        let result = home.path().join("result");
        let mut folder = FolderDestination::acquire(&result, KIND, &[]).unwrap();
        folder.write("a.txt", b"a").unwrap();
        fs::create_dir(&result).unwrap();
        fs::write(result.join("mine"), "mine").unwrap();
        assert!(folder.publish().unwrap_err().to_string().contains("mine"));
        assert_eq!(names(home.path()), ["result"]);
        assert_eq!(names(&result), ["mine"]);
    }
}
