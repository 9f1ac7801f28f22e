//! The file by which a folder that onestep wrote can be told from others.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// The name of the record in folders that have no manifest of their own.
pub const RECORD_FILE: &str = "onestep-folder.json";

const SCHEMA: u32 = 1;

/// What wrote a folder, and which files it wrote there.
#[derive(Serialize, Deserialize)]
struct Record {
    schema: u32,
    /// The [`FolderKind`](crate::FolderKind)'s name.
    kind: String,
    /// Paths within the folder, `/` between their parts.
    files: BTreeSet<String>,
}

/// The record of a folder of `kind` with these files.
pub(crate) fn record(kind: &str, files: &BTreeSet<String>) -> Vec<u8> {
    let mut files = files.clone();
    files.insert(RECORD_FILE.to_owned());
    let record = Record { schema: SCHEMA, kind: kind.to_owned(), files };
    serde_json::to_vec_pretty(&record).unwrap_or_default()
}

/// The files that a record of a folder of `kind` lists; `None` for the record of another kind, or what is no record.
pub fn record_files(kind: &str, bytes: &[u8]) -> Option<BTreeSet<String>> {
    let record: Record = serde_json::from_slice(bytes).ok()?;
    (record.schema == SCHEMA && record.kind == kind).then_some(record.files)
}
