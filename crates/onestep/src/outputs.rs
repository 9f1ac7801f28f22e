//! What a program computes.

#[cfg(feature = "cpu")]
use crate::error::{Error, ErrorKind, Result};

/// Output tensors of a program: name, elements in row-major order.
pub(crate) type Outputs = Vec<(String, Vec<f32>)>;

/// The elements of the only output, whatever its name.
#[cfg(feature = "cpu")]
pub(crate) fn only(outputs: Outputs) -> Result<Vec<f32>> {
    outputs.into_iter().next().map(|(_, values)| values).ok_or_else(|| Error::new(ErrorKind::Internal, "a program computed nothing"))
}
