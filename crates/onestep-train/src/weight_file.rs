//! Published weights in one file: PyTorch (`.pth`, `.pt`) or safetensors.

use std::fmt::Display;
use std::path::Path;

use onestep_nets::weights::StateTensor;
use onestep_program::{ElementType, TensorFile, file_signature};
use pytorch_reader::{DType, PytorchReader};

use crate::{
    error::TrainError,
    guard::guarded,
    pickle_check::{LARGEST_FILE, first_misfit},
};

/// Suffix of batch counters, which inference does not need.
const COUNTER: &str = ".num_batches_tracked";

/// Reads the tensors of a file without batch counters, in f32, sorted by name.
///
/// # Errors
/// A file that is too large, of another format, or damaged; a tensor that is no float tensor, or larger than the file.
pub fn read(path: &Path) -> Result<Vec<StateTensor>, TrainError> {
    let location = path.display();
    let size = std::fs::metadata(path).map_err(|error| TrainError::storage("reading", path, &error))?.len();
    if size > LARGEST_FILE {
        return Err(TrainError::input(format!(
            "{location} has {} MiB; the networks that are read from single files have less than 200. If it is a metric's trunk with its classifier \
             (*_latent_vgg16.pth.tar), the metric is the small file next to it, *_tuned.pth",
            size >> 20
        )));
    }
    let bytes = onestep_store::read_at_most(path, LARGEST_FILE)?;
    let mut tensors = if path.extension().is_some_and(|extension| extension == "safetensors") {
        of_safetensors(&bytes, &location)?
    } else {
        // The library recognises a format by its first byte only.
        let told = if bytes.is_empty() { Some("empty; fetch it again") } else { file_signature::placeholder(&bytes) };
        if let Some(told) = told {
            return Err(TrainError::input(format!("{location}: expected a checkpoint of PyTorch; this is {told}")));
        }
        drop(bytes);
        guarded(&location, "the reader of PyTorch's checkpoints", || of_pytorch(path, size))??
    };
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(tensors)
}

fn of_safetensors(bytes: &[u8], location: &impl Display) -> Result<Vec<StateTensor>, TrainError> {
    let refuse = |error: onestep_program::BundleError| TrainError::input(error.to_string());
    let file = TensorFile::read(bytes, &location.to_string()).map_err(refuse)?;
    let names = file.header().iter().filter(|(name, _)| !name.ends_with(COUNTER));
    names
        .map(|(name, entry)| {
            let data = file.floats(name, ElementType::WEIGHTS).map_err(refuse)?;
            Ok(StateTensor { name: name.to_owned(), shape: entry.shape.clone(), data })
        })
        .collect()
}

/// Opens the file by path once for a check of its pickles, and once in the library.
fn of_pytorch(path: &Path, size: u64) -> Result<Vec<StateTensor>, TrainError> {
    let location = path.display();
    if let Some(told) = first_misfit(path) {
        return Err(TrainError::input(format!("{location}: {told}")));
    }
    let reader = PytorchReader::new(path).map_err(|error| TrainError::input(format!("{location} is not a checkpoint of PyTorch: {error}")))?;
    let mut tensors = Vec::new();
    let mut left = LARGEST_FILE;
    for (name, tensor) in reader.into_tensors() {
        if name.ends_with(COUNTER) {
            continue;
        }
        let refuse = |reason: &dyn Display| TrainError::input(format!("{location}: tensor {name} {reason}"));
        let element = match tensor.dtype() {
            DType::F64 => ElementType::F64,
            DType::F32 => ElementType::F32,
            DType::F16 => ElementType::F16,
            DType::BF16 => ElementType::BF16,
            other => return Err(refuse(&format!("is stored as {other:?}, expected floats"))),
        };
        // With a stride of 0 a small file could need any amount of memory.
        let claimed = tensor.byte_len() as u64;
        if claimed > size {
            return Err(refuse(&format!("of shape {:?} has {claimed} bytes, more than the whole file, which has {size}", tensor.shape())));
        }
        left = left.checked_sub(claimed).ok_or_else(|| refuse(&format!("and those before it have more than {LARGEST_FILE} bytes")))?;
        // The library's message names the tensor.
        let bytes = tensor.read().map_err(|error| TrainError::input(format!("{location}: {error}")))?;
        let data = element.to_f32(&bytes).unwrap_or_default();
        tensors.push(StateTensor { name: name.clone(), shape: tensor.shape().to_vec(), data });
    }
    Ok(tensors)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pickle_check::tests::{archive, pickle};
    use crate::store;

    #[test]
    fn other_files_are_refused_with_their_format() {
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

    #[test]
    fn pytorch_files_are_read_if_their_tensors_fit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metric.pth");
        archive(&path, &pickle(6, 0, &[2, 3], &[3, 1]), &[0; 24]);
        let tensors = read(&path).unwrap();
        assert_eq!((tensors[0].name.as_str(), tensors[0].shape.as_slice(), tensors[0].data.len()), ("net.lin.weight", &[2, 3][..], 6));
        // Six elements repeated by a stride of 0: more bytes than their storage, but no more than the file.
        archive(&path, &pickle(6, 0, &[3, 6], &[0, 1]), &[0; 24]);
        assert_eq!(read(&path).unwrap()[0].data.len(), 18);
        for (pickle, storage, part) in [
            (pickle(6, 1, &[2, 3], &[3, 1]), vec![0; 24], "needs 7 elements"),
            (pickle(1 << 40, 0, &[2, 3], &[3, 1]), vec![0; 24], "a storage 0 of 4398046511104 bytes, and the file has 24 for it"),
            (pickle(6, 0, &[1 << 20, 6], &[0, 1]), vec![0; 24], "25165824 bytes, more than the whole file"),
            (pickle(6, 0, &[1 << 62, 4], &[0, 0]), vec![0; 24], "tensor net.lin.weight of shape [4611686018427387904, 4] has more than"),
        ] {
            archive(&path, &pickle, &storage);
            let told = read(&path).map(|tensors| tensors.len()).unwrap_err().to_string();
            assert!(told.contains("metric.pth") && told.contains(part), "{told}");
        }
    }
}
