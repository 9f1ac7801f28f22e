//! Published weights of metrics and features in one file: PyTorch (`.pth`, `.pt`) or safetensors.

use std::path::Path;

use onestep_nets::weights::StateTensor;
use onestep_pipeline::weights::WeightFile;
use onestep_program::ElementType;

use crate::error::TrainError;

/// Suffix of batch counters, which inference does not need.
const COUNTER: &str = ".num_batches_tracked";

/// Largest file, and most bytes of its tensors together. Inception-v3 has 95 MB, LatentLPIPS 59.
const LARGEST_FILE: u64 = 1 << 30;

/// The element types that are read.
const TYPES: [ElementType; 4] = [ElementType::F64, ElementType::F32, ElementType::F16, ElementType::BF16];

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
    let file = WeightFile::open(path)?;
    let mut left = LARGEST_FILE;
    let mut tensors = Vec::new();
    for (name, info) in file.iter().filter(|(name, _)| !name.ends_with(COUNTER)) {
        let refuse = |reason: String| TrainError::input(format!("{location}: tensor {name} {reason}"));
        if !TYPES.contains(&info.element) {
            return Err(refuse(format!("is stored as {}, expected floats", info.element.name())));
        }
        left = left.checked_sub(info.bytes).ok_or_else(|| refuse(format!("and those before it have more than {LARGEST_FILE} bytes")))?;
        let data = file.read(name)?.to_f32().unwrap_or_default();
        tensors.push(StateTensor { name: name.to_owned(), shape: info.shape.clone(), data });
    }
    Ok(tensors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_read_and_counters_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metric.safetensors");
        let header =
            r#"{"a":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]},"b.num_batches_tracked":{"dtype":"I64","shape":[],"data_offsets":[2,10]}}"#;
        let bytes = |header: &str| [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0x80, 0x3f], &[0; 8]].concat();
        std::fs::write(&path, bytes(header)).unwrap();
        assert_eq!(read(&path).unwrap(), [StateTensor { name: "a".into(), shape: vec![1], data: vec![1.0] }]);
        std::fs::write(&path, bytes(&header.replace("b.num_batches_tracked", "ids"))).unwrap();
        let told = read(&path).unwrap_err().to_string();
        assert!(told.contains("metric.safetensors: tensor ids is stored as I64, expected floats"), "{told}");
    }
}
