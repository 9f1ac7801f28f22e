//! Results that are one file.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::{
    error::{StoreError, StoreErrorKind},
    lock::Lock,
    overlap::{refuse_overlap, resolved},
    stale_scratch::{ScratchNames, remove},
    sync_folder,
};

/// Bytes of a file that are read to recognise its format.
const HEAD_BYTES: u64 = 4096;

/// A format of files that onestep writes. Only an empty file or one of the same format is replaced.
#[derive(Clone, Copy, Debug)]
pub struct FileFormat {
    /// A noun phrase for errors: "a PNG image".
    pub name: &'static str,
    /// True if a file with these first bytes (up to 4 KiB) has the format.
    pub is: fn(&[u8]) -> bool,
}

impl FileFormat {
    /// A PNG image.
    pub const PNG: Self = Self { name: "a PNG image", is: |head| head.starts_with(b"\x89PNG\r\n\x1a\n") };
    /// Tensors: a header's length in 8 bytes, then JSON.
    pub const SAFETENSORS: Self = Self { name: "a safetensors file", is: |head| head.get(8) == Some(&b'{') };
}

/// A file that will be written, with the lock of its destination.
#[derive(Debug)]
pub struct FileDestination {
    given: PathBuf,
    format: FileFormat,
    target: Target,
}

#[derive(Debug)]
enum Target {
    /// Replaced in one step.
    Ordinary { path: PathBuf, names: ScratchNames, _lock: Lock },
    /// A pipe or a device: written into.
    Stream,
}

impl FileDestination {
    /// Locks the destination and checks that it may be replaced. Call this before computing the result.
    ///
    /// A link is followed, even if its target does not exist yet. A pipe or a character device is written to directly.
    ///
    /// # Errors
    /// [`StoreErrorKind::Destination`] for a folder, a block device, a file of another format, a read-only file, one of `sources` or a path
    /// inside one; [`StoreErrorKind::Busy`] if another process is writing it; storage.
    pub fn acquire(path: &Path, format: FileFormat, sources: &[&Path]) -> Result<Self, StoreError> {
        refuse_overlap(format.name, path, sources)?;
        let refuse = |found: &str| refuse(path, format, found);
        let given = path.to_owned();
        if path.as_os_str().as_encoded_bytes().ends_with(b"/") {
            return Err(refuse("a path that ends like a folder's"));
        }
        let path = followed(path).ok_or_else(|| refuse("a cycle of links"))?;
        if is_stream(&given, &path, format)? {
            return Ok(Self { given, format, target: Target::Stream });
        }
        let name = path.file_name().ok_or_else(|| refuse("a path that ends in no name"))?;
        let parent = resolved(path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")));
        if !parent.is_dir() {
            return Err(refuse(&format!("no folder {}: create it first", parent.display())));
        }
        let names = ScratchNames::new(&parent, name);
        let path = parent.join(name);
        let lock = Lock::acquire_temporary(&names.lock(), &given)?;
        if lock.is_held() {
            names.clear(&path)?;
        }
        // Another process may have written it until it gave us the lock.
        is_stream(&given, &path, format)?;
        Ok(Self { given, format, target: Target::Ordinary { path, names, _lock: lock } })
    }

    /// Writes the file: after a crash it has either its old or its new content.
    ///
    /// # Errors
    /// Storage; what stood there is untouched.
    pub fn write(self, bytes: &[u8]) -> Result<(), StoreError> {
        match &self.target {
            Target::Ordinary { path, names, .. } => {
                // Somebody may have put a file there while the command worked.
                is_stream(&self.given, path, self.format)?;
                write_over(path, names, bytes)
            }
            Target::Stream => {
                let storage = |error: io::Error| StoreError::storage("writing", &self.given, &error);
                let mut file = File::options().append(true).open(&self.given).map_err(storage)?;
                file.write_all(bytes).and_then(|()| file.flush()).map_err(storage)
            }
        }
    }
}

/// Writes a file of a folder that the caller has locked, so that after a crash it has either its old or its new content.
///
/// # Errors
/// Storage; what stood there is untouched.
pub fn replace_file(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let Some(name) = path.file_name() else {
        return Err(StoreError::destination("the file", path, "a file's path", "a path that ends in no name"));
    };
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    write_over(path, &ScratchNames::new(parent, name), bytes)
}

fn write_over(path: &Path, names: &ScratchNames, bytes: &[u8]) -> Result<(), StoreError> {
    let scratch = names.fresh();
    let written = File::create_new(&scratch).and_then(|mut file| {
        if let Ok(old) = fs::metadata(path) {
            // Who may read the old file may read the new one, and nobody else.
            file.set_permissions(old.permissions())?;
        }
        file.write_all(bytes)?;
        file.sync_all()
    });
    if let Err(error) = written.and_then(|()| fs::rename(&scratch, path)) {
        // The first error is the one to tell.
        let _ = remove(&scratch);
        return Err(StoreError::storage("writing", path, &error));
    }
    sync_folder(path.parent().unwrap_or(Path::new(".")))
}

/// The target of a path's links, even if it does not exist; `None` for a cycle of links.
fn followed(path: &Path) -> Option<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..40 {
        let Ok(next) = fs::read_link(&path) else { return Some(path) };
        // Like the links of /proc, which have no path.
        if next.is_relative() && fs::metadata(&path).is_ok() && path.starts_with("/proc") {
            return Some(path);
        }
        path = path.parent().unwrap_or(Path::new("")).join(next);
    }
    None
}

fn refuse(given: &Path, format: FileFormat, found: &str) -> StoreError {
    StoreError::destination(format.name, given, &format!("a new file, or {} to replace", format.name), found)
}

/// Whether the destination is a stream to write into; if not, makes sure that the file at `path` may be replaced.
fn is_stream(given: &Path, path: &Path, format: FileFormat) -> Result<bool, StoreError> {
    let refuse = |found: &str| refuse(given, format, found);
    let found = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Err(refuse("a file where one of its folders should be")),
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidFilename) => {
            return Err(refuse("a path that no file can have"));
        }
        Err(error) => return Err(StoreError::storage("looking at", given, &error)),
        Ok(found) => found,
    };
    if found.is_dir() {
        return Err(refuse("a folder"));
    }
    if !found.is_file() {
        return if is_pipe_or_terminal(&found) { Ok(true) } else { Err(refuse("a disk or a socket")) };
    }
    if is_open_already(given) {
        return Ok(true);
    }
    if found.permissions().readonly() {
        let message = format!("writing {} {}: the file is read-only; choose another destination", format.name, given.display());
        return Err(StoreError::new(StoreErrorKind::Storage, message));
    }
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(HEAD_BYTES).read_to_end(&mut head));
    read.map_err(|error| StoreError::storage("looking at", given, &error))?;
    if head.is_empty() || (format.is)(&head) { Ok(false) } else { Err(refuse("a file of another format")) }
}

/// Names such as /dev/stdout and /proc/self/fd/3: what they lead to is open in some process and must not be replaced under it.
fn is_open_already(given: &Path) -> bool {
    let parts: Vec<&str> = given.components().filter_map(|part| part.as_os_str().to_str()).collect();
    matches!(parts.as_slice(), ["/", "dev", "stdout" | "stderr"] | ["/", "dev", "fd", _] | ["/", "proc", _, "fd", _])
}

#[cfg(unix)]
fn is_pipe_or_terminal(found: &fs::Metadata) -> bool {
    use std::os::unix::fs::FileTypeExt;
    found.file_type().is_fifo() || found.file_type().is_char_device()
}

#[cfg(not(unix))]
fn is_pipe_or_terminal(_: &fs::Metadata) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMAGE: &[u8] = b"\x89PNG\r\n\x1a\n one";
    const NEWER: &[u8] = b"\x89PNG\r\n\x1a\n two";

    fn write(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        FileDestination::acquire(path, FileFormat::PNG, &[])?.write(bytes)
    }

    fn count(folder: &Path) -> usize {
        fs::read_dir(folder).unwrap().count()
    }

    #[test]
    fn new_empty_and_of_the_same_format_are_written() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a.png");
        write(&path, IMAGE).unwrap();
        write(&path, NEWER).unwrap();
        assert_eq!(fs::read(&path).unwrap(), NEWER);
        fs::write(home.path().join("b"), "").unwrap();
        write(&home.path().join("b"), IMAGE).unwrap();
        assert_eq!(count(home.path()), 2);
    }

    #[test]
    fn everything_else_is_refused_and_untouched() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        fs::write(at("thesis"), "years of work").unwrap();
        fs::create_dir(at("folder")).unwrap();
        for (path, said) in [
            (at("thesis"), "another format"),
            (at("folder"), "found a folder"),
            (at("thesis/x"), "a file where one of its folders should be"),
            (at("missing/x"), "no folder"),
            (at("new.png/"), "ends like a folder's"),
            (at(&"n".repeat(256)), "no file can have"),
        ] {
            let error = write(&path, IMAGE).unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Destination, "{error}");
            assert!(error.to_string().contains(said), "{error}");
        }
        fs::write(at("source.png"), IMAGE).unwrap();
        let source = at("source.png");
        assert!(FileDestination::acquire(&source, FileFormat::PNG, &[&source]).unwrap_err().to_string().contains("it is"));
        let mut permissions = fs::metadata(&source).unwrap().permissions();
        permissions.set_readonly(true);
        fs::set_permissions(&source, permissions).unwrap();
        assert_eq!(write(&source, NEWER).unwrap_err().kind(), StoreErrorKind::Storage);
        assert_eq!(fs::read_to_string(at("thesis")).unwrap(), "years of work");
        assert_eq!(fs::read(source).unwrap(), IMAGE);
        assert_eq!(count(home.path()), 3);
    }

    #[test]
    fn what_comes_between_is_not_lost() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a.png");
        let destination = FileDestination::acquire(&path, FileFormat::PNG, &[]).unwrap();
        fs::write(&path, "years of work").unwrap();
        assert!(destination.write(IMAGE).unwrap_err().to_string().contains("another format"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "years of work");
        assert_eq!(count(home.path()), 1);
    }

    #[test]
    fn only_names_of_open_files_are_streams() {
        for path in ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"] {
            assert!(is_open_already(Path::new(path)), "{path}");
        }
        for path in ["/dev/shm/a.png", "/dev/../tmp/a.png", "/dev/fd/../shm/a", "/proc/self/cwd/a", "dev/stdout"] {
            assert!(!is_open_already(Path::new(path)), "{path}");
        }
    }

    #[test]
    fn one_process_at_a_time() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a.png");
        let first = FileDestination::acquire(&path, FileFormat::PNG, &[]).unwrap();
        assert_eq!(write(&path, NEWER).unwrap_err().kind(), StoreErrorKind::Busy);
        first.write(IMAGE).unwrap();
        assert_eq!(fs::read(&path).unwrap(), IMAGE);
        assert_eq!(count(home.path()), 1);
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_and_streams_written_into() {
        use std::os::unix::fs::{FileTypeExt, symlink};
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        fs::create_dir(at("elsewhere")).unwrap();
        fs::write(at("elsewhere/real.png"), IMAGE).unwrap();
        symlink("elsewhere/real.png", at("link")).unwrap();
        symlink(at("elsewhere/new.png"), at("to-new")).unwrap();
        symlink("round", at("round")).unwrap();
        write(&at("link"), NEWER).unwrap();
        write(&at("to-new"), NEWER).unwrap();
        assert!(write(&at("round"), NEWER).is_err());
        assert!(fs::symlink_metadata(at("link")).unwrap().is_symlink());
        assert_eq!(fs::read(at("elsewhere/real.png")).unwrap(), NEWER);
        assert_eq!(fs::read(at("elsewhere/new.png")).unwrap(), NEWER);

        assert!(std::process::Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| fs::read(at("pipe")).unwrap());
            write(&at("pipe"), IMAGE).unwrap();
            assert_eq!(reader.join().unwrap(), IMAGE);
        });
        assert!(fs::symlink_metadata(at("pipe")).unwrap().file_type().is_fifo());
        write(Path::new("/dev/null"), IMAGE).unwrap();
        assert!(fs::symlink_metadata("/dev/null").unwrap().file_type().is_char_device());
        if Path::new("/dev/full").exists() {
            assert_eq!(write(Path::new("/dev/full"), IMAGE).unwrap_err().kind(), StoreErrorKind::Storage);
        }
    }

    #[cfg(unix)]
    #[test]
    fn permissions_stay() {
        use std::os::unix::fs::PermissionsExt;
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a.png");
        fs::write(&path, IMAGE).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        write(&path, NEWER).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn replaced_files_are_whole_and_leave_nothing() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("log");
        replace_file(&path, b"1").unwrap();
        replace_file(&path, b"2").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"2");
        assert!(replace_file(&home.path().join("missing/x"), b"1").is_err());
        assert_eq!(count(home.path()), 1);
    }
}
