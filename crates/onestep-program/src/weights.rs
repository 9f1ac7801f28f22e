//! Weight files of bundles: safetensors of the three types that programs know.

use std::collections::BTreeMap;

use crate::{
    element::{ElementType, coordinates},
    error::{BundleError, Kind},
    limits,
    program::DType,
    tensor_file::TensorHeader,
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
        ElementType::from(self.dtype).to_f32(self.bytes).unwrap_or_default()
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
    /// Those of [`TensorHeader::read`]; dtypes other than f32, f16 and i32, shapes above the limits.
    pub fn new(beginning: &[u8], size: u64, place: &str) -> Result<Self, BundleError> {
        let header = TensorHeader::read(beginning, size, place)?;
        header.accept(&[ElementType::F32, ElementType::F16, ElementType::I32], place)?;
        let mut tensors = BTreeMap::new();
        for (name, entry) in header.iter() {
            let dtype = match entry.element {
                ElementType::F16 => DType::F16,
                ElementType::I32 => DType::I32,
                _ => DType::F32,
            };
            limits::elements(&entry.shape, &format!("{place}, tensor {name}"))?;
            tensors.insert(name.to_owned(), TensorPlace { shape: entry.shape.clone(), dtype, start: entry.start, size: entry.size });
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

    /// Refuses weights that are NaN or infinite: whatever is computed with them is nothing.
    ///
    /// # Errors
    /// [`Kind::Malformed`], with the first such element of the first such tensor.
    pub fn check_finite(&self, place: &str) -> Result<(), BundleError> {
        for name in self.names() {
            let Some(tensor) = self.get(name) else { continue };
            if let Some(number) = ElementType::from(tensor.dtype).first_non_finite(tensor.bytes) {
                let message =
                    format!("tensor {name} has an element that is not finite at {:?}; export the model anew", coordinates(tensor.shape, number));
                return Err(BundleError::new(Kind::Malformed, place, message));
            }
        }
        Ok(())
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
