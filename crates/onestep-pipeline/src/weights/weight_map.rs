//! The tensors of one component.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io::{self, Write};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use onestep_program::ElementType;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{Naming, StoredTensor, TensorInfo, WeightFile, is_ignored};
use crate::error::PipelineError;

/// Changes tensors while they are read, such as a LoRA that is merged.
pub trait Overlay: Debug + Send + Sync {
    /// Whether it changes the tensor of this name.
    fn changes(&self, name: &str) -> bool;

    /// Changes the values of the tensor `name`, which has the shape `shape` and is in row-major order.
    ///
    /// # Errors
    /// Its own tensors cannot be read, or do not fit.
    fn apply(&self, name: &str, shape: &[usize], values: &mut [f32]) -> Result<(), PipelineError>;
}

/// How a tensor follows from a stored one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum View {
    /// Another shape of as many elements.
    Reshaped(Vec<usize>),
    /// These indices of the first axis.
    Rows(Range<usize>),
    /// A matrix with its axes exchanged.
    Transposed,
}

/// Where a tensor of a [`WeightMap`] comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSource {
    /// Its name in the map that it is selected from.
    pub name: String,
    /// What is done to it, in this order.
    pub views: Vec<View>,
}

impl TensorSource {
    /// The tensor `name` as it is.
    pub fn whole(name: impl Into<String>) -> Self {
        Self { name: name.into(), views: Vec::new() }
    }

    /// The tensor `name`, changed.
    pub fn viewed(name: impl Into<String>, views: impl IntoIterator<Item = View>) -> Self {
        Self { name: name.into(), views: views.into_iter().collect() }
    }
}

/// Tensors by name over one or more opened files. A copy shares the files.
#[derive(Clone, Debug, Default)]
pub struct WeightMap {
    files: Vec<Arc<WeightFile>>,
    tensors: BTreeMap<String, Entry>,
    overlays: Vec<Arc<dyn Overlay>>,
}

#[derive(Clone, Debug)]
struct Entry {
    file: usize,
    stored: String,
    views: Vec<View>,
    info: TensorInfo,
}

impl WeightMap {
    /// Opens files, of which only the headers are read.
    ///
    /// # Errors
    /// Those of [`WeightFile::open`]; a tensor that two files have.
    pub fn open(paths: &[PathBuf]) -> Result<Self, PipelineError> {
        let mut map = Self::default();
        for path in paths {
            let file = Arc::new(WeightFile::open(path)?);
            let number = map.files.len();
            for (name, info) in file.iter() {
                let entry = Entry { file: number, stored: name.to_owned(), views: Vec::new(), info: info.clone() };
                if let Some(first) = map.tensors.insert(name.to_owned(), entry) {
                    let first = map.files.get(first.file).map_or("", |file| file.location());
                    return Err(PipelineError::input(format!("the tensor {name} is given twice: in {first} and in {}", file.location())));
                }
            }
            map.files.push(file);
        }
        Ok(map)
    }

    /// The tensors of a component under their present names, see [`Naming`], without buffers that are ignored.
    ///
    /// # Errors
    /// Two tensors of one present name; a tensor that is not stored as f32, f16 or bf16.
    pub fn named(self, naming: Naming) -> Result<Self, PipelineError> {
        let mut table: BTreeMap<String, TensorSource> = BTreeMap::new();
        for (name, entry) in &self.tensors {
            let present = naming.present(name);
            if is_ignored(&present) {
                continue;
            }
            let location = self.location(name);
            if !ElementType::WEIGHTS.contains(&entry.info.element) {
                let (found, read) = (entry.info.element.name(), "F32, F16 and BF16");
                return Err(PipelineError::input(format!("{location}: tensor {name} is stored as {found}; weights are read from {read}")));
            }
            let shape = naming.shape(&present, &entry.info.shape);
            let views = if shape == entry.info.shape { Vec::new() } else { vec![View::Reshaped(shape)] };
            if let Some(first) = table.insert(present, TensorSource { name: name.clone(), views }) {
                return Err(PipelineError::input(format!("{location}: the tensors {} and {name} are one parameter under two names", first.name)));
            }
        }
        self.select(table)
    }

    /// A map with exactly the tensors of `table`: new names, and the tensors of this map that they come from.
    ///
    /// # Errors
    /// A source that is missing, or a view that does not fit its shape.
    pub fn select(&self, table: impl IntoIterator<Item = (String, TensorSource)>) -> Result<Self, PipelineError> {
        let mut tensors = BTreeMap::new();
        for (name, source) in table {
            let Some(entry) = self.tensors.get(&source.name) else {
                let files: Vec<&str> = self.files.iter().map(|file| file.location()).collect();
                return Err(PipelineError::input(format!("{}: there is no tensor {}, from which {name} comes", files.join(", "), source.name)));
            };
            let mut entry = entry.clone();
            for view in source.views {
                entry.info = viewed(&entry.info, &view).ok_or_else(|| {
                    let message = format!("tensor {} of shape {:?} cannot be {view:?}, which {name} needs", source.name, entry.info.shape);
                    PipelineError::input(format!("{}: {message}", self.location(&source.name)))
                })?;
                entry.views.push(view);
            }
            tensors.insert(name, entry);
        }
        Ok(Self { files: self.files.clone(), tensors, overlays: self.overlays.clone() })
    }

    /// Adds an overlay, which is applied after those that are there already. Tensors that it changes are read as f32.
    pub fn add_overlay(&mut self, overlay: Arc<dyn Overlay>) {
        self.overlays.push(overlay);
    }

    /// Whether an overlay changes a tensor of this map.
    pub fn is_changed(&self) -> bool {
        self.tensors.keys().any(|name| self.overlays.iter().any(|overlay| overlay.changes(name)))
    }

    /// The files.
    pub fn files(&self) -> impl ExactSizeIterator<Item = &WeightFile> {
        self.files.iter().map(Arc::as_ref)
    }

    /// All names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// All tensors, sorted by name: what is stored, before overlays.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &TensorInfo)> {
        self.tensors.iter().map(|(name, entry)| (name.as_str(), &entry.info))
    }

    /// The tensor of that name: what is stored, before overlays.
    pub fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.get(name).map(|entry| &entry.info)
    }

    /// The file that has this tensor, as text for errors; empty if none has.
    pub fn location(&self, name: &str) -> &str {
        self.tensors.get(name).and_then(|entry| self.files.get(entry.file)).map_or("", |file| file.location())
    }

    /// The number of elements of all tensors.
    pub fn total_parameters(&self) -> u64 {
        self.tensors.values().map(|entry| entry.info.elements()).sum()
    }

    /// Bytes of all tensors as they are stored.
    pub fn total_bytes(&self) -> u64 {
        self.tensors.values().map(|entry| entry.info.bytes).sum()
    }

    /// The element types with the number of elements of each, most frequent first.
    pub fn elements(&self) -> Vec<(ElementType, u64)> {
        let mut counts: Vec<(ElementType, u64)> = Vec::new();
        for entry in self.tensors.values() {
            match counts.iter_mut().find(|(element, _)| *element == entry.info.element) {
                Some((_, count)) => *count += entry.info.elements(),
                None => counts.push((entry.info.element, entry.info.elements())),
            }
        }
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        counts
    }

    /// Reads a tensor, overlays applied.
    ///
    /// # Errors
    /// There is none of that name; the file changed since it was opened; an overlay that does not fit; storage.
    pub fn read(&self, name: &str) -> Result<StoredTensor, PipelineError> {
        let entry = self.tensors.get(name).ok_or_else(|| PipelineError::input(format!("there is no tensor {name}")))?;
        let file = self.files.get(entry.file).ok_or_else(|| PipelineError::input(format!("there is no file of tensor {name}")))?;
        // The first view is applied while reading where that reads less.
        let (rows, rest) = match entry.views.as_slice() {
            [View::Rows(rows), rest @ ..] => (Some(rows.clone()), rest),
            all => (None, all),
        };
        let mut tensor = file.read_rows(&entry.stored, rows)?;
        for view in rest {
            tensor = apply(tensor, view);
        }
        if self.overlays.iter().any(|overlay| overlay.changes(name)) {
            let mut values = tensor.to_f32().ok_or_else(|| {
                PipelineError::input(format!("{}: tensor {name} is stored as {}, expected floats", file.location(), tensor.element.name()))
            })?;
            for overlay in self.overlays.iter().filter(|overlay| overlay.changes(name)) {
                overlay.apply(name, &tensor.shape, &mut values)?;
            }
            tensor = StoredTensor::of_f32(tensor.shape, &values);
        }
        Ok(tensor)
    }

    /// Like [`read`](Self::read), for weights: their values must be finite.
    ///
    /// # Errors
    /// Those of [`read`](Self::read); an element that is NaN or infinite, with its index along each axis.
    pub fn read_finite(&self, name: &str) -> Result<StoredTensor, PipelineError> {
        let tensor = self.read(name)?;
        match tensor.first_non_finite() {
            None => Ok(tensor),
            Some(position) => {
                let message = format!("tensor {name} is not finite at {position:?}, where weights must be finite");
                Err(PipelineError::input(format!("{}: {message}", self.location(name))))
            }
        }
    }

    /// The SHA-256 of all tensors in lower-case hexadecimal: names, shapes, element types and bytes in the order of the names.
    /// It does not depend on how tensors are distributed over files. `progress` is called with the bytes that were read since
    /// its last call.
    ///
    /// # Errors
    /// Those of [`read_finite`](Self::read_finite).
    pub fn hash(&self, mut progress: impl FnMut(u64)) -> Result<String, PipelineError> {
        let mut hash = Sha256::new();
        for name in self.tensors.keys() {
            let tensor = self.read_finite(name)?;
            hash.update(format!("{name} {:?} {} ", tensor.shape, tensor.element.name()));
            hash.update(&tensor.bytes);
            progress(tensor.bytes.len() as u64);
        }
        Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Writes all tensors as a safetensors file, one after the other, overlays applied.
    ///
    /// # Errors
    /// Those of [`read_finite`](Self::read_finite). The inner error is that of `out`.
    pub fn write(&self, out: &mut impl Write) -> Result<io::Result<()>, PipelineError> {
        let mut header = Map::new();
        // transformers asks for it.
        header.insert("__metadata__".to_owned(), json!({ "format": "pt" }));
        let mut end = 0;
        for (name, entry) in &self.tensors {
            let changed = self.overlays.iter().any(|overlay| overlay.changes(name));
            let (element, bytes) = if changed { (ElementType::F32, 4 * entry.info.elements()) } else { (entry.info.element, entry.info.bytes) };
            header.insert(name.clone(), json!({ "dtype": element.name(), "shape": entry.info.shape, "data_offsets": [end, end + bytes] }));
            end += bytes;
        }
        let mut header = Value::Object(header).to_string().into_bytes();
        header.resize(header.len().next_multiple_of(8), b' ');
        if let Err(error) = out.write_all(&(header.len() as u64).to_le_bytes()).and_then(|()| out.write_all(&header)) {
            return Ok(Err(error));
        }
        for name in self.tensors.keys() {
            if let Err(error) = out.write_all(&self.read_finite(name)?.bytes) {
                return Ok(Err(error));
            }
        }
        Ok(out.flush())
    }
}

/// What is known of a tensor after `view`; `None` if it does not fit.
fn viewed(info: &TensorInfo, view: &View) -> Option<TensorInfo> {
    let elements = |shape: &[usize]| shape.iter().try_fold(1u64, |all, &length| all.checked_mul(length as u64));
    let (shape, bytes) = match view {
        View::Reshaped(shape) => (shape.clone(), info.bytes),
        View::Rows(rows) => {
            let mut shape = info.shape.clone();
            let count = shape.first_mut().filter(|count| rows.start <= rows.end && rows.end <= **count && **count > 0)?;
            let bytes = info.bytes / (*count as u64) * rows.len() as u64;
            *count = rows.len();
            (shape, bytes)
        }
        View::Transposed => {
            let [rows, columns] = info.shape[..] else { return None };
            // Elements are moved byte by byte.
            if !matches!(info.element, ElementType::F32 | ElementType::F16 | ElementType::BF16) {
                return None;
            }
            (vec![columns, rows], info.bytes)
        }
    };
    let fits = matches!(view, View::Rows(_)) || elements(&shape)? == info.elements();
    fits.then_some(TensorInfo { shape, element: info.element, bytes })
}

/// The tensor after a view that fits it.
fn apply(tensor: StoredTensor, view: &View) -> StoredTensor {
    let StoredTensor { mut shape, element, bytes } = tensor;
    match view {
        View::Reshaped(shape) => StoredTensor { shape: shape.clone(), element, bytes },
        View::Rows(rows) => {
            let row = bytes.len() / shape.first().copied().unwrap_or(1).max(1);
            let bytes = bytes.get(row * rows.start..row * rows.end).unwrap_or_default().to_vec();
            if let Some(count) = shape.first_mut() {
                *count = rows.len();
            }
            StoredTensor { shape, element, bytes }
        }
        View::Transposed => {
            let [rows, columns] = shape[..] else { return StoredTensor { shape, element, bytes } };
            let size = (element.bits() / 8) as usize;
            let mut moved = Vec::with_capacity(bytes.len());
            for column in 0..columns {
                for row in 0..rows {
                    let at = (row * columns + column) * size;
                    moved.extend_from_slice(bytes.get(at..at + size).unwrap_or_default());
                }
            }
            StoredTensor { shape: vec![columns, rows], element, bytes: moved }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(folder: &std::path::Path, name: &str, tensors: &[(&str, &[usize])]) -> PathBuf {
        let tensors: Vec<_> = tensors
            .iter()
            .map(|(name, shape)| {
                let count = shape.iter().product::<usize>();
                ((*name).to_owned(), shape.to_vec(), (0..count).map(|number| number as f32 + name.len() as f32).collect())
            })
            .collect();
        let path = folder.join(name);
        std::fs::write(&path, onestep_store::tensor_bytes(&tensors)).unwrap();
        path
    }

    #[test]
    fn tensors_of_all_files_are_one_map() {
        let folder = tempfile::tempdir().unwrap();
        let one = file(folder.path(), "one.safetensors", &[("a", &[2, 3]), ("b", &[4])]);
        let two = file(folder.path(), "two.safetensors", &[("c", &[1])]);
        let both = file(folder.path(), "both.safetensors", &[("a", &[2, 3]), ("b", &[4]), ("c", &[1])]);
        let split = WeightMap::open(&[one.clone(), two]).unwrap();
        assert_eq!(split.names().collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!((split.total_parameters(), split.total_bytes(), split.elements()), (11, 44, vec![(ElementType::F32, 11)]));
        let whole = WeightMap::open(std::slice::from_ref(&both)).unwrap();
        let mut bytes = 0;
        assert_eq!(split.hash(|read| bytes += read).unwrap(), whole.hash(|_| {}).unwrap());
        assert_eq!(bytes, 44);
        let mut written = Vec::new();
        split.write(&mut written).unwrap().unwrap();
        let path = folder.path().join("written.safetensors");
        std::fs::write(&path, written).unwrap();
        assert_eq!(WeightMap::open(&[path]).unwrap().hash(|_| {}).unwrap(), whole.hash(|_| {}).unwrap());
        let told = WeightMap::open(&[one, both]).unwrap_err().to_string();
        assert!(told.contains("the tensor a is given twice") && told.contains("one.safetensors") && told.contains("both.safetensors"), "{told}");
    }

    #[test]
    fn views_change_shapes_and_elements() {
        let folder = tempfile::tempdir().unwrap();
        let map = WeightMap::open(&[file(folder.path(), "a.safetensors", &[("w", &[4, 2]), ("v", &[3])])]).unwrap();
        let rows = TensorSource::viewed("w", [View::Rows(1..3), View::Transposed]);
        let flat = TensorSource::viewed("w", [View::Transposed, View::Rows(1..2), View::Reshaped(vec![2, 2, 1])]);
        let map = map.select([("rows".to_owned(), rows), ("flat".to_owned(), flat), ("v".to_owned(), TensorSource::whole("v"))]).unwrap();
        for (name, shape, values) in
            [("rows", &[2, 2][..], &[3.0, 5.0, 4.0, 6.0][..]), ("flat", &[2, 2, 1], &[2.0, 4.0, 6.0, 8.0]), ("v", &[3], &[1.0, 2.0, 3.0])]
        {
            let tensor = map.read(name).unwrap();
            assert_eq!((tensor.shape.as_slice(), tensor.to_f32().unwrap().as_slice()), (shape, values), "{name}");
            assert_eq!(map.info(name).unwrap().bytes, tensor.bytes.len() as u64);
        }
        for source in [
            TensorSource::whole("missing"),
            TensorSource::viewed("v", [View::Rows(2..4)]),
            TensorSource::viewed("v", [View::Transposed]),
            TensorSource::viewed("v", [View::Reshaped(vec![4])]),
        ] {
            assert!(map.select([("new".to_owned(), source.clone())]).is_err(), "{source:?}");
        }
    }

    #[derive(Debug)]
    struct Twice;
    impl Overlay for Twice {
        fn changes(&self, name: &str) -> bool {
            name == "v"
        }
        fn apply(&self, _: &str, shape: &[usize], values: &mut [f32]) -> Result<(), PipelineError> {
            assert_eq!(shape, [3]);
            values.iter_mut().for_each(|value| *value *= 2.0);
            Ok(())
        }
    }

    #[test]
    fn overlays_change_what_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let mut map = WeightMap::open(&[file(folder.path(), "a.safetensors", &[("v", &[3]), ("w", &[1])])]).unwrap();
        let before = map.hash(|_| {}).unwrap();
        assert!(!map.is_changed());
        map.add_overlay(Arc::new(Twice));
        assert_eq!(map.read("v").unwrap().to_f32().unwrap(), [2.0, 4.0, 6.0]);
        assert_eq!(map.read("w").unwrap().to_f32().unwrap(), [1.0]);
        assert!(map.is_changed() && map.hash(|_| {}).unwrap() != before);
    }

    #[test]
    fn old_names_and_types_that_are_not_weights() {
        let folder = tempfile::tempdir().unwrap();
        let old = file(folder.path(), "old.safetensors", &[("decoder.mid_block.attentions.0.query.weight", &[2, 2, 1, 1])]);
        let map = WeightMap::open(&[old]).unwrap().named(Naming::Autoencoder).unwrap();
        let name = "decoder.mid_block.attentions.0.to_q.weight";
        assert_eq!(map.read(name).unwrap().shape, [2, 2]);
        let text = file(folder.path(), "text.safetensors", &[("embeddings.position_ids", &[1, 2]), ("final_layer_norm.weight", &[2])]);
        let map = WeightMap::open(&[text]).unwrap().named(Naming::ClipText).unwrap();
        assert_eq!(map.names().collect::<Vec<_>>(), ["text_model.final_layer_norm.weight"]);
        let path = folder.path().join("bytes.safetensors");
        let header = r#"{"conv.weight":{"dtype":"I8","shape":[1],"data_offsets":[0,1]}}"#;
        std::fs::write(&path, [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0]].concat()).unwrap();
        let told = WeightMap::open(&[path]).unwrap().named(Naming::Plain).unwrap_err().to_string();
        assert!(told.contains("bytes.safetensors: tensor conv.weight is stored as I8"), "{told}");
    }

    #[test]
    fn weights_that_are_not_finite_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        std::fs::write(&path, onestep_store::tensor_bytes(&[("a".into(), vec![2, 2], vec![0.0, 1.0, f32::NAN, 2.0])])).unwrap();
        let map = WeightMap::open(&[path]).unwrap();
        for told in [map.read_finite("a").map(|_| ()), map.hash(|_| {}).map(|_| ())] {
            assert!(told.unwrap_err().to_string().contains("tensor a is not finite at [1, 0]"));
        }
    }
}
