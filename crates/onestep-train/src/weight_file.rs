//! Weights as their authors publish them: one file of PyTorch (`.pth`, `.pt`) or safetensors.

use std::path::Path;

use half::{bf16, f16};
use onestep_nets::weights::StateTensor;
use pytorch_reader::{DType, PytorchReader};

use crate::{error::TrainError, store};

/// Largest file that is read: Inception-v3 has 95 MB, LatentLPIPS 59.
const LARGEST_FILE: u64 = 1 << 30;

/// The tensors of a file, in f32 and sorted by name; counters of batches are left out, evaluation does not need them.
///
/// # Errors
/// A file that is too large, of neither kind, or damaged; a tensor that is not of floats.
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
    if path.extension().is_some_and(|extension| extension == "safetensors") {
        let file = store::read(path)?;
        let file = safetensors::SafeTensors::deserialize(&file)
            .map_err(|error| TrainError::input(format!("{place} is not a valid safetensors file: {error}")))?;
        let mut tensors: Vec<StateTensor> = file
            .iter()
            .filter(|(name, _)| !name.ends_with(".num_batches_tracked"))
            .map(|(name, view)| {
                let data = match view.dtype() {
                    safetensors::Dtype::F32 => floats(DType::F32, view.data()),
                    safetensors::Dtype::F16 => floats(DType::F16, view.data()),
                    safetensors::Dtype::BF16 => floats(DType::BF16, view.data()),
                    _ => None,
                };
                let data = data.ok_or_else(|| TrainError::input(format!("{place}: {name} is {:?}, expected floats", view.dtype())))?;
                Ok(StateTensor { name: name.to_owned(), shape: view.shape().to_vec(), data })
            })
            .collect::<Result<_, TrainError>>()?;
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        return Ok(tensors);
    }
    let reader = PytorchReader::new(path).map_err(|error| TrainError::input(format!("{place} is not a checkpoint of PyTorch: {error}")))?;
    let mut tensors = Vec::new();
    for (name, tensor) in reader.into_tensors() {
        if name.ends_with(".num_batches_tracked") {
            continue;
        }
        let refuse = |reason: &dyn std::fmt::Display| TrainError::input(format!("{place}: {name} {reason}"));
        let bytes = tensor.read().map_err(|error| refuse(&error))?;
        let data = floats(tensor.dtype(), &bytes).ok_or_else(|| refuse(&format!("is {:?}, expected floats", tensor.dtype())))?;
        tensors.push(StateTensor { name: name.clone(), shape: tensor.shape().to_vec(), data });
    }
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(tensors)
}

/// Little-endian floats of any width.
fn floats(dtype: DType, bytes: &[u8]) -> Option<Vec<f32>> {
    Some(match dtype {
        DType::F64 => bytes.as_chunks::<8>().0.iter().map(|bytes| f64::from_le_bytes(*bytes) as f32).collect(),
        DType::F32 => bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
        DType::F16 => bytes.as_chunks::<2>().0.iter().map(|bytes| f16::from_le_bytes(*bytes).to_f32()).collect(),
        DType::BF16 => bytes.as_chunks::<2>().0.iter().map(|bytes| bf16::from_le_bytes(*bytes).to_f32()).collect(),
        _ => return None,
    })
}
