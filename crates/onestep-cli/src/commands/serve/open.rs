//! Opening one listed file for one request.
//!
//! Whoever may write into a served folder can exchange a listed file, or a folder above it, after the list was made. So a file is
//! opened without following links below the served folder, without waiting for the other end of a pipe, and only a regular file
//! is read.

use std::fs::{File, Metadata};
use std::io;
use std::path::Path;

/// Opens the regular file at `relative`, a path with `/` between its parts, below the folder `root`.
///
/// # Errors
///
/// If a part of `relative`, or `root` itself, is a link, if there is no such file, or if it is no regular file.
pub fn open_regular(root: &Path, relative: &str) -> io::Result<(File, Metadata)> {
    let file = system::open_beneath(root, relative)?;
    let metadata = file.metadata()?;
    if metadata.is_file() { Ok((file, metadata)) } else { Err(no_regular_file()) }
}

fn no_regular_file() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "no regular file")
}

#[cfg(unix)]
mod system {
    use std::fs::File;
    use std::io;
    use std::os::fd::OwnedFd;
    use std::path::Path;

    use rustix::fs::{AtFlags, FileType, Mode, OFlags, open, openat, statat};

    const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC).union(SEARCH);
    /// A folder that is only passed through need not be readable, where the system makes a difference.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    const SEARCH: OFlags = OFlags::PATH;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    const SEARCH: OFlags = OFlags::RDONLY;
    const FILE: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

    pub fn open_beneath(root: &Path, relative: &str) -> io::Result<File> {
        let root = open(root, FOLDER, Mode::empty())?;
        let (folder, name) = match relative.rsplit_once('/') {
            Some((folders, name)) => (folder_beneath(&root, folders)?, name),
            None => (root, relative),
        };
        // Opening some special files has an effect: a writer at the other end of a pipe wakes up. The caller's check of
        // the open file is the one that counts, since this one may be outdated by then.
        if !FileType::from_raw_mode(statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode).is_file() {
            return Err(super::no_regular_file());
        }
        Ok(openat(&folder, name, FILE, Mode::empty())?.into())
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn folder_beneath(root: &OwnedFd, folders: &str) -> io::Result<OwnedFd> {
        use rustix::fs::{ResolveFlags, openat2};
        use rustix::io::Errno;

        match openat2(root, folders, FOLDER, Mode::empty(), ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS)) {
            // Before Linux 5.6, or in a sandbox that does not know the call.
            Err(Errno::NOSYS | Errno::PERM) => folder_by_parts(root, folders),
            outcome => Ok(outcome?),
        }
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    use folder_by_parts as folder_beneath;

    /// Opens one folder after the other, none of which may be a link.
    pub(super) fn folder_by_parts(root: &OwnedFd, folders: &str) -> io::Result<OwnedFd> {
        let (first, rest) = folders.split_once('/').unwrap_or((folders, ""));
        let folder = openat(root, first, FOLDER, Mode::empty())?;
        if rest.is_empty() { Ok(folder) } else { folder_by_parts(&folder, rest) }
    }

    #[cfg(test)]
    pub(super) fn open_folder(root: &Path) -> io::Result<OwnedFd> {
        Ok(open(root, FOLDER, Mode::empty())?)
    }
}

#[cfg(not(unix))]
mod system {
    use std::fs::{self, File};
    use std::io;
    use std::path::Path;

    /// The standard library cannot open relative to an open folder: links are looked for just before.
    pub fn open_beneath(root: &Path, relative: &str) -> io::Result<File> {
        let mut path = root.to_path_buf();
        let mut kind = fs::symlink_metadata(&path)?.file_type();
        for part in relative.split('/') {
            if !kind.is_dir() {
                return Err(super::no_regular_file());
            }
            path.push(part);
            kind = fs::symlink_metadata(&path)?.file_type();
        }
        if kind.is_file() { File::open(path) } else { Err(super::no_regular_file()) }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;

    use super::*;

    #[test]
    fn regular_files_are_opened_and_nothing_else() {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().join("root");
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("a/b/file"), "content").unwrap();
        let (mut file, metadata) = open_regular(&root, "a/b/file").unwrap();
        let mut content = String::new();
        file.read_to_string(&mut content).unwrap();
        assert_eq!((content.as_str(), metadata.len()), ("content", 7));
        for bad in ["a", "a/b", "a/b/other", "a/b/file/x", ""] {
            assert!(open_regular(&root, bad).is_err(), "{bad}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn links_are_not_followed_anywhere_below_the_root() {
        use std::os::unix::fs::symlink;

        let home = tempfile::tempdir().unwrap();
        let root = home.path().join("root");
        fs::create_dir_all(root.join("real/inner")).unwrap();
        fs::create_dir_all(home.path().join("outside")).unwrap();
        fs::write(root.join("real/file"), "inside").unwrap();
        fs::write(home.path().join("outside/file"), "outside").unwrap();
        symlink(home.path().join("outside"), root.join("folder")).unwrap();
        symlink("real", root.join("near")).unwrap();
        symlink("../real", root.join("real/link")).unwrap();
        symlink(home.path().join("outside/file"), root.join("link")).unwrap();
        symlink(&root, home.path().join("alias")).unwrap();
        for bad in ["folder/file", "near/file", "link", "real/../link"] {
            assert!(open_regular(&root, bad).is_err(), "{bad}");
        }
        // Without the call that Linux has for this.
        let opened = system::open_folder(&root).unwrap();
        assert!(system::folder_by_parts(&opened, "real").is_ok() && system::folder_by_parts(&opened, "real/inner").is_ok());
        for bad in ["folder", "near", "link", "real/link", "real/link/inner", "real/file"] {
            assert!(system::folder_by_parts(&opened, bad).is_err(), "{bad}");
        }
        assert!(open_regular(&home.path().join("alias"), "real/file").is_err());
    }
}
