//! Weight files: safetensors, read strictly.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

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

/// Where a tensor lies in a weight file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorPlace {
    /// Lengths of the axes.
    pub shape: Vec<usize>,
    /// Storage of the elements.
    pub dtype: DType,
    /// Its first byte, from the start of the file. No alignment is promised.
    pub start: u64,
    /// Its bytes.
    pub size: u64,
}

/// The header of a safetensors file, checked against the file's size; the tensors themselves need not be there.
#[derive(Clone, Debug)]
pub struct WeightHeader {
    tensors: BTreeMap<String, TensorPlace>,
}

impl WeightHeader {
    /// Reads the header from the beginning of a file of `size` bytes; `place` is the file's name in errors.
    ///
    /// # Errors
    /// A header above its limit, offsets that overlap or leave gaps, sizes that are not shape × type, dtypes other than f32, f16 and i32.
    pub fn new(beginning: &[u8], size: u64, place: &str) -> Result<Self, BundleError> {
        let malformed = |message: String| BundleError::new(Kind::Malformed, place, message);
        let invalid = |message: String| malformed(format!("not a valid safetensors file: {message}"));
        let length = beginning
            .first_chunk::<8>()
            .map(|head| u64::from_le_bytes(*head))
            .ok_or_else(|| malformed(format!("{size} bytes are no safetensors file")))?;
        limits::check(limits::HEADER_BYTES, length, place)?;
        let data = 8 + length;
        let text = usize::try_from(data).ok().and_then(|end| beginning.get(8..end)).ok_or_else(|| invalid("it ends inside its header".into()))?;
        let header: Map<String, Json> = serde_json::from_slice(text).map_err(|error| invalid(error.to_string()))?;
        limits::check(limits::TENSORS, header.len() as u64, place)?;
        let mut tensors = BTreeMap::new();
        let mut ranges = Vec::with_capacity(header.len());
        for (name, entry) in header {
            if name == "__metadata__" {
                continue;
            }
            let (stored, shape, [start, end]) = fields(&entry).ok_or_else(|| invalid(format!("tensor {name} has no type, shape and place")))?;
            let dtype = match stored {
                "F32" => DType::F32,
                "F16" => DType::F16,
                "I32" => DType::I32,
                other => {
                    let message = format!("tensor {name} is stored as {other}; f32, f16 and i32 are read");
                    return Err(BundleError::new(Kind::Unsupported, place, message));
                }
            };
            let count = shape.iter().try_fold(dtype.size() as u64, |count, &length| count.checked_mul(length as u64));
            let Some(size) = count.filter(|&size| start.checked_add(size) == Some(end)) else {
                return Err(invalid(format!("tensor {name}, {shape:?} of {stored}, does not take the bytes {start} to {end}")));
            };
            limits::elements(&shape, &format!("{place}, tensor {name}"))?;
            ranges.push((start, end));
            tensors.insert(name, TensorPlace { shape, dtype, start: data.saturating_add(start), size });
        }
        ranges.sort_unstable();
        let end = ranges.iter().try_fold(0, |last, &(start, end)| (start == last).then_some(end));
        if end.and_then(|end| end.checked_add(data)) != Some(size) {
            return Err(invalid("its tensors overlap, leave gaps or do not end with the file".into()));
        }
        Ok(Self { tensors })
    }

    /// The tensor of that name.
    pub fn get(&self, name: &str) -> Option<&TensorPlace> {
        self.tensors.get(name)
    }

    /// All names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }
}

/// Type, shape and range of an entry of a header.
fn fields(entry: &Json) -> Option<(&str, Vec<usize>, [u64; 2])> {
    let shape = entry["shape"].as_array()?.iter().map(|length| usize::try_from(length.as_u64()?).ok()).collect::<Option<_>>()?;
    let [start, end] = entry["data_offsets"].as_array()?.as_slice() else { return None };
    Some((entry["dtype"].as_str()?, shape, [start.as_u64()?, end.as_u64()?]))
}

/// A safetensors file in memory whose header has been checked against its bytes.
#[derive(Clone, Debug)]
pub struct WeightFile {
    bytes: Vec<u8>,
    header: WeightHeader,
}

impl WeightFile {
    /// Reads the header; `place` is the file's name in errors.
    ///
    /// # Errors
    /// Those of [`WeightHeader::new`].
    pub fn new(bytes: Vec<u8>, place: &str) -> Result<Self, BundleError> {
        Ok(Self { header: WeightHeader::new(&bytes, bytes.len() as u64, place)?, bytes })
    }

    /// The whole file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
    /// What it says of itself.
    pub fn header(&self) -> &WeightHeader {
        &self.header
    }

    /// The tensor of that name.
    pub fn get(&self, name: &str) -> Option<WeightView<'_>> {
        view(self.header.get(name)?, &self.bytes)
    }

    /// All names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.header.names()
    }
}

/// A tensor of a file's bytes.
fn view<'a>(place: &'a TensorPlace, file: &'a [u8]) -> Option<WeightView<'a>> {
    let (start, size) = (usize::try_from(place.start).ok()?, usize::try_from(place.size).ok()?);
    Some(WeightView { shape: &place.shape, dtype: place.dtype, bytes: file.get(start..start.checked_add(size)?)? })
}
