//! Safe writes to disk: results appear whole or not at all, one process writes at a time, and only files that onestep wrote are replaced or
//! removed.
//!
//! - [`FolderDestination`]: a result that is a folder (a bundle, a model, an evaluation). It is built under a hidden temporary name next to its
//!   destination and moved into place in one step.
//! - [`FileDestination`]: a result that is one file (an image, tensors), likewise.
//! - [`Lock`] and [`replace_file`]: for folders that grow over hours (training runs, pair sets). Their files are replaced one by one while the
//!   folder is locked.
//! - [`read`]: reads a whole file; [`open`] opens one to read parts of it.
//!
//! What may be replaced: a folder that is empty, or that names itself a folder of the same [`FolderKind`] and holds nothing else; a file that
//! is empty or of the same [`FileFormat`]. Never a source of the result, a folder that contains one, or a path inside one.

mod error;
mod file;
mod folder;
mod lock;
mod overlap;
mod reading;
mod record;
mod stale_scratch;
mod tensors;

pub use error::{StoreError, StoreErrorKind};
pub use file::{FileDestination, FileFormat, replace_file};
pub use folder::{FolderDestination, FolderKind, check_folder, lock_folder, refuse_foreign};
pub use lock::Lock;
pub use overlap::refuse_overlap;
pub use reading::{open, read, read_at_most};
pub use record::{RECORD_FILE, is_marked, mark_folder, record_files};
pub use stale_scratch::remove_stale_scratch;
pub use tensors::tensor_bytes;

use std::fs::{self, File};
use std::path::Path;

/// Creates a folder and those above it.
///
/// # Errors
/// The path and the operating system's reason.
pub fn create_folder(folder: &Path) -> Result<(), StoreError> {
    fs::create_dir_all(folder).map_err(|error| StoreError::storage("creating", folder, &error))
}

/// Serialises a value as indented JSON; `path` names the file in errors.
///
/// # Errors
/// A value that JSON cannot represent, such as a path that is not UTF-8.
pub fn json_bytes(value: &impl serde::Serialize, path: &Path) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec_pretty(value).map_err(|error| {
        let message = format!("writing {}: expected text and paths of UTF-8, found something else ({error}); rename what is not", path.display());
        StoreError::new(StoreErrorKind::Destination, message)
    })
}

/// [`replace_file`] with a value as JSON.
///
/// # Errors
/// Those of [`json_bytes`] and [`replace_file`].
pub fn replace_json(path: &Path, value: &impl serde::Serialize) -> Result<(), StoreError> {
    replace_file(path, &json_bytes(value, path)?)
}

/// Makes renames in a folder durable. Folders can be opened for that on Unix only.
fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    if cfg!(unix) {
        File::open(folder).and_then(|file| file.sync_all()).map_err(|error| StoreError::storage("syncing", folder, &error))?;
    }
    Ok(())
}
