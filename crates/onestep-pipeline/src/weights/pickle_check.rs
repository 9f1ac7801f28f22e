//! Checks a PyTorch checkpoint before the library reads it, for errors that name the tensor.
//!
//! The library refuses tensors that do not fit their storage, but it does not know their names at that point. This module interprets the pickle
//! once without building objects. It compares offset, sizes and strides of each tensor with its storage, and each storage with the bytes in the file.
//! Pickles that it does not understand are left to the library.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::rc::Rc;

use zip::ZipArchive;

/// Most bytes of a tensor; the largest of Stable Diffusion XL has 0.3 GiB.
const LARGEST_TENSOR: u64 = 1 << 32;

/// Largest pickle that is checked; that of a state dict with ten thousand tensors has 2 MB.
const LARGEST_PICKLE: u64 = 8 << 20;
/// Deepest nesting of tuples; those of tensors are less deep.
const DEEPEST: u8 = 4;

/// Describes the first tensor that does not fit. None if all fit, or if the file cannot be checked.
pub fn first_misfit(path: &Path) -> Option<String> {
    let size = File::open(path).ok()?.metadata().ok()?.len();
    let mut archive = match ZipArchive::new(BufReader::new(File::open(path).ok()?)) {
        Ok(archive) => archive,
        // The legacy container: several pickles, of which the fourth has the tensors, then the storages.
        Err(_) => {
            let mut bytes = Vec::new();
            File::open(path).ok()?.take(LARGEST_PICKLE).read_to_end(&mut bytes).ok()?;
            let mut rest = bytes.as_slice();
            for _ in 0..3 {
                rest = Walk::new(Storages::Whole(size)).run(rest).ok()??;
            }
            return Walk::new(Storages::Whole(size)).run(rest).err();
        }
    };
    let names: Vec<String> = archive.file_names().filter_map(|name| Some(name.ok()?.to_string())).collect();
    let root = names
        .iter()
        .filter_map(|name| name.strip_suffix("data.pkl"))
        .filter(|root| root.is_empty() || root.ends_with('/'))
        .min_by_key(|root| root.len())?;
    let mut entries = HashMap::new();
    for name in &names {
        if let Some(key) = name.strip_prefix(root).and_then(|name| name.strip_prefix("data/")) {
            let index = archive.index_for_name(name)?;
            entries.insert(key.to_owned(), archive.by_index_raw(index).ok()?.size());
        }
    }
    let mut pickle = Vec::new();
    archive.by_name(&format!("{root}data.pkl")).ok()?.take(LARGEST_PICKLE).read_to_end(&mut pickle).ok()?;
    Walk::new(Storages::Entries(entries)).run(&pickle).err()
}

/// The bytes in the file for storages.
enum Storages {
    /// By key, in an archive.
    Entries(HashMap<String, u64>),
    /// At most the size of the file for all together.
    Whole(u64),
}

/// A value of the pickle, as far as it matters for tensors.
#[derive(Clone)]
enum Item {
    Text(Rc<str>),
    /// Integers beyond i64 saturate.
    Number(i64),
    Tuple(Rc<[Item]>, u8),
    /// Module and name of a class or function.
    Global(Rc<str>),
    Storage(Rc<StorageItem>),
    Other,
}

struct StorageItem {
    key: String,
    /// As `FloatStorage`.
    class: String,
    elements: i64,
}

/// Bytes of an element of a storage class; None for an unknown class.
fn element_size(class: &str) -> Option<u64> {
    Some(match class {
        "DoubleStorage" | "LongStorage" => 8,
        "FloatStorage" | "IntStorage" => 4,
        "HalfStorage" | "BFloat16Storage" | "ShortStorage" => 2,
        "CharStorage" | "ByteStorage" | "BoolStorage" => 1,
        _ => return None,
    })
}

/// The pickle's stack.
struct Walk {
    storages: Storages,
    stack: Vec<Item>,
    marks: Vec<usize>,
    memo: HashMap<u64, Item>,
}

/// Reads the bytes of a pickle.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(count).ok()?)?;
        self.0 = rest;
        Some(taken)
    }

    /// A little-endian number of `count` bytes, at most 8.
    fn number(&mut self, count: u64) -> Option<u64> {
        Some(self.take(count)?.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    fn line(&mut self) -> Option<&'a [u8]> {
        let end = self.0.iter().position(|&byte| byte == b'\n')?;
        let line = self.take(end as u64)?;
        self.take(1)?;
        Some(line)
    }

    fn text(&mut self, length: u64) -> Option<Item> {
        Some(text(self.take(length)?))
    }
}

fn text(bytes: &[u8]) -> Item {
    Item::Text(String::from_utf8_lossy(bytes).into())
}

fn decimal(line: &[u8]) -> Option<u64> {
    std::str::from_utf8(line).ok()?.parse().ok()
}

/// A two's complement number of any length.
fn long(bytes: &[u8]) -> i64 {
    let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
    let filler = if negative { 0xff } else { 0 };
    if bytes.len() > 8 && bytes[8..].iter().any(|&byte| byte != filler) {
        return if negative { i64::MIN } else { i64::MAX };
    }
    let at = |index: usize| bytes.get(index).copied().unwrap_or(filler);
    i64::from_le_bytes(std::array::from_fn(at))
}

impl Walk {
    fn new(storages: Storages) -> Self {
        Self { storages, stack: Vec::new(), marks: Vec::new(), memo: HashMap::new() }
    }

    /// Interprets one pickle and returns the bytes after it; None at an unknown opcode. The error describes a tensor that does not fit.
    fn run(mut self, bytes: &[u8]) -> Result<Option<&[u8]>, String> {
        let mut bytes = Bytes(bytes);
        loop {
            match self.step(&mut bytes) {
                Some(Step::Next) => {}
                Some(Step::Call) => self.call()?,
                Some(Step::End) => return Ok(Some(bytes.0)),
                None => return Ok(None),
            }
        }
    }

    /// One opcode, as numbered by Python's `pickle.py`.
    fn step(&mut self, bytes: &mut Bytes<'_>) -> Option<Step> {
        let item = match bytes.number(1)? as u8 {
            b'.' => return Some(Step::End),
            b'R' => return Some(Step::Call),
            0x80 => return bytes.take(1).map(|_| Step::Next),
            0x95 => return bytes.take(8).map(|_| Step::Next),
            b'(' => {
                self.marks.push(self.stack.len());
                return Some(Step::Next);
            }
            b'0' => return self.stack.pop().map(|_| Step::Next),
            b'1' => return self.marked().map(|_| Step::Next),
            b'q' => return self.remember(bytes.number(1)?),
            b'r' => return self.remember(bytes.number(4)?),
            b'p' => return self.remember(decimal(bytes.line()?)?),
            0x94 => return self.remember(self.memo.len() as u64),
            b'h' => self.memo.get(&bytes.number(1)?)?.clone(),
            b'j' => self.memo.get(&bytes.number(4)?)?.clone(),
            b'g' => self.memo.get(&decimal(bytes.line()?)?)?.clone(),
            b'}' | b']' | 0x8f | b'N' | 0x88 | 0x89 => Item::Other,
            b'G' => bytes.take(8).map(|_| Item::Other)?,
            b')' => Item::Tuple([].into(), 1),
            b't' => tuple(self.marked()?),
            code @ 0x85..=0x87 => {
                let at = self.stack.len().checked_sub(usize::from(code - 0x84))?;
                tuple(self.stack.split_off(at))
            }
            b'l' | b'd' => self.marked().map(|_| Item::Other)?,
            b'a' | b'b' => return self.stack.pop().map(|_| Step::Next),
            b's' => return self.stack.pop().and_then(|_| self.stack.pop()).map(|_| Step::Next),
            b'e' | b'u' | 0x90 => return self.marked().map(|_| Step::Next),
            b'2' => self.stack.last()?.clone(),
            b'K' => Item::Number(bytes.number(1)? as i64),
            b'M' => Item::Number(bytes.number(2)? as i64),
            b'J' => Item::Number(i64::from(bytes.number(4)? as u32 as i32)),
            0x8a => {
                let length = bytes.number(1)?;
                Item::Number(long(bytes.take(length)?))
            }
            b'X' | b'T' | b'B' => {
                let length = bytes.number(4)?;
                bytes.text(length)?
            }
            0x8c | b'U' | b'C' => {
                let length = bytes.number(1)?;
                bytes.text(length)?
            }
            0x8d | 0x8e => {
                let length = bytes.number(8)?;
                bytes.text(length)?
            }
            b'c' => {
                let (module, name) = (bytes.line()?, bytes.line()?);
                Item::Global(format!("{} {}", String::from_utf8_lossy(module), String::from_utf8_lossy(name)).into())
            }
            0x93 => match (self.stack.pop()?, self.stack.pop()?) {
                (Item::Text(name), Item::Text(module)) => Item::Global(format!("{module} {name}").into()),
                _ => return None,
            },
            0x81 => self.stack.pop().and_then(|_| self.stack.pop()).map(|_| Item::Other)?,
            b'Q' => storage(&self.stack.pop()?),
            _ => return None,
        };
        self.stack.push(item);
        Some(Step::Next)
    }

    /// Memoises the top of the stack under a number.
    fn remember(&mut self, number: u64) -> Option<Step> {
        self.memo.insert(number, self.stack.last()?.clone());
        Some(Step::Next)
    }

    /// Everything above the last mark.
    fn marked(&mut self) -> Option<Vec<Item>> {
        let at = self.marks.pop().filter(|&at| at <= self.stack.len())?;
        Some(self.stack.split_off(at))
    }

    /// A function call; those that build tensors are checked.
    fn call(&mut self) -> Result<(), String> {
        let (arguments, function) = (self.stack.pop(), self.stack.pop());
        if let (Some(Item::Global(function)), Some(Item::Tuple(arguments, _))) = (function, arguments)
            && function.starts_with("torch._utils _rebuild_tensor")
            && let Some(problem) = misfit(&arguments, &self.storages)
        {
            // The key in the dictionary that will contain the tensor.
            let name = self.stack.iter().rev().find_map(|item| if let Item::Text(text) = item { Some(text.as_ref()) } else { None });
            return Err(format!("tensor {} {problem}", name.unwrap_or("without a name")));
        }
        self.stack.push(Item::Other);
        Ok(())
    }
}

/// How the interpretation continues after an opcode.
enum Step {
    Next,
    Call,
    End,
}

fn tuple(items: Vec<Item>) -> Item {
    let depth = items.iter().map(|item| if let Item::Tuple(_, depth) = item { *depth } else { 0 }).max().unwrap_or(0) + 1;
    if depth > DEEPEST { Item::Other } else { Item::Tuple(items.into(), depth) }
}

/// `('storage', class, key, location, elements)`.
fn storage(id: &Item) -> Item {
    let Item::Tuple(fields, _) = id else { return Item::Other };
    let [Item::Text(kind), Item::Global(class), key, _, Item::Number(elements), ..] = fields.as_ref() else { return Item::Other };
    let key = match key {
        Item::Text(key) => key.to_string(),
        Item::Number(key) => key.to_string(),
        _ => return Item::Other,
    };
    if kind.as_ref() != "storage" {
        return Item::Other;
    }
    let class = class.rsplit([' ', '.']).next().unwrap_or_default().to_owned();
    Item::Storage(Rc::new(StorageItem { key, class, elements: *elements }))
}

/// Describes what is wrong with a tensor of `(storage, offset, sizes, strides, …)`.
fn misfit(arguments: &[Item], storages: &Storages) -> Option<String> {
    let [Item::Storage(storage), Item::Number(offset), Item::Tuple(sizes, _), Item::Tuple(strides, _), ..] = arguments else { return None };
    let numbers = |items: &[Item]| -> Option<Vec<i64>> {
        items.iter().map(|item| if let Item::Number(number) = item { Some(*number) } else { None }).collect()
    };
    let (sizes, strides) = (numbers(sizes)?, numbers(strides)?);
    let StorageItem { key, class, elements } = storage.as_ref();
    let size = element_size(class)?;
    if *offset < 0 {
        return Some(format!("begins at element {offset} of its storage, expected 0 or more"));
    }
    if let Some(length) = sizes.iter().find(|length| **length < 0) {
        return Some(format!("has the shape {sizes:?}, in which {length} is no length"));
    }
    if sizes.len() != strides.len() {
        return Some(format!("has {} sizes and {} strides", sizes.len(), strides.len()));
    }
    if let Some(stride) = strides.iter().find(|stride| **stride < 0) {
        return Some(format!("has the strides {strides:?}, in which {stride} is below 0"));
    }
    if *elements < 0 {
        return Some(format!("has a storage of {elements} elements"));
    }
    // Below 2^126 for each axis, and there are far fewer axes than bytes.
    let is_empty = sizes.contains(&0);
    let reach = sizes
        .iter()
        .zip(&strides)
        .try_fold(i128::from(*offset), |reach, (&length, &stride)| reach.checked_add(i128::from(length - 1).checked_mul(i128::from(stride))?));
    match reach.map(|reach| if is_empty { i128::from(*offset) } else { reach + 1 }) {
        Some(needed) if needed <= i128::from(*elements) => {}
        needed => {
            let needed = needed.map_or_else(|| "far more".into(), |needed| needed.to_string());
            return Some(format!(
                "of shape {sizes:?} with strides {strides:?} at offset {offset} needs {needed} elements, and its storage {key} has {elements}"
            ));
        }
    }
    // With strides of 0 elements repeat.
    let shown = sizes.iter().try_fold(i128::from(size), |shown, &length| shown.checked_mul(i128::from(length)));
    if shown.is_none_or(|shown| shown > i128::from(LARGEST_TENSOR)) {
        return Some(format!("of shape {sizes:?} has more than {LARGEST_TENSOR} bytes"));
    }
    let (claimed, there) = match storages {
        Storages::Entries(entries) => match entries.get(key) {
            Some(there) => (i128::from(*elements) * i128::from(size), i128::from(*there)),
            None => return Some(format!("has its elements in data/{key}, which is not in the file")),
        },
        Storages::Whole(there) => (i128::from(*elements) * i128::from(size), i128::from(*there)),
    };
    if claimed > there {
        return Some(format!("has a storage {key} of {claimed} bytes, and the file has {there} for it"));
    }
    None
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// `{"net.lin.weight": torch tensor}` as `torch.save` pickles it, with these numbers.
    pub(crate) fn pickle(elements: i64, offset: i64, sizes: &[i64], strides: &[i64]) -> Vec<u8> {
        let mut out = b"\x80\x02}(".to_vec();
        let text = |out: &mut Vec<u8>, text: &str| {
            out.push(b'X');
            out.extend((text.len() as u32).to_le_bytes());
            out.extend(text.as_bytes());
        };
        let number = |out: &mut Vec<u8>, number: i64| {
            out.extend([0x8a, 8]);
            out.extend(number.to_le_bytes());
        };
        text(&mut out, "net.lin.weight");
        out.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        text(&mut out, "storage");
        out.extend(b"ctorch\nFloatStorage\n");
        text(&mut out, "0");
        text(&mut out, "cpu");
        number(&mut out, elements);
        out.extend(b"tQ");
        number(&mut out, offset);
        for numbers in [sizes, strides] {
            out.push(b'(');
            numbers.iter().for_each(|value| number(&mut out, *value));
            out.push(b't');
        }
        out.extend(b"\x89ccollections\nOrderedDict\n)RtRu.");
        out
    }

    fn told(bytes: &[u8], there: u64) -> Option<String> {
        Walk::new(Storages::Entries(HashMap::from([("0".into(), there)]))).run(bytes).err()
    }

    #[test]
    fn errors_name_the_tensor_that_does_not_fit() {
        assert_eq!(told(&pickle(6, 0, &[2, 3], &[3, 1]), 24), None);
        assert_eq!(told(&pickle(6, 5, &[], &[]), 24), None);
        assert_eq!(told(&pickle(0, 0, &[0, 3], &[3, 1]), 0), None);
        for (bytes, there, part) in [
            (pickle(6, 1, &[2, 3], &[3, 1]), 24, "needs 7 elements, and its storage 0 has 6"),
            (pickle(6, -1, &[2, 3], &[3, 1]), 24, "begins at element -1"),
            (pickle(6, 0, &[2, -3], &[3, 1]), 24, "-3 is no length"),
            (pickle(6, 0, &[2, 3], &[-3, 1]), 24, "-3 is below 0"),
            (pickle(6, 0, &[2, 3], &[1]), 24, "2 sizes and 1 strides"),
            (pickle(6, 0, &[i64::MAX, i64::MAX], &[i64::MAX, i64::MAX]), 24, "elements, and its storage"),
            (pickle(6, i64::MAX, &[2, 3], &[3, 1]), 24, "elements, and its storage"),
            (pickle(i64::MAX, 0, &[2, 3], &[3, 1]), 24, "bytes, and the file has 24 for it"),
            (pickle(6, 0, &[2, 3], &[3, 1]), 23, "24 bytes, and the file has 23"),
            (pickle(-6, 0, &[2, 3], &[3, 1]), 24, "-6 elements"),
        ] {
            let told = told(&bytes, there).unwrap_or_default();
            assert!(told.starts_with("tensor net.lin.weight ") && told.contains(part), "{part}: {told}");
        }
        let missing = Walk::new(Storages::Entries(HashMap::new())).run(&pickle(6, 0, &[6], &[1])).unwrap_err();
        assert!(missing.contains("data/0, which is not in the file"), "{missing}");
    }

    /// A container as `torch.save` writes it: stored, in one folder.
    pub(crate) fn archive(path: &Path, pickle: &[u8], storage: &[u8]) {
        let mut writer = zip::ZipWriter::new(File::create(path).unwrap());
        let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        for (name, bytes) in [("archive/data.pkl", pickle), ("archive/version", b"3\n"), ("archive/data/0", storage)] {
            writer.start_file(name, options).unwrap();
            std::io::Write::write_all(&mut writer, bytes).unwrap();
        }
        writer.finish().unwrap();
    }

    #[test]
    fn both_containers_are_checked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metric.pth");
        archive(&path, &pickle(6, 0, &[2, 3], &[3, 1]), &[0; 24]);
        assert_eq!(first_misfit(&path), None);
        archive(&path, &pickle(6, 1, &[2, 3], &[3, 1]), &[0; 24]);
        assert!(first_misfit(&path).is_some_and(|told| told.contains("needs 7 elements")));

        // The legacy container: magic, version and system, each a pickle, then the one with the tensors.
        let magic = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
        let legacy = [&magic[..], b"\x80\x02M\xe9\x03.", b"\x80\x02}.", &pickle(6, 1, &[2, 3], &[3, 1])].concat();
        std::fs::write(&path, legacy).unwrap();
        assert!(first_misfit(&path).is_some_and(|told| told.contains("net.lin.weight") && told.contains("needs 7 elements")));
    }

    #[test]
    fn unknown_pickles_are_left_to_the_library() {
        let whole = pickle(6, 1, &[2, 3], &[3, 1]);
        for end in 0..whole.len() - 4 {
            let walked = Walk::new(Storages::Whole(24)).run(&whole[..end]);
            assert!(matches!(walked, Ok(None)), "{end}");
        }
        for bytes in [&b"\xff"[..], b"t", b"R.", b"0", b"u", b"X\xff\xff\xff\xff", b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff"] {
            assert!(Walk::new(Storages::Whole(24)).run(bytes).is_ok());
        }
        let deep = [b")".to_vec(), b"\x85".repeat(1 << 20), b".".to_vec()].concat();
        assert!(Walk::new(Storages::Whole(24)).run(&deep).is_ok());
    }

    #[test]
    fn numbers_of_any_length_are_read() {
        assert_eq!((long(&[]), long(&[0xff]), long(&[0, 1]), long(&[0, 0x80])), (0, -1, 256, -32768));
        assert_eq!((long(&[0xff; 9]), long(&[0, 0, 0, 0, 0, 0, 0, 0, 1]), long(&[0, 0, 0, 0, 0, 0, 0, 0, 0x80])), (-1, i64::MAX, i64::MIN));
    }
}
