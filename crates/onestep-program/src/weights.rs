//! Weight files of bundles: safetensors files with tensors of the three [`DType`]s.

use std::{borrow::Cow, collections::BTreeMap, fmt, sync::Arc};

use crate::{
    element::{ElementType, coordinates},
    error::{BundleError, BundleErrorKind},
    limits::{self, CHUNK_BYTES},
    manifest::FileEntry,
    program::DType,
    tensor_file::TensorHeader,
};

/// The elements of an input tensor, borrowed from the caller.
#[derive(Clone, Copy, Debug)]
pub enum TensorRef<'a> {
    /// Floats in row-major order.
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
    /// True if there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The type of the elements.
    pub fn dtype(&self) -> DType {
        match self {
            TensorRef::F32(_) => DType::F32,
            TensorRef::I32(_) => DType::I32,
        }
    }
}

/// One tensor of a weight file. The bytes are little-endian, row-major and not aligned.
#[derive(Clone, Debug)]
pub struct WeightView<'a> {
    /// Lengths of the axes.
    pub shape: &'a [usize],
    /// The type of the elements.
    pub dtype: DType,
    /// The elements; owned if they were read from a file for this view.
    pub bytes: Cow<'a, [u8]>,
}

impl WeightView<'_> {
    /// The elements as f32 in row-major order; ids are exact below 2^24.
    pub fn to_f32(&self) -> Vec<f32> {
        ElementType::from(self.dtype).to_f32(&self.bytes).unwrap_or_default()
    }
}

/// Shape, type and byte range of a tensor in a weight file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightEntry {
    /// Lengths of the axes.
    pub shape: Vec<usize>,
    /// The type of the elements.
    pub dtype: DType,
    /// Offset of its first byte from the start of the file; not aligned.
    pub start: u64,
    /// Its size in bytes.
    pub size: u64,
}

/// The header of a weight file, checked against the file's size. The tensors' bytes need not be in memory.
#[derive(Clone, Debug)]
pub struct WeightHeader {
    tensors: BTreeMap<String, WeightEntry>,
}

impl WeightHeader {
    /// Reads the header from the beginning of a file of `size` bytes; `location` is the file's name in errors.
    ///
    /// # Errors
    /// Those of [`TensorHeader::read`]; dtypes other than f32, f16 and i32, shapes above the limits.
    pub fn new(beginning: &[u8], size: u64, location: &str) -> Result<Self, BundleError> {
        let header = TensorHeader::read(beginning, size, location)?;
        header.accept(&[ElementType::F32, ElementType::F16, ElementType::I32], location)?;
        let mut tensors = BTreeMap::new();
        for (name, entry) in header.iter() {
            let dtype = match entry.element {
                ElementType::F16 => DType::F16,
                ElementType::I32 => DType::I32,
                _ => DType::F32,
            };
            limits::elements(&entry.shape, &format!("{location}, tensor {name}"))?;
            tensors.insert(name.to_owned(), WeightEntry { shape: entry.shape.clone(), dtype, start: entry.start, size: entry.size });
        }
        Ok(Self { tensors })
    }

    /// The tensor of that name.
    pub fn get(&self, name: &str) -> Option<&WeightEntry> {
        self.tensors.get(name)
    }

    /// All names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }
}

/// A file that is read in parts, when they are needed.
pub trait ReadAt: Send + Sync {
    /// The `length` bytes from offset `start`.
    ///
    /// # Errors
    /// Why they cannot be read.
    fn read_at(&self, start: u64, length: usize) -> Result<Vec<u8>, String>;
}

/// A weight file with a checked header, in memory or on disk.
#[derive(Clone)]
pub struct WeightFile {
    content: Content,
    header: WeightHeader,
}

#[derive(Clone)]
enum Content {
    Memory(Vec<u8>),
    Stored(Arc<dyn ReadAt>),
}

impl fmt::Debug for WeightFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeightFile").field("header", &self.header).finish_non_exhaustive()
    }
}

impl WeightFile {
    /// Reads the header; `location` is the file's name in errors.
    ///
    /// # Errors
    /// Those of [`WeightHeader::new`].
    pub fn new(bytes: Vec<u8>, location: &str) -> Result<Self, BundleError> {
        Ok(Self { header: WeightHeader::new(&bytes, bytes.len() as u64, location)?, content: Content::Memory(bytes) })
    }

    /// Compares a stored file with its entry, chunk by chunk, and reads the header. The tensors stay where they are.
    ///
    /// # Errors
    /// A chunk that cannot be read or has another hash; those of [`WeightHeader::new`].
    pub(crate) fn stored(file: Arc<dyn ReadAt>, entry: &FileEntry) -> Result<Self, BundleError> {
        let read = |start: u64, length: u64| {
            let unread = |message: String| BundleError::new(BundleErrorKind::Integrity, &entry.name, format!("cannot be read: {message}"));
            file.read_at(start, usize::try_from(length).map_err(|error| unread(error.to_string()))?).map_err(unread)
        };
        let mut beginning = Vec::new();
        for (index, start) in (0..entry.size).step_by(CHUNK_BYTES.max as usize).enumerate() {
            let chunk = read(start, CHUNK_BYTES.max.min(entry.size - start))?;
            entry.verify_chunk(index, &chunk)?;
            if start == 0 {
                // Longer than any header.
                beginning = chunk;
            }
        }
        Ok(Self { header: WeightHeader::new(&beginning, entry.size, &entry.name)?, content: Content::Stored(file) })
    }

    /// Refuses weights that are NaN or infinite.
    ///
    /// # Errors
    /// [`BundleErrorKind::Malformed`], naming the first such tensor and the index of its first such element.
    pub fn check_finite(&self, location: &str) -> Result<(), BundleError> {
        for name in self.names() {
            let Some(tensor) = self.get(name) else { continue };
            if let Some(number) = ElementType::from(tensor.dtype).first_non_finite(&tensor.bytes) {
                let message =
                    format!("tensor {name} has an element that is not finite at {:?}; export the model anew", coordinates(tensor.shape, number));
                return Err(BundleError::new(BundleErrorKind::Malformed, location, message));
            }
        }
        Ok(())
    }

    /// The header.
    pub fn header(&self) -> &WeightHeader {
        &self.header
    }

    /// The tensor of that name; `None` if the file has none, or can no longer be read.
    pub fn get(&self, name: &str) -> Option<WeightView<'_>> {
        let entry = self.header.get(name)?;
        let size = usize::try_from(entry.size).ok()?;
        let bytes = match &self.content {
            Content::Memory(bytes) => {
                let start = usize::try_from(entry.start).ok()?;
                Cow::Borrowed(bytes.get(start..start.checked_add(size)?)?)
            }
            Content::Stored(file) => Cow::Owned(file.read_at(entry.start, size).ok()?),
        };
        Some(WeightView { shape: &entry.shape, dtype: entry.dtype, bytes })
    }

    /// All names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.header.names()
    }
}
