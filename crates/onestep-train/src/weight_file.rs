//! Weights as their authors publish them: one file of PyTorch (`.pth`, `.pt`) or safetensors.

use std::fmt::Display;
use std::path::Path;

use onestep_nets::weights::StateTensor;
use onestep_program::{ElementType, TensorFile, disguise};
use pytorch_reader::{DType, PytorchReader};

use crate::{error::TrainError, guard::guarded, pickle_check::first_misfit};

/// Largest file that is read, and the most bytes that its tensors may have together: Inception-v3 has 95 MB, LatentLPIPS 59.
pub(crate) const LARGEST_FILE: u64 = 1 << 30;

/// Counters of batches, which evaluation does not need.
const COUNTER: &str = ".num_batches_tracked";

/// The tensors of a file, in f32 and sorted by name; counters of batches are left out, evaluation does not need them.
///
/// # Errors
/// A file that is too large, of neither kind, or damaged; a tensor that is not of floats, or larger than the file can hold.
pub fn read(path: &Path) -> Result<Vec<StateTensor>, TrainError> {
    let place = path.display();
    let size = std::fs::metadata(path).map_err(|error| TrainError::storage("reading", path, &error))?.len();
    if size > LARGEST_FILE {
        return Err(TrainError::input(format!(
            "{place} has {} MiB; the networks that are read from single files have less than 200. If it is a metric's trunk with its classifier \
             (*_latent_vgg16.pth.tar), the metric is the small file beside it, *_tuned.pth",
            size >> 20
        )));
    }
    let bytes = onestep_store::read_at_most(path, LARGEST_FILE)?;
    let mut tensors = if path.extension().is_some_and(|extension| extension == "safetensors") {
        of_safetensors(&bytes, &place)?
    } else {
        // The library tells what is no checkpoint by the first byte alone.
        let told = if bytes.is_empty() { Some("empty; fetch it again") } else { disguise::stand_in(&bytes) };
        if let Some(told) = told {
            return Err(TrainError::input(format!("{place}: expected a checkpoint of PyTorch; this is {told}")));
        }
        drop(bytes);
        guarded(&place, "the reader of PyTorch's checkpoints", || of_pytorch(path, size))??
    };
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(tensors)
}

fn of_safetensors(bytes: &[u8], place: &impl Display) -> Result<Vec<StateTensor>, TrainError> {
    let refuse = |error: onestep_program::BundleError| TrainError::input(error.to_string());
    let file = TensorFile::read(bytes, &place.to_string()).map_err(refuse)?;
    let names = file.header().iter().filter(|(name, _)| !name.ends_with(COUNTER));
    names
        .map(|(name, entry)| {
            let data = file.floats(name, ElementType::WEIGHTS).map_err(refuse)?;
            Ok(StateTensor { name: name.to_owned(), shape: entry.shape.clone(), data })
        })
        .collect()
}

/// The file is opened again by path, by the library and by the look that goes before it.
fn of_pytorch(path: &Path, size: u64) -> Result<Vec<StateTensor>, TrainError> {
    let place = path.display();
    if let Some(told) = first_misfit(path) {
        return Err(TrainError::input(format!("{place}: {told}")));
    }
    let reader = PytorchReader::new(path).map_err(|error| TrainError::input(format!("{place} is not a checkpoint of PyTorch: {error}")))?;
    let mut tensors = Vec::new();
    let mut left = LARGEST_FILE;
    for (name, tensor) in reader.into_tensors() {
        if name.ends_with(COUNTER) {
            continue;
        }
        let refuse = |reason: &dyn Display| TrainError::input(format!("{place}: tensor {name} {reason}"));
        let element = match tensor.dtype() {
            DType::F64 => ElementType::F64,
            DType::F32 => ElementType::F32,
            DType::F16 => ElementType::F16,
            DType::BF16 => ElementType::BF16,
            other => return Err(refuse(&format!("is stored as {other:?}, expected floats"))),
        };
        // Strides of 0 show one element many times, so a small file could ask for any amount of memory.
        let claimed = tensor.byte_len() as u64;
        if claimed > size {
            return Err(refuse(&format!("of shape {:?} has {claimed} bytes, more than the whole file, which has {size}", tensor.shape())));
        }
        left = left.checked_sub(claimed).ok_or_else(|| refuse(&format!("and those before it have more than {LARGEST_FILE} bytes")))?;
        // The library's sentence has the tensor's name.
        let bytes = tensor.read().map_err(|error| TrainError::input(format!("{place}: {error}")))?;
        let data = element.to_f32(&bytes).unwrap_or_default();
        tensors.push(StateTensor { name: name.clone(), shape: tensor.shape().to_vec(), data });
    }
    Ok(tensors)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store;

    #[test]
    fn what_is_no_weight_file_is_told_as_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let sound = store::tensor_bytes(&[("lin.weight".into(), vec![2], vec![1.0, 2.0])]);
        let refusal = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            let told = read(&path).map(|tensors| tensors.len()).unwrap_err().to_string();
            assert!(told.contains(name), "{told}");
            told
        };
        for name in ["metric.pth", "metric.safetensors"] {
            assert!(refusal(name, b"").contains("empty"), "{name}");
            assert!(refusal(name, b"version https://git-lfs.github.com/spec/v1\n").contains("git lfs pull"), "{name}");
            assert!(refusal(name, b"<!DOCTYPE html>").contains("HTML"), "{name}");
        }
        assert!(refusal("metric.safetensors", b"PK\x03\x04.........").contains("ZIP archive, as PyTorch's"));
        assert!(refusal("metric.safetensors", &sound[..sound.len() - 1]).contains("tensor lin.weight ends at byte"));
        assert!(refusal("metric.pth", &sound).contains("not a checkpoint of PyTorch"));
        assert!(refusal("metric.pth", b"PK\x03\x04 not a checkpoint").contains("not a checkpoint of PyTorch"));
    }
}
