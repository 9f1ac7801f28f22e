//! The weights of a bundle's programs as one safetensors file.

use std::collections::BTreeMap;

use onestep_program::DType;
use safetensors::tensor::{Dtype, TensorView};

use crate::{
    error::CompileError,
    program::{Compiled, Weight},
};

/// Serialises the weights of all programs as one safetensors file. A tensor that several programs name is written once.
///
/// # Errors
/// Two different tensors of one name.
pub fn bundle_weights(programs: &[&Compiled]) -> Result<Vec<u8>, CompileError> {
    let refuse = |name: &str, message: String| CompileError::Tensor { name: name.to_owned(), message };
    let mut tensors: BTreeMap<&str, &Weight> = BTreeMap::new();
    for weight in programs.iter().flat_map(|compiled| &compiled.weights) {
        if let Some(present) = tensors.insert(&weight.name, weight)
            && present != weight
        {
            return Err(refuse(&weight.name, "is not the same in all programs".into()));
        }
    }
    let mut views = Vec::with_capacity(tensors.len());
    for (name, weight) in tensors {
        let dtype = match weight.dtype {
            DType::F32 => Dtype::F32,
            DType::F16 => Dtype::F16,
            DType::I32 => Dtype::I32,
        };
        views.push((name, TensorView::new(dtype, weight.shape.clone(), &weight.bytes).map_err(|error| refuse(name, error.to_string()))?));
    }
    safetensors::serialize(views, None).map_err(|error| refuse("weights", error.to_string()))
}
