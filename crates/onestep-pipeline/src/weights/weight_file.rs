//! One weight file.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use onestep_program::{ElementType, TensorHeader, file_signature, limits};
use pytorch_reader::{DType, PytorchReader, Tensor};

use super::{StoredTensor, TensorInfo, pickle_check::first_misfit};
use crate::{
    error::{PipelineError, PipelineErrorKind},
    guard::guarded,
};

/// The key under which trainers wrap the tensors of a checkpoint.
const WRAPPED: &str = "state_dict.";

/// How tensors are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightFormat {
    /// safetensors.
    Safetensors,
    /// A checkpoint of PyTorch: `.bin`, `.pt`, `.pth`, `.ckpt`. No code in it runs.
    PyTorch,
}

impl WeightFormat {
    /// The name for reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Safetensors => "safetensors",
            Self::PyTorch => "PyTorch",
        }
    }
}

/// A weight file of which the header was read and checked. It stays open.
#[derive(Debug)]
pub struct WeightFile {
    path: PathBuf,
    location: String,
    size: u64,
    tensors: BTreeMap<String, TensorInfo>,
    metadata: BTreeMap<String, String>,
    content: Content,
}

#[derive(Debug)]
enum Content {
    /// The file, and where each tensor begins.
    Safetensors {
        file: File,
        starts: BTreeMap<String, u64>,
    },
    PyTorch {
        tensors: HashMap<String, Tensor>,
    },
}

impl WeightFile {
    /// Opens a file. The name `.safetensors` and those of PyTorch (`.bin`, `.pt`, `.pth`, `.ckpt`) decide about the format, the
    /// first bytes about files of other names.
    ///
    /// # Errors
    /// A file that is missing, of another format, cut off or contradictory, with the tensor if there is one.
    pub fn open(path: &Path) -> Result<Self, PipelineError> {
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default().to_ascii_lowercase();
        let is_pytorch = match extension.as_str() {
            "safetensors" | "sft" => false,
            "bin" | "pt" | "pth" | "ckpt" => true,
            _ => {
                let mut head = [0; 2];
                let (file, size) = onestep_store::open(path)?;
                size >= 2 && read_at(&file, &mut head, 0).is_ok() && (head == *b"PK" || head[0] == 0x80)
            }
        };
        if is_pytorch { Self::open_pytorch(path) } else { Self::open_safetensors(path) }
    }

    fn open_safetensors(path: &Path) -> Result<Self, PipelineError> {
        let location = path.display().to_string();
        let (file, size) = onestep_store::open(path)?;
        let storage = |error: io::Error| unreadable(&location, &error);
        let mut beginning = vec![0; size.min(512) as usize];
        read_at(&file, &mut beginning, 0).map_err(storage)?;
        let length = beginning.first_chunk::<8>().map_or(0, |head| u64::from_le_bytes(*head));
        if length <= limits::HEADER_BYTES.max && length.saturating_add(8) <= size {
            // At most a few MiB, which the file has.
            beginning.resize(((8 + length) as usize).max(beginning.len()), 0);
            let end = beginning.len().min(size as usize);
            beginning.truncate(end);
            read_at(&file, &mut beginning, 0).map_err(storage)?;
        }
        let header = TensorHeader::read(&beginning, size, &location)?;
        let starts = header.iter().map(|(name, entry)| (name.to_owned(), entry.start)).collect();
        let tensors = header
            .iter()
            .map(|(name, entry)| (name.to_owned(), TensorInfo { shape: entry.shape.clone(), element: entry.element, bytes: entry.size }))
            .collect();
        let metadata = header.metadata().clone();
        Ok(Self { path: path.to_owned(), location, size, tensors, metadata, content: Content::Safetensors { file, starts } })
    }

    fn open_pytorch(path: &Path) -> Result<Self, PipelineError> {
        let location = path.display().to_string();
        let (file, size) = onestep_store::open(path)?;
        let mut beginning = vec![0; size.min(512) as usize];
        read_at(&file, &mut beginning, 0).map_err(|error| unreadable(&location, &error))?;
        // The library recognises a format by its first byte only.
        let told = if beginning.is_empty() { Some("empty; fetch it again") } else { file_signature::placeholder(&beginning) };
        if let Some(told) = told {
            return Err(PipelineError::input(format!("{location}: expected a checkpoint of PyTorch; this is {told}")));
        }
        drop(file);
        let mut tensors = guarded(&location, "the reader of PyTorch's checkpoints", || {
            if let Some(told) = first_misfit(path) {
                return Err(PipelineError::input(format!("{location}: {told}")));
            }
            let reader =
                PytorchReader::new(path).map_err(|error| PipelineError::input(format!("{location} is not a checkpoint of PyTorch: {error}")))?;
            Ok(reader.into_tensors())
        })??;
        if tensors.keys().any(|name| name.starts_with(WRAPPED)) {
            tensors = tensors.into_iter().filter_map(|(name, tensor)| Some((name.strip_prefix(WRAPPED)?.to_owned(), tensor))).collect();
        }
        let mut known = BTreeMap::new();
        for (name, tensor) in &tensors {
            let bytes = tensor.byte_len() as u64;
            // With a stride of 0 a small file could need any amount of memory.
            if bytes > size {
                return Err(PipelineError::input(format!(
                    "{location}: tensor {name} of shape {:?} has {bytes} bytes, more than the whole file, which has {size}",
                    tensor.shape()
                )));
            }
            known.insert(name.clone(), TensorInfo { shape: tensor.shape().to_vec(), element: element_type(tensor.dtype()), bytes });
        }
        let metadata = BTreeMap::new();
        Ok(Self { path: path.to_owned(), location, size, tensors: known, metadata, content: Content::PyTorch { tensors } })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its path as text, for errors.
    pub fn location(&self) -> &str {
        &self.location
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Its format.
    pub fn format(&self) -> WeightFormat {
        match self.content {
            Content::Safetensors { .. } => WeightFormat::Safetensors,
            Content::PyTorch { .. } => WeightFormat::PyTorch,
        }
    }

    /// The texts of `__metadata__`; empty for PyTorch.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// All tensors, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &TensorInfo)> {
        self.tensors.iter().map(|(name, info)| (name.as_str(), info))
    }

    /// The tensor of that name.
    pub fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.get(name)
    }

    /// Reads a tensor.
    ///
    /// # Errors
    /// There is none of that name; the file changed since it was opened; storage.
    pub fn read(&self, name: &str) -> Result<StoredTensor, PipelineError> {
        self.read_rows(name, None)
    }

    /// Reads a tensor, or only these indices of its first axis.
    ///
    /// # Errors
    /// Those of [`read`](Self::read); rows that it does not have.
    pub fn read_rows(&self, name: &str, rows: Option<Range<usize>>) -> Result<StoredTensor, PipelineError> {
        let info = self.tensors.get(name).ok_or_else(|| PipelineError::input(format!("{}: there is no tensor {name}", self.location)))?;
        let (mut shape, mut offset, mut length) = (info.shape.clone(), 0, info.bytes);
        if let Some(rows) = &rows {
            let count = shape.first().copied().unwrap_or_default();
            if rows.start > rows.end || rows.end > count {
                let message = format!("{}: tensor {name} of shape {shape:?} has no rows {rows:?}", self.location);
                return Err(PipelineError::input(message));
            }
            let row = info.bytes / (count.max(1) as u64);
            (offset, length) = (row * rows.start as u64, row * rows.len() as u64);
            shape[0] = rows.len();
        }
        let size = usize::try_from(length)
            .map_err(|_| PipelineError::input(format!("{}: tensor {name} of {length} bytes does not fit this machine's addresses", self.location)))?;
        let bytes = match &self.content {
            Content::Safetensors { file, starts } => {
                let mut bytes = vec![0; size];
                let start = starts.get(name).copied().unwrap_or_default();
                read_at(file, &mut bytes, start + offset).map_err(|error| {
                    if error.kind() == io::ErrorKind::UnexpectedEof {
                        PipelineError::input(format!("{}: the file ends inside tensor {name}; it changed while it was read", self.location))
                    } else {
                        unreadable(&self.location, &error)
                    }
                })?;
                bytes
            }
            Content::PyTorch { tensors } => {
                let tensor = tensors.get(name).ok_or_else(|| PipelineError::input(format!("{}: there is no tensor {name}", self.location)))?;
                // The library's message names the tensor.
                let mut bytes = guarded(&self.location, "the reader of PyTorch's checkpoints", || tensor.read())?
                    .map_err(|error| PipelineError::input(format!("{}: {error}", self.location)))?;
                if rows.is_some() {
                    let start = (offset as usize).min(bytes.len());
                    bytes = bytes[start..(start + size).min(bytes.len())].to_vec();
                }
                bytes
            }
        };
        Ok(StoredTensor { shape, element: info.element, bytes })
    }
}

fn unreadable(location: &str, error: &io::Error) -> PipelineError {
    PipelineError::new(PipelineErrorKind::Storage, format!("reading {location} failed: {error}"))
}

/// Fills `bytes` from the position `start` of the file.
#[cfg(unix)]
fn read_at(file: &File, bytes: &mut [u8], start: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, start)
}

/// Fills `bytes` from the position `start` of the file.
#[cfg(not(unix))]
fn read_at(file: &File, bytes: &mut [u8], start: u64) -> io::Result<()> {
    use std::io::{Read, Seek, SeekFrom};
    // The clone shares the position, which nothing else uses.
    let mut file = file.try_clone()?;
    file.seek(SeekFrom::Start(start))?;
    file.read_exact(bytes)
}

/// PyTorch's type under the name that it has in safetensors.
fn element_type(dtype: DType) -> ElementType {
    match dtype {
        DType::F64 => ElementType::F64,
        DType::F32 => ElementType::F32,
        DType::F16 => ElementType::F16,
        DType::BF16 => ElementType::BF16,
        DType::I64 => ElementType::I64,
        DType::I32 => ElementType::I32,
        DType::I16 => ElementType::Unsupported("I16", 16),
        DType::I8 => ElementType::Unsupported("I8", 8),
        DType::U64 => ElementType::Unsupported("U64", 64),
        DType::U32 => ElementType::Unsupported("U32", 32),
        DType::U16 => ElementType::Unsupported("U16", 16),
        DType::U8 => ElementType::Unsupported("U8", 8),
        DType::Bool => ElementType::Unsupported("BOOL", 8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::pickle_check::tests::{archive, pickle};

    #[test]
    fn other_files_are_refused_with_their_format() {
        let folder = tempfile::tempdir().unwrap();
        let sound = onestep_store::tensor_bytes(&[("lin.weight".into(), vec![2], vec![1.0, 2.0])]);
        let refusal = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            let told = WeightFile::open(&path).map(|file| file.size()).unwrap_err().to_string();
            assert!(told.contains(name), "{told}");
            told
        };
        for name in ["metric.pth", "metric.safetensors"] {
            assert!(refusal(name, b"").contains("empty"), "{name}");
            assert!(refusal(name, b"version https://git-lfs.github.com/spec/v1\n").contains("git lfs pull"), "{name}");
            assert!(refusal(name, b"<!DOCTYPE html>").contains("HTML"), "{name}");
        }
        assert!(refusal("metric.safetensors", b"PK\x03\x04.........").contains("ZIP archive, as PyTorch's"));
        assert!(refusal("metric.safetensors", &sound[..sound.len() - 1]).contains("tensor lin.weight ends at byte"));
        assert!(refusal("metric.pth", &sound).contains("not a checkpoint of PyTorch"));
        assert!(refusal("metric.pth", b"PK\x03\x04 not a checkpoint").contains("not a checkpoint of PyTorch"));
        // A header that claims more than the file has.
        assert!(refusal("claims.safetensors", b"\xff\xff\x7f\0\0\0\0\0{").contains("cut off"));
    }

    #[test]
    fn rows_are_read_without_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let values: Vec<f32> = (0..12u8).map(f32::from).collect();
        std::fs::write(&path, onestep_store::tensor_bytes(&[("a".into(), vec![4, 3], values.clone()), ("b".into(), vec![], vec![7.0])])).unwrap();
        let file = WeightFile::open(&path).unwrap();
        assert_eq!(file.read("a").unwrap().to_f32().unwrap(), values);
        let rows = file.read_rows("a", Some(1..3)).unwrap();
        assert_eq!((rows.shape.as_slice(), rows.to_f32().unwrap().as_slice()), (&[2, 3][..], &values[3..9]));
        assert_eq!(file.read("b").unwrap().to_f32().unwrap(), [7.0]);
        for (name, rows) in [("a", 3..5), ("b", 0..1), ("c", 0..0)] {
            assert!(file.read_rows(name, Some(rows)).is_err(), "{name}");
        }
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(40).unwrap();
        assert!(file.read("a").unwrap_err().to_string().contains("the file ends inside tensor a"));
    }

    #[test]
    fn pytorch_files_are_read_if_their_tensors_fit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metric.pth");
        archive(&path, &pickle(6, 0, &[2, 3], &[3, 1]), &[0; 24]);
        let file = WeightFile::open(&path).unwrap();
        let (name, info) = file.iter().next().unwrap();
        assert_eq!((name, info.shape.as_slice(), file.read(name).unwrap().bytes.len()), ("net.lin.weight", &[2, 3][..], 24));
        assert_eq!(file.read_rows(name, Some(1..2)).unwrap().bytes.len(), 12);
        // Six elements repeated by a stride of 0: more bytes than their storage, but no more than the file.
        archive(&path, &pickle(6, 0, &[3, 6], &[0, 1]), &[0; 24]);
        assert_eq!(WeightFile::open(&path).unwrap().read("net.lin.weight").unwrap().bytes.len(), 72);
        for (pickle, storage, part) in [
            (pickle(6, 1, &[2, 3], &[3, 1]), vec![0; 24], "needs 7 elements"),
            (pickle(1 << 40, 0, &[2, 3], &[3, 1]), vec![0; 24], "a storage 0 of 4398046511104 bytes, and the file has 24 for it"),
            (pickle(6, 0, &[1 << 20, 6], &[0, 1]), vec![0; 24], "25165824 bytes, more than the whole file"),
            (pickle(6, 0, &[1 << 62, 4], &[0, 0]), vec![0; 24], "tensor net.lin.weight of shape [4611686018427387904, 4] has more than"),
        ] {
            archive(&path, &pickle, &storage);
            let told = WeightFile::open(&path).map(|file| file.size()).unwrap_err().to_string();
            assert!(told.contains("metric.pth") && told.contains(part), "{told}");
        }
    }
}
