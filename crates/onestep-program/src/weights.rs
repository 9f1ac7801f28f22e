//! Weight files: safetensors, read strictly.

use std::collections::BTreeMap;
use std::ops::Range;

use safetensors::SafeTensors;

use crate::{
    error::{BundleError, Kind},
    limits,
    program::DType,
};

/// Borrowed elements that a caller gives to a program.
#[derive(Clone, Copy, Debug)]
pub enum TensorRef<'a> {
    /// Floats, row-major.
    F32(&'a [f32]),
    /// Token ids.
    I32(&'a [i32]),
}

impl TensorRef<'_> {
    /// The number of elements.
    pub fn len(&self) -> usize {
        match self {
            TensorRef::F32(data) => data.len(),
            TensorRef::I32(data) => data.len(),
        }
    }
    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// How the elements are stored.
    pub fn dtype(&self) -> DType {
        match self {
            TensorRef::F32(_) => DType::F32,
            TensorRef::I32(_) => DType::I32,
        }
    }
}

/// One tensor of a weight file. The bytes are little-endian, row-major and not aligned.
#[derive(Clone, Copy, Debug)]
pub struct WeightView<'a> {
    /// Lengths of the axes.
    pub shape: &'a [usize],
    /// Storage of the elements.
    pub dtype: DType,
    /// The elements.
    pub bytes: &'a [u8],
}

impl WeightView<'_> {
    /// The elements as f32, whatever they are stored in; ids convert exactly below 2^24.
    pub fn to_f32(&self) -> Vec<f32> {
        match self.dtype {
            DType::F32 => self.bytes.as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect(),
            DType::I32 => self.bytes.as_chunks::<4>().0.iter().map(|&bytes| i32::from_le_bytes(bytes) as f32).collect(),
            DType::F16 => self.bytes.as_chunks::<2>().0.iter().map(|&bytes| half::f16::from_le_bytes(bytes).to_f32()).collect(),
        }
    }
}

/// A safetensors file in memory whose header has been checked against its bytes.
#[derive(Clone, Debug)]
pub struct WeightFile {
    bytes: Vec<u8>,
    tensors: BTreeMap<String, (Vec<usize>, DType, Range<usize>)>,
}

impl WeightFile {
    /// Reads the header; `place` is the file's name in errors.
    ///
    /// # Errors
    /// A header above its limit, offsets that overlap or leave gaps, sizes that are not shape × type, dtypes other than f32, f16 and i32.
    pub fn new(bytes: Vec<u8>, place: &str) -> Result<Self, BundleError> {
        let malformed = |message: String| BundleError::new(Kind::Malformed, place, message);
        let length = bytes
            .first_chunk::<8>()
            .map(|head| u64::from_le_bytes(*head))
            .ok_or_else(|| malformed(format!("{} bytes are no safetensors file", bytes.len())))?;
        limits::check(limits::HEADER_BYTES, length, place)?;
        let file = SafeTensors::deserialize(&bytes).map_err(|error| malformed(format!("not a valid safetensors file: {error}")))?;
        limits::check(limits::TENSORS, file.len() as u64, place)?;
        let mut tensors = BTreeMap::new();
        for (name, view) in file.iter() {
            let dtype = match view.dtype() {
                safetensors::Dtype::F32 => DType::F32,
                safetensors::Dtype::F16 => DType::F16,
                safetensors::Dtype::I32 => DType::I32,
                other => {
                    return Err(BundleError::new(
                        Kind::Unsupported,
                        place,
                        format!("tensor {name} is stored as {other:?}; f32, f16 and i32 are read"),
                    ));
                }
            };
            limits::elements(view.shape(), &format!("{place}, tensor {name}"))?;
            let start = view.data().as_ptr() as usize - bytes.as_ptr() as usize;
            tensors.insert(name.to_owned(), (view.shape().to_vec(), dtype, start..start + view.data().len()));
        }
        Ok(Self { bytes, tensors })
    }

    /// The tensor of that name.
    pub fn get(&self, name: &str) -> Option<WeightView<'_>> {
        let (shape, dtype, range) = self.tensors.get(name)?;
        Some(WeightView { shape, dtype: *dtype, bytes: &self.bytes[range.clone()] })
    }

    /// All names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }
}
