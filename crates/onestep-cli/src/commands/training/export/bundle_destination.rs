//! Bundle folders and galleries as destinations: what may be replaced, and what may not.

use std::collections::BTreeSet;
use std::path::Path;

use onestep_program::{FileUse, Manifest, limits, manifest};
use onestep_store::{FileFormat, FolderKind};

use crate::exit::{Exit, Failure};

/// The gallery of a bundle: images that the page shows before it loads the model.
pub const GALLERY: &str = "gallery.json";

/// A bundle on disk, marked by its manifest.
pub const BUNDLE: FolderKind = FolderKind { name: "a bundle", mark: manifest::FILE_NAME, files: files_of, is_recorded: false };

fn files_of(manifest_bytes: &[u8]) -> Option<BTreeSet<String>> {
    let manifest = Manifest::from_json(manifest_bytes).ok()?;
    Some(manifest.files.into_iter().map(|file| file.name).chain([manifest::FILE_NAME.to_owned(), GALLERY.to_owned()]).collect())
}

/// A gallery as `onestep export gallery` writes it.
pub const GALLERY_FORMAT: FileFormat = FileFormat { name: "a gallery", is: |head| head.starts_with(b"{\"format\":2,\"images\":[") };

/// Refuses to replace a bundle with edited files: the model card, further files, or a gallery that onestep did not write.
///
/// # Errors
/// Such a file.
pub fn refuse_edited(folder: &Path) -> Result<(), Failure> {
    let refuse = |name: &str| {
        let message = format!(
            "writing a bundle {}: expected {name} as onestep wrote it, found another content; nothing was changed: move the file away, or choose another --out",
            folder.display()
        );
        Err(Failure::new(Exit::Input, message))
    };
    let Some(manifest) = onestep_store::read_at_most(&folder.join(manifest::FILE_NAME), limits::MANIFEST_BYTES.max)
        .ok()
        .and_then(|bytes| Manifest::from_json(&bytes).ok())
    else {
        return Ok(());
    };
    for (_, entry) in manifest.files_by_use().filter(|(file_use, _)| matches!(file_use, FileUse::Card | FileUse::Extra)) {
        let path = folder.join(&entry.name);
        if path.exists() && !onestep_store::read(&path).is_ok_and(|bytes| entry.verify(&bytes).is_ok()) {
            return refuse(&entry.name);
        }
    }
    let gallery = folder.join(GALLERY);
    if gallery.exists() && !onestep_store::read(&gallery).is_ok_and(|bytes| (GALLERY_FORMAT.is)(&bytes)) {
        return refuse(GALLERY);
    }
    Ok(())
}
