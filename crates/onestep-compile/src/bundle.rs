//! The weights of a bundle's programs as safetensors files.

use std::collections::BTreeMap;

use onestep_program::{DType, ElementType};

use crate::{
    error::CompileError,
    program::{Compiled, Weight},
};

/// The weights of all programs, split into files. A tensor that several programs name is in one file.
#[derive(Debug)]
pub struct BundleWeights<'a> {
    /// The tensors of each file in the order of their bytes.
    files: Vec<Vec<&'a Weight>>,
}

impl<'a> BundleWeights<'a> {
    /// Distributes the tensors over files with at most `most` bytes of tensors each; a larger tensor has a separate file.
    ///
    /// # Errors
    /// Two different tensors of one name.
    pub fn new(programs: &[&'a Compiled], most: u64) -> Result<Self, CompileError> {
        let mut tensors: BTreeMap<&str, &Weight> = BTreeMap::new();
        for weight in programs.iter().flat_map(|compiled| &compiled.weights) {
            if let Some(present) = tensors.insert(&weight.name, weight)
                && present != weight
            {
                return Err(CompileError::Tensor { name: weight.name.clone(), message: "is not the same in all programs".into() });
            }
        }
        let mut files: Vec<(u64, Vec<&Weight>)> = vec![(0, Vec::new())];
        for weight in tensors.into_values() {
            if let Some((size, file)) = files.last_mut()
                && (file.is_empty() || size.saturating_add(weight.size()) <= most)
            {
                *size += weight.size();
                file.push(weight);
            } else {
                files.push((weight.size(), vec![weight]));
            }
        }
        let mut files: Vec<Vec<&Weight>> = files.into_iter().map(|(_, file)| file).collect();
        for file in &mut files {
            // The order of the crate safetensors: wide types first, so that tensors are aligned.
            file.sort_by_key(|weight| (std::cmp::Reverse(weight.dtype.size()), weight.dtype != DType::F32));
        }
        Ok(Self { files })
    }

    /// The number of files.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// True if there are no files, which is never the case: without tensors there is one file.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Hands the bytes of a file to `write`, tensor by tensor.
    ///
    /// # Errors
    /// Errors of `write` and of reading a weight.
    pub fn write<E: From<CompileError>>(&self, file: usize, mut write: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let tensors = self.files.get(file).map(Vec::as_slice).unwrap_or_default();
        let mut header = String::from("{");
        let mut start = 0;
        for weight in tensors {
            let end = start + weight.size();
            let separator = if start == 0 && header.len() == 1 { "" } else { "," };
            let name = serde_json::Value::from(weight.name.as_str());
            let (dtype, shape) = (ElementType::from(weight.dtype).name(), &weight.shape);
            let shape: Vec<String> = shape.iter().map(usize::to_string).collect();
            header += &format!("{separator}{name}:{{\"dtype\":\"{dtype}\",\"shape\":[{}],\"data_offsets\":[{start},{end}]}}", shape.join(","));
            start = end;
        }
        header += "}";
        let padded = header.len().next_multiple_of(8);
        let mut header = header.into_bytes();
        header.resize(padded, b' ');
        write(&(padded as u64).to_le_bytes())?;
        write(&header)?;
        tensors.iter().try_for_each(|weight| write(&weight.bytes()?))
    }
}

/// Serialises the weights of all programs as one safetensors file in memory.
///
/// # Errors
/// Those of [`BundleWeights::new`] and of reading a weight.
pub fn bundle_weights(programs: &[&Compiled]) -> Result<Vec<u8>, CompileError> {
    let mut bytes = Vec::new();
    BundleWeights::new(programs, u64::MAX)?.write(0, |part| {
        bytes.extend_from_slice(part);
        Ok::<(), CompileError>(())
    })?;
    Ok(bytes)
}
