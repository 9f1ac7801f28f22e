//! A strict reader of safetensors files.
//!
//! Bundles, component weights, pairs, checkpoints and inputs are all read here. The header is compared with the bytes that exist before
//! anything is allocated for it. The caller states which element types it accepts. The crate `safetensors` is
//! used for writing only, because the limits of this project are stricter than those of the crate and it would add to the browser's download.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserializer as _, Error as _, MapAccess, Visitor};

use crate::{
    element::{ElementType, coordinates},
    error::{BundleError, BundleErrorKind},
    file_signature::{BYTE_ORDER_MARK, wrong_format},
    limits,
};

/// Shape, type and byte range of a tensor in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorEntry {
    /// Lengths of the axes.
    pub shape: Vec<usize>,
    /// The type of its elements.
    pub element: ElementType,
    /// Offset of its first byte from the start of the file; not aligned.
    pub start: u64,
    /// Its size in bytes.
    pub size: u64,
}

/// The header of a file, checked against the file's size. The tensors' bytes need not be in memory.
#[derive(Clone, Debug)]
pub struct TensorHeader {
    tensors: BTreeMap<String, TensorEntry>,
    metadata: BTreeMap<String, String>,
}

impl TensorHeader {
    /// Reads the header from the beginning of a file of `size` bytes; `location` is the file's name in errors.
    ///
    /// # Errors
    /// A file of another format, a header above its limit, a tensor that is named twice or has a contradictory entry, bytes that belong to no
    /// tensor or to two.
    pub fn read(beginning: &[u8], size: u64, location: &str) -> Result<Self, BundleError> {
        let malformed = |message: String| BundleError::new(BundleErrorKind::Malformed, location, message);
        let invalid = |message: String| malformed(format!("not a valid safetensors file: {message}"));
        let length = beginning.first_chunk::<8>().map(|head| u64::from_le_bytes(*head));
        let is_plausible = length.is_some_and(|length| length <= limits::HEADER_BYTES.max) && beginning.get(8) == Some(&b'{');
        if !is_plausible && let Some(told) = not_safetensors(beginning, size) {
            return Err(malformed(told));
        }
        let length = length.ok_or_else(|| malformed(format!("{size} bytes are no safetensors file; fetch it again")))?;
        limits::check(limits::HEADER_BYTES, length, location)?;
        let data = 8 + length;
        if data > size {
            return Err(invalid(format!("its header takes {data} bytes and the file has {size}; it is cut off, fetch it again")));
        }
        let text = usize::try_from(data).ok().and_then(|end| beginning.get(8..end)).ok_or_else(|| invalid("it ends inside its header".into()))?;
        let (entries, metadata) = entries(text).map_err(|error| invalid(error.to_string()))?;
        limits::check(limits::TENSORS, entries.len() as u64, location)?;

        let mut tensors = BTreeMap::new();
        for (name, Entry { dtype, shape, data_offsets: [start, end] }) in entries {
            let Some(element) = ElementType::of_name(&dtype) else {
                return Err(BundleError::new(
                    BundleErrorKind::Unsupported,
                    location,
                    format!("tensor {name} is stored as {dtype}, which is no type of safetensors"),
                ));
            };
            limits::check(limits::RANK, shape.len() as u64, &format!("{location}, tensor {name}"))?;
            let lengths: Option<Vec<usize>> = shape.iter().map(|&length| usize::try_from(length).ok()).collect();
            let bits = shape.iter().try_fold(element.bits(), |bits, &length| bits.checked_mul(length));
            let bytes = bits.filter(|bits| bits % 8 == 0).map(|bits| bits / 8);
            let (Some(lengths), Some(bytes)) = (lengths, bytes.filter(|&bytes| start.checked_add(bytes) == Some(end))) else {
                return Err(invalid(format!("tensor {name}, {shape:?} of {dtype}, does not take the bytes {start} to {end}")));
            };
            tensors.insert(name, TensorEntry { shape: lengths, element, start: data.saturating_add(start), size: bytes });
        }
        check_ranges(&tensors, data, size).map_err(invalid)?;
        Ok(Self { tensors, metadata })
    }

    /// The texts of `__metadata__`; empty if there is none.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The tensor of that name.
    pub fn get(&self, name: &str) -> Option<&TensorEntry> {
        self.tensors.get(name)
    }

    /// All tensors, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &TensorEntry)> {
        self.tensors.iter().map(|(name, entry)| (name.as_str(), entry))
    }

    /// Refuses the file if a tensor has another type than these.
    ///
    /// # Errors
    /// [`BundleErrorKind::Unsupported`], naming the tensor, its type and the accepted types.
    pub fn accept(&self, types: &[ElementType], location: &str) -> Result<(), BundleError> {
        match self.iter().find(|(_, entry)| !types.contains(&entry.element)) {
            Some((name, entry)) => Err(unread(name, entry.element, types, location)),
            None => Ok(()),
        }
    }
}

/// The error for a tensor of a type that is not accepted.
fn unread(name: &str, found: ElementType, types: &[ElementType], location: &str) -> BundleError {
    let read: Vec<&str> = types.iter().map(|element| element.name()).collect();
    BundleError::new(
        BundleErrorKind::Unsupported,
        location,
        format!("tensor {name} is stored as {}; of safetensors' types {} are read here", found.name(), read.join(", ")),
    )
}

/// The format of a file that has no safetensors header, if it can be recognised.
fn not_safetensors(beginning: &[u8], size: u64) -> Option<String> {
    if size == 0 {
        return Some("the file is empty, expected safetensors; fetch it again".into());
    }
    if let Some(told) = wrong_format(beginning) {
        return Some(format!("expected safetensors; this is {told}"));
    }
    let text = beginning.strip_prefix(BYTE_ORDER_MARK).unwrap_or(beginning).trim_ascii_start();
    let is_json = text.starts_with(b"{") || text.starts_with(b"[");
    is_json.then(|| "expected safetensors; this is JSON text, such as a configuration or an index of shards".into())
}

/// Checks that every byte after the header belongs to exactly one tensor. The error completes a sentence about the file.
fn check_ranges(tensors: &BTreeMap<String, TensorEntry>, data: u64, size: u64) -> Result<(), String> {
    let mut ordered: Vec<(&str, &TensorEntry)> = tensors.iter().map(|(name, entry)| (name.as_str(), entry)).collect();
    ordered.sort_by_key(|(_, entry)| (entry.start, entry.size));
    let mut last = (data, None);
    for (name, entry) in ordered {
        let (end, before) = last;
        // The error counts offsets from the end of the header, as the header does.
        let (found, expected) = (entry.start - data, end - data);
        if entry.start < end {
            return Err(format!("tensor {name} begins at byte {found}, inside tensor {}, which ends at {expected}", before.unwrap_or_default()));
        }
        if entry.start > end {
            return Err(format!("the bytes {expected} to {found}, before tensor {name}, belong to no tensor"));
        }
        last = (entry.start.saturating_add(entry.size), Some(name));
    }
    let (end, before) = last;
    if end > size {
        let name = before.unwrap_or_default();
        return Err(format!("tensor {name} ends at byte {end} and the file has {size}; it is cut off, fetch it again"));
    }
    if end < size {
        return Err(format!("{} bytes behind the last tensor, {}, belong to no tensor", size - end, before.unwrap_or("none")));
    }
    Ok(())
}

/// A tensor's entry in the JSON of the header.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

/// The entries and the metadata of a header.
type HeaderMaps = (BTreeMap<String, Entry>, BTreeMap<String, String>);

/// The entries and the metadata of a header. JSON allows duplicate names, of which most readers keep the last; here they are an error.
fn entries(text: &[u8]) -> Result<HeaderMaps, serde_json::Error> {
    struct Header;

    impl<'de> Visitor<'de> for Header {
        type Value = HeaderMaps;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a JSON object of tensors")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let (mut entries, mut metadata) = (BTreeMap::new(), None);
            while let Some(name) = map.next_key::<String>()? {
                let twice = |what: &str| A::Error::custom(format!("{what} is named twice in its header"));
                if name == "__metadata__" {
                    let wrong = |error: A::Error| A::Error::custom(format!("__metadata__: {error}"));
                    let texts = map.next_value::<Option<BTreeMap<String, String>>>().map_err(wrong)?;
                    if metadata.replace(texts.unwrap_or_default()).is_some() {
                        return Err(twice("__metadata__"));
                    }
                    continue;
                }
                let entry = map.next_value::<Entry>().map_err(|error| A::Error::custom(format!("tensor {name}: {error}")))?;
                if entries.contains_key(&name) {
                    return Err(twice(&format!("tensor {name}")));
                }
                entries.insert(name, entry);
            }
            Ok((entries, metadata.unwrap_or_default()))
        }
    }

    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let entries = deserializer.deserialize_map(Header)?;
    deserializer.end()?;
    Ok(entries)
}

/// A file in memory with a checked header.
#[derive(Clone, Debug)]
pub struct TensorFile<'a> {
    header: TensorHeader,
    bytes: &'a [u8],
    location: String,
}

/// One tensor of a file.
#[derive(Clone, Copy, Debug)]
pub struct StoredTensor<'a> {
    /// Lengths of the axes.
    pub shape: &'a [usize],
    /// The type of the elements.
    pub element: ElementType,
    /// The elements: little-endian, row-major, not aligned.
    pub bytes: &'a [u8],
}

impl<'a> TensorFile<'a> {
    /// Reads the header; `location` is the file's name in errors.
    ///
    /// # Errors
    /// Those of [`TensorHeader::read`].
    pub fn read(bytes: &'a [u8], location: &str) -> Result<Self, BundleError> {
        Ok(Self { header: TensorHeader::read(bytes, bytes.len() as u64, location)?, bytes, location: location.to_owned() })
    }

    /// The header.
    pub fn header(&self) -> &TensorHeader {
        &self.header
    }

    /// The tensor of that name.
    pub fn get(&self, name: &str) -> Option<StoredTensor<'_>> {
        self.stored(self.header.get(name)?)
    }

    /// All tensors, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, StoredTensor<'_>)> {
        self.header.iter().filter_map(|(name, entry)| Some((name, self.stored(entry)?)))
    }

    /// The elements of the tensor `name` as f32, in row-major order, if it has one of these types.
    ///
    /// # Errors
    /// [`BundleErrorKind::Missing`], listing the file's tensors; [`BundleErrorKind::Unsupported`] for another type.
    pub fn floats(&self, name: &str, types: &[ElementType]) -> Result<Vec<f32>, BundleError> {
        let tensor = self.get(name).ok_or_else(|| {
            let there: Vec<&str> = self.header.iter().map(|(name, _)| name).collect();
            BundleError::new(BundleErrorKind::Missing, &self.location, format!("there is no tensor {name}, only {}", there.join(", ")))
        })?;
        let read = types.contains(&tensor.element).then(|| tensor.to_f32()).flatten();
        read.ok_or_else(|| unread(name, tensor.element, types, &self.location))
    }

    fn stored<'s>(&'s self, entry: &'s TensorEntry) -> Option<StoredTensor<'s>> {
        let (start, size) = (usize::try_from(entry.start).ok()?, usize::try_from(entry.size).ok()?);
        Some(StoredTensor { shape: &entry.shape, element: entry.element, bytes: self.bytes.get(start..start.checked_add(size)?)? })
    }
}

impl StoredTensor<'_> {
    /// The elements as f32 in row-major order; see [`ElementType::to_f32`].
    pub fn to_f32(&self) -> Option<Vec<f32>> {
        self.element.to_f32(self.bytes)
    }

    /// The index along each axis of the first element that is NaN or infinite.
    pub fn first_non_finite(&self) -> Option<Vec<usize>> {
        self.element.first_non_finite(self.bytes).map(|number| coordinates(self.shape, number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: usize) -> Vec<u8> {
        [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![0; data]].concat()
    }

    fn refusal(bytes: &[u8]) -> String {
        TensorFile::read(bytes, "unet/model.safetensors").expect_err("it is refused").to_string()
    }

    #[test]
    fn a_valid_file_is_read() {
        let header = r#"{"__metadata__":{"format":"pt"},"b":{"dtype":"I64","shape":[],"data_offsets":[6,14]},"a":{"dtype":"BF16","shape":[3,1],"data_offsets":[0,6]},"empty":{"dtype":"F32","shape":[0,4],"data_offsets":[6,6]}}  "#;
        let bytes = file(header, 14);
        let read = TensorFile::read(&bytes, "here").unwrap();
        assert_eq!(
            read.iter().map(|(name, tensor)| (name, tensor.shape, tensor.bytes.len())).collect::<Vec<_>>(),
            [("a", &[3, 1][..], 6), ("b", &[], 8), ("empty", &[0, 4], 0)]
        );
        assert_eq!(read.floats("a", ElementType::WEIGHTS).unwrap(), [0.0; 3]);
        let told = read.floats("b", ElementType::WEIGHTS).unwrap_err().to_string();
        assert_eq!(told, "here: tensor b is stored as I64; of safetensors' types F32, F16, BF16 are read here");
        assert!(read.floats("c", ElementType::SUPPORTED).unwrap_err().to_string().contains("only a, b, empty"));
        assert!(read.header().accept(&[ElementType::F32], "here").unwrap_err().to_string().contains("tensor a is stored as BF16"));
    }

    #[test]
    fn every_refusal_names_the_file_and_the_tensor() {
        let one = |entry: &str| format!(r#"{{"conv.weight":{entry}}}"#);
        let cases = [
            (one(r#"{"dtype":"F32","shape":[2],"data_offsets":[0,4]}"#), 8, "[2] of F32, does not take the bytes 0 to 4"),
            (one(r#"{"dtype":"F32","shape":[2],"data_offsets":[8,0]}"#), 8, "does not take the bytes 8 to 0"),
            (one(r#"{"dtype":"F32","shape":[4294967296,4294967296,4294967296],"data_offsets":[0,4]}"#), 4, "does not take the bytes"),
            (one(r#"{"dtype":"F4","shape":[3],"data_offsets":[0,1]}"#), 1, "[3] of F4"),
            (one(r#"{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]}"#), 4, "axes of a tensor"),
            (one(r#"{"dtype":"F128","shape":[1],"data_offsets":[0,16]}"#), 16, "is stored as F128"),
            (one(r#"{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}"#), 4, "invalid value"),
            (one(r#"{"dtype":"F32","shape":"2","data_offsets":[0,4]}"#), 4, "invalid type"),
            (one(r#"{"dtype":"F32","data_offsets":[0,4]}"#), 4, "missing field `shape`"),
            (one(r#"{"dtype":"F32","shape":[1],"data_offsets":[0,4],"more":1}"#), 4, "unknown field `more`"),
            (one("[1]"), 0, "invalid"),
            (one("null"), 0, "invalid type: null"),
            (one(r#"{"dtype":"F32","shape":[1],"data_offsets":[4,8]}"#), 8, "the bytes 0 to 4, before tensor conv.weight, belong to no tensor"),
            (one(r#"{"dtype":"F32","shape":[1],"data_offsets":[0,4]}"#), 6, "2 bytes behind the last tensor, conv.weight"),
            (one(r#"{"dtype":"F32","shape":[1],"data_offsets":[0,4]}"#), 3, "cut off"),
        ];
        for (header, data, part) in cases {
            let told = refusal(&file(&header, data));
            assert!(told.starts_with("unet/model.safetensors") && told.contains("conv.weight") && told.contains(part), "{part}: {told}");
        }
        let entry = r#"{"dtype":"F32","shape":[1],"data_offsets":[0,4]}"#;
        let told = refusal(&file(&format!(r#"{{"conv.weight":{entry},"other":{entry}}}"#), 4));
        assert!(told.contains("tensor other begins at byte 0, inside tensor conv.weight, which ends at 4"), "{told}");
    }

    /// Whichever of the two comes last, and whether or not both would fit.
    #[test]
    fn a_tensor_that_is_named_twice_is_refused() {
        let (row, vector) = (r#"{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}"#, r#"{"dtype":"F32","shape":[2],"data_offsets":[0,8]}"#);
        for (first, second) in [(row, vector), (vector, row), (row, row)] {
            let told = refusal(&file(&format!(r#"{{"bias":{first},"bias":{second}}}"#), 8));
            assert!(told.contains("tensor bias is named twice in its header"), "{told}");
        }
        let told = refusal(&file(&format!(r#"{{"__metadata__":{{}},"bias":{row},"__metadata__":{{}}}}"#), 8));
        assert!(told.contains("__metadata__ is named twice"), "{told}");
    }

    #[test]
    fn metadata_values_are_strings() {
        for (metadata, part) in
            [("1", "__metadata__: invalid type"), (r#"{"a":1}"#, "__metadata__: invalid type"), (r#"{"a":{"b":[]}}"#, "__metadata__")]
        {
            let told = refusal(&file(&format!(r#"{{"__metadata__":{metadata}}}"#), 0));
            assert!(told.contains(part), "{told}");
        }
        TensorFile::read(&file(r#"{"__metadata__":null}"#, 0), "here").unwrap();
    }

    #[test]
    fn files_of_other_formats_are_recognised() {
        let cases: [(&[u8], &str); 9] = [
            (b"", "the file is empty"),
            (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer, not the file itself; fetch it with `git lfs pull`"),
            (b"<!doctype html><html>", "HTML"),
            (b"{\"_class_name\": \"UNet2DConditionModel\"}", "JSON text"),
            (b"\xef\xbb\xbf[1, 2, 3, 4, 5]", "JSON text"),
            (b"PK\x03\x04\x00\x00\x08\x08\x00\x00", "ZIP archive, as PyTorch's"),
            (b"\x80\x02}q\x00X\x06\x00\x00\x00", "a pickle"),
            (b"abc", "3 bytes are no safetensors file"),
            (b"GGUF\x03\0\0\0\0\0\0\0", "a GGUF file"),
        ];
        for (bytes, part) in cases {
            let told = refusal(bytes);
            assert!(told.starts_with("unet/model.safetensors: ") && told.contains(part), "{part}: {told}");
        }
        // Headers with lengths that begin like the signature of another format.
        let entry = r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
        for length in [0x280usize, 0x7b, 0x5b] {
            TensorFile::read(&file(&format!("{entry:length$}"), 4), "here").unwrap();
        }
    }
}
