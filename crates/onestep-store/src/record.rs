//! The record file, which marks a folder that onestep wrote.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{error::StoreError, file::replace_file, json_bytes, reading::read_at_most};

/// The name of the record file, in folders without a bundle's manifest.
pub const RECORD_FILE: &str = "onestep-folder.json";

/// Larger files are not records of onestep.
pub(crate) const RECORD_BYTES: u64 = 64 << 20;

const SCHEMA: u32 = 1;

/// The kind of a folder and the files that were written to it.
#[derive(Serialize, Deserialize)]
struct Record {
    schema: u32,
    /// The [`FolderKind`](crate::FolderKind)'s name.
    kind: String,
    /// Paths within the folder, `/` between their parts.
    files: BTreeSet<String>,
}

/// The record of a folder of `kind` with these files.
pub(crate) fn record(kind: &str, files: &BTreeSet<String>) -> Result<Vec<u8>, StoreError> {
    let mut files = files.clone();
    files.insert(RECORD_FILE.to_owned());
    let record = Record { schema: SCHEMA, kind: kind.to_owned(), files };
    json_bytes(&record, Path::new(RECORD_FILE))
}

/// Marks a locked folder as one of `kind`, unless it is already marked.
///
/// # Errors
/// Storage.
pub fn mark_folder(folder: &Path, kind: &str) -> Result<(), StoreError> {
    if is_marked(folder, kind) { Ok(()) } else { replace_file(&folder.join(RECORD_FILE), &record(kind, &BTreeSet::new())?) }
}

/// True if a folder is marked as one of `kind`.
pub fn is_marked(folder: &Path, kind: &str) -> bool {
    read_at_most(&folder.join(RECORD_FILE), RECORD_BYTES).is_ok_and(|bytes| record_files(kind, &bytes).is_some())
}

/// The files that a record lists; `None` if the bytes are not a record of a folder of `kind`.
pub fn record_files(kind: &str, bytes: &[u8]) -> Option<BTreeSet<String>> {
    let record: Record = serde_json::from_slice(bytes).ok()?;
    (record.schema == SCHEMA && record.kind == kind).then_some(record.files)
}
