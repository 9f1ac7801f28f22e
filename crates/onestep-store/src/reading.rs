//! Reads whole files.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::Path;

use crate::error::{StoreError, StoreErrorKind};

/// Reads a regular file.
///
/// # Errors
/// [`StoreErrorKind::Input`] for a missing file, a folder, a pipe or a device, without opening it; storage.
pub fn read(path: &Path) -> Result<Vec<u8>, StoreError> {
    read_at_most(path, u64::MAX)
}

/// Reads a regular file of at most `limit` bytes.
///
/// # Errors
/// Those of [`read`]; [`StoreErrorKind::Input`] for a larger file, without reading it.
pub fn read_at_most(path: &Path, limit: u64) -> Result<Vec<u8>, StoreError> {
    let too_large = |size: String| input(path, &format!("expected a file of at most {limit} bytes, found {size}"));
    let (file, size) = open(path)?;
    if size > limit {
        return Err(too_large(size.to_string()));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
    // A file may have grown since; no more than one byte too many is taken.
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(|error| refused(path, &error))?;
    if bytes.len() as u64 > limit { Err(too_large(format!("more than {limit}"))) } else { Ok(bytes) }
}

/// Opens a regular file for reading and returns its size in bytes. Links are followed.
///
/// # Errors
/// Those of [`read`].
pub fn open(path: &Path) -> Result<(File, u64), StoreError> {
    let found = fs::metadata(path).map_err(|error| refused(path, &error))?;
    if !found.is_file() {
        let what = if found.is_dir() { "a folder" } else { "a pipe, a socket or a device" };
        return Err(input(path, &format!("expected a file, found {what}")));
    }
    Ok((File::open(path).map_err(|error| refused(path, &error))?, found.len()))
}

fn input(path: &Path, message: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Input, format!("reading {}: {message}", path.display()))
}

fn refused(path: &Path, error: &std::io::Error) -> StoreError {
    match error.kind() {
        _ if fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink()) && !path.exists() => {
            input(path, "expected a file, found a link that leads nowhere")
        }
        ErrorKind::NotFound => input(path, "expected a file, found nothing there; check the path"),
        ErrorKind::NotADirectory | ErrorKind::InvalidInput | ErrorKind::InvalidFilename => {
            input(path, &format!("expected a file's path, found {error}"))
        }
        _ => StoreError::new(StoreErrorKind::Storage, format!("reading {} failed: {error}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_files_only() {
        #[cfg(unix)]
        assert!(read(Path::new("/dev/zero")).unwrap_err().to_string().contains("a device"));
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        fs::write(at("a"), "12345").unwrap();
        assert_eq!(read(&at("a")).unwrap(), b"12345");
        assert_eq!(read_at_most(&at("a"), 5).unwrap(), b"12345");
        for (path, said) in [
            (at("b"), "nothing there"),
            (at("a/b"), "expected a file's path"),
            (home.path().to_owned(), "found a folder"),
            (at("a\0b"), "expected a file's path"),
            (at(&"n".repeat(300)), "expected a file's path"),
        ] {
            let error = read(&path).unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Input, "{error}");
            assert!(error.to_string().contains(said), "{error}");
        }
        assert!(read_at_most(&at("a"), 4).unwrap_err().to_string().contains("at most 4 bytes, found 5"));
    }
}
