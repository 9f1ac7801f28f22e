//! Locks between processes.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use same_file::Handle;

use crate::error::{StoreError, StoreErrorKind};

/// An exclusive lock on a file. The operating system releases it when the process ends, even if it is killed.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    file: Option<File>,
    is_held: bool,
    is_removed: bool,
}

impl Lock {
    /// Locks the file at `path`, creating it if necessary; the file remains after unlocking. `what` is the protected path, for errors.
    ///
    /// # Errors
    /// [`StoreErrorKind::Busy`] if another process holds the lock; storage.
    pub fn acquire(path: &Path, what: &Path) -> Result<Self, StoreError> {
        Self::open(path, what, false)
    }

    /// Like [`acquire`](Self::acquire), but removes the file when the lock is dropped.
    pub(crate) fn acquire_temporary(path: &Path, what: &Path) -> Result<Self, StoreError> {
        Self::open(path, what, true)
    }

    fn open(path: &Path, what: &Path, is_removed: bool) -> Result<Self, StoreError> {
        let storage = |error: io::Error| StoreError::storage("creating", path, &error);
        loop {
            // A lock file of onestep's is empty. Anything else there is somebody's, and opening it might wait for ever or follow a link.
            if let Ok(found) = fs::symlink_metadata(path)
                && !(found.is_file() && found.len() == 0)
            {
                let expected = format!("nothing, or an empty file, at {}, which onestep locks", path.display());
                let found = if found.is_file() { "a file with content" } else { "a folder, link, pipe or device" };
                return Err(StoreError::destination("the result", what, &expected, found));
            }
            let file = File::options().create(true).truncate(false).write(true).open(path).map_err(storage)?;
            let is_held = match file.try_lock() {
                Ok(()) => true,
                Err(TryLockError::WouldBlock) => {
                    let message =
                        format!("{} is being written by another process; wait for it to end, or choose another destination", what.display());
                    return Err(StoreError::new(StoreErrorKind::Busy, message));
                }
                // Some network file systems have no locks: better to work without one than not at all.
                Err(TryLockError::Error(_)) => false,
            };
            // Whoever had it before may have removed the file between our opening and our locking it; then the lock protects nothing.
            let is_current = match (file.try_clone().and_then(Handle::from_file), Handle::from_path(path)) {
                (Ok(ours), Ok(there)) => ours == there,
                (_, Err(error)) if error.kind() == io::ErrorKind::NotFound => false,
                _ => true,
            };
            if is_current {
                return Ok(Self { path: path.to_owned(), file: Some(file), is_held, is_removed });
            }
        }
    }

    /// False on file systems without locks, where other processes cannot be detected.
    pub fn is_held(&self) -> bool {
        self.is_held
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if self.is_removed {
            // While it is still locked, so that nobody's else is removed. What cannot be removed is taken over by the next process.
            let _ = fs::remove_file(&self.path);
        }
        drop(self.file.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_lock_file_is_refused_and_stays() {
        let home = tempfile::tempdir().unwrap();
        let (file, folder) = (home.path().join("file"), home.path().join("folder"));
        fs::write(&file, "mine").unwrap();
        fs::create_dir(&folder).unwrap();
        for path in [&file, &folder] {
            assert_eq!(Lock::acquire_temporary(path, home.path()).unwrap_err().kind(), StoreErrorKind::Destination);
            assert!(path.exists());
        }
        #[cfg(unix)]
        {
            let link = home.path().join("link");
            std::os::unix::fs::symlink("victim", &link).unwrap();
            assert!(Lock::acquire_temporary(&link, home.path()).is_err());
            assert!(!home.path().join("victim").exists());
        }
    }

    #[test]
    fn one_at_a_time_and_nothing_is_left() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("lock");
        let what = home.path().join("result");
        let first = Lock::acquire_temporary(&path, &what).unwrap();
        assert!(first.is_held());
        let error = Lock::acquire_temporary(&path, &what).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Busy);
        assert!(error.to_string().contains("result is being written by another process"), "{error}");
        drop(first);
        assert!(!path.exists());
        drop(Lock::acquire(&path, &what).unwrap());
        assert!(path.exists());
    }

    /// Threads that acquire and remove the lock in a loop never hold it at the same time.
    #[test]
    fn removal_and_acquisition_never_overlap() {
        use std::sync::atomic::{AtomicU32, Ordering};
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("lock");
        let (inside, taken) = (AtomicU32::new(0), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        if let Ok(lock) = Lock::acquire_temporary(&path, &path) {
                            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                            taken.fetch_add(1, Ordering::SeqCst);
                            inside.fetch_sub(1, Ordering::SeqCst);
                            drop(lock);
                        }
                    }
                });
            }
        });
        assert!(taken.into_inner() > 0);
    }
}
