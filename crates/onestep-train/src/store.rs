//! Files that are either whole or not there.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use sha2::{Digest, Sha256};

use crate::error::TrainError;

/// SHA-256 in lower-case hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads a whole file.
///
/// # Errors
/// The path and the operating system's reason.
pub fn read(path: &Path) -> Result<Vec<u8>, TrainError> {
    fs::read(path).map_err(|error| TrainError::storage("reading", path, &error))
}

/// Writes a file so that after a crash it has either its old or its new content: written beside, synced, renamed.
///
/// # Errors
/// The path and the operating system's reason.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), TrainError> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let aside = path.with_file_name(format!(".{name}.partial"));
    write_synced(&aside, bytes)?;
    fs::rename(&aside, path).map_err(|error| TrainError::storage("renaming to", path, &error))?;
    sync_folder(path.parent().unwrap_or(Path::new(".")))
}

/// Writes several files into a folder that appears only when all of them are on the disk.
///
/// # Errors
/// The path and the operating system's reason.
pub fn write_folder(folder: &Path, files: &[(String, Vec<u8>)]) -> Result<(), TrainError> {
    let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let aside = folder.with_file_name(format!("{name}.partial"));
    let storage = |doing: &str, path: &Path, error: &std::io::Error| TrainError::storage(doing, path, error);
    if aside.exists() {
        fs::remove_dir_all(&aside).map_err(|error| storage("removing", &aside, &error))?;
    }
    for (name, bytes) in files {
        let path = aside.join(name);
        create_folder(path.parent().unwrap_or(&aside))?;
        write_synced(&path, bytes)?;
    }
    sync_folder(&aside)?;
    if folder.exists() {
        // A folder cannot be replaced in one rename; the old one steps aside for the moment in between.
        let old = folder.with_file_name(format!("{name}.old"));
        if old.exists() {
            fs::remove_dir_all(&old).map_err(|error| storage("removing", &old, &error))?;
        }
        fs::rename(folder, &old).map_err(|error| storage("renaming", folder, &error))?;
        fs::rename(&aside, folder).map_err(|error| storage("renaming to", folder, &error))?;
        fs::remove_dir_all(&old).map_err(|error| storage("removing", &old, &error))?;
    } else {
        fs::rename(&aside, folder).map_err(|error| storage("renaming to", folder, &error))?;
    }
    sync_folder(folder.parent().unwrap_or(Path::new(".")))
}

/// Creates a folder and those above it.
///
/// # Errors
/// The path and the operating system's reason.
pub fn create_folder(folder: &Path) -> Result<(), TrainError> {
    fs::create_dir_all(folder).map_err(|error| TrainError::storage("creating", folder, &error))
}

fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), TrainError> {
    let storage = |error: std::io::Error| TrainError::storage("writing", path, &error);
    let mut file = File::create(path).map_err(storage)?;
    file.write_all(bytes).map_err(storage)?;
    file.sync_all().map_err(storage)
}

/// Makes renames durable. Folders can be opened for that on Unix only.
fn sync_folder(folder: &Path) -> Result<(), TrainError> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    if cfg!(unix) {
        File::open(folder).and_then(|file| file.sync_all()).map_err(|error| TrainError::storage("syncing", folder, &error))?;
    }
    Ok(())
}

/// f32 tensors (name, shape, elements) as safetensors bytes; the same tensors give the same bytes.
pub fn tensor_bytes(tensors: &[(String, Vec<usize>, Vec<f32>)], metadata: &[(&str, String)]) -> Vec<u8> {
    let data: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(name, shape, data)| (name.clone(), shape.clone(), data.iter().flat_map(|value| value.to_le_bytes()).collect()))
        .collect();
    let views: BTreeMap<&str, TensorView<'_>> =
        data.iter().filter_map(|(name, shape, bytes)| Some((name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).ok()?))).collect();
    let metadata: HashMap<String, String> = metadata.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    // One key at most: a HashMap with more would be written in an order of its own.
    debug_assert!(metadata.len() <= 1);
    safetensors::serialize(views, Some(metadata)).unwrap_or_default()
}

/// The f32 tensors of safetensors bytes, by name.
///
/// # Errors
/// `place` and what is wrong with it.
pub fn read_tensors(bytes: &[u8], place: &str) -> Result<BTreeMap<String, (Vec<usize>, Vec<f32>)>, TrainError> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| TrainError::input(format!("{place} is not a valid safetensors file: {error}")))?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.iter() {
        if view.dtype() != Dtype::F32 {
            return Err(TrainError::input(format!("{place}: tensor {name} is {:?}, expected F32", view.dtype())));
        }
        let data = view.data().as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
        tensors.insert(name.to_owned(), (view.shape().to_vec(), data));
    }
    Ok(tensors)
}
