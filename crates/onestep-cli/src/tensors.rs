//! Tensors in safetensors files, as the commands for comparisons with other systems take and give them.

use std::collections::BTreeMap;
use std::path::Path;

use onestep_program::{BundleError, ElementType, TensorEntry, TensorFile};

use crate::exit::{Exit, Failure};

/// A tensor in main memory, of any shape.
#[derive(Clone, Debug)]
pub struct HostTensor {
    /// Lengths of the axes.
    #[cfg_attr(not(feature = "train"), expect(dead_code, reason = "only `debug run-component` compares shapes"))]
    pub shape: Vec<usize>,
    /// The elements, row-major. Token ids are exact below 2^24.
    pub data: Vec<f32>,
}

/// Tensors by name.
pub type Tensors = BTreeMap<String, HostTensor>;

/// Reads a file of float tensors.
///
/// # Errors
/// A file that cannot be read, or holds something else; [`Exit::Input`].
pub fn read(path: &Path) -> Result<Tensors, Failure> {
    let refuse = |error: BundleError| Failure::new(Exit::Input, error.to_string());
    let bytes = onestep_store::read(path)?;
    let file = TensorFile::read(&bytes, &path.display().to_string()).map_err(refuse)?;
    let tensor = |(name, entry): (&str, &TensorEntry)| {
        let data = file.floats(name, ElementType::SUPPORTED)?;
        Ok((name.to_owned(), HostTensor { shape: entry.shape.clone(), data }))
    };
    file.header().iter().map(tensor).collect::<Result<_, _>>().map_err(refuse)
}
