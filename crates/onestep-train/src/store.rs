//! Reading and writing of safetensors files and result folders.

use std::collections::BTreeMap;
use std::path::Path;

use onestep_program::{ElementType, StoredTensor, TensorFile};
use onestep_store::{FolderDestination, FolderKind};
use sha2::{Digest, Sha256};

use crate::error::TrainError;

pub use onestep_store::{read, tensor_bytes};

/// SHA-256 in lower-case hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes a folder of `kind` atomically; see [`FolderDestination`].
///
/// # Errors
/// A folder with other contents; storage.
pub fn write_folder(folder: &Path, kind: FolderKind, files: &[(String, Vec<u8>)]) -> Result<(), TrainError> {
    let mut destination = FolderDestination::acquire(folder, kind, &[])?;
    for (name, bytes) in files {
        destination.write(name, bytes)?;
    }
    Ok(destination.publish()?)
}

/// The f32 tensors of safetensors bytes, by name.
///
/// # Errors
/// Bytes that are not such a file; `location` names it in the error.
pub fn read_tensors(bytes: &[u8], location: &str) -> Result<BTreeMap<String, (Vec<usize>, Vec<f32>)>, TrainError> {
    let refuse = |error: onestep_program::BundleError| TrainError::input(error.to_string());
    let file = TensorFile::read(bytes, location).map_err(refuse)?;
    let read = |(name, tensor): (&str, StoredTensor<'_>)| Ok((name.to_owned(), (tensor.shape.to_vec(), file.floats(name, &[ElementType::F32])?)));
    file.iter().map(read).collect::<Result<_, _>>().map_err(refuse)
}
