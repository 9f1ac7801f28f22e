//! Finds the weight files of a component's folder.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use onestep_program::limits;

use super::{WeightFormat, WeightMap};
use crate::{config, error::PipelineError};

/// The names that diffusers and transformers give to weights, without variant; formats in the order of preference.
const NAMES: [(&str, &str, WeightFormat); 4] = [
    ("diffusion_pytorch_model", "safetensors", WeightFormat::Safetensors),
    ("model", "safetensors", WeightFormat::Safetensors),
    ("diffusion_pytorch_model", "bin", WeightFormat::PyTorch),
    ("pytorch_model", "bin", WeightFormat::PyTorch),
];

/// Most files that an error names.
const NAMED: usize = 6;

/// The weight files of a component.
#[derive(Clone, Debug)]
pub struct Located {
    /// The files with weights; several if they are shards.
    pub files: Vec<PathBuf>,
    /// The index of shards.
    pub index: Option<PathBuf>,
    /// The variant, such as `fp16`.
    pub variant: Option<String>,
    /// The format of the files.
    pub format: WeightFormat,
    /// The tensors that the index expects, by file.
    expected: BTreeMap<PathBuf, BTreeSet<String>>,
}

/// Finds the weight files in `folder`. Without a `variant` the files without one are preferred; if there are none, those of the
/// only variant.
///
/// # Errors
/// No weights of a known name, naming what is there instead; several variants, or not the one that is asked for; an index that
/// is damaged or names a file that is missing.
pub fn locate(folder: &Path, variant: Option<&str>) -> Result<Located, PipelineError> {
    // In the order of preference.
    let mut found: Vec<(usize, bool, Option<String>, String)> = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some((number, is_index, variant)) = parsed(&name) {
            found.push((number, is_index, variant, name));
        }
    }
    found.sort();
    let variants: BTreeSet<&str> = found.iter().filter_map(|(_, _, variant, _)| variant.as_deref()).collect();
    let listed = |variants: &BTreeSet<&str>| variants.iter().copied().collect::<Vec<_>>().join(", ");
    let wanted = match variant {
        Some(wanted) => Some(wanted),
        None if found.iter().any(|(_, _, variant, _)| variant.is_none()) => None,
        None => match variants.iter().copied().collect::<Vec<_>>().as_slice() {
            [] => {
                let others = alike(folder);
                let others = if others.is_empty() { String::new() } else { format!(", only {}", others.join(", ")) };
                let names = "diffusion_pytorch_model.safetensors, model.safetensors, an index of shards, or .bin";
                return Err(PipelineError::input(format!("{}: expected weights ({names}), found none{others}", folder.display())));
            }
            [one] => Some(*one),
            _ => {
                let message = format!("there are weights of the variants {}; say which with --variant", listed(&variants));
                return Err(PipelineError::input(format!("{}: {message}", folder.display())));
            }
        },
    };
    let Some((number, is_index, variant, name)) = found.iter().find(|(_, _, variant, _)| variant.as_deref() == wanted) else {
        let there = if variants.is_empty() { "only files without one".to_owned() } else { format!("only {}", listed(&variants)) };
        let message = format!("there are no weights of the variant {:?}, {there}", wanted.unwrap_or_default());
        return Err(PipelineError::input(format!("{}: {message}", folder.display())));
    };
    let path = folder.join(name);
    let mut located =
        Located { files: vec![path.clone()], index: None, variant: variant.clone(), format: NAMES[*number].2, expected: BTreeMap::new() };
    if *is_index {
        located.expected = shards(folder, &path)?;
        located.files = located.expected.keys().cloned().collect();
        located.index = Some(path);
    }
    Ok(located)
}

impl Located {
    /// Opens the files.
    ///
    /// # Errors
    /// Those of [`WeightMap::open`]; shards that have other tensors than their index says.
    pub fn open(&self) -> Result<WeightMap, PipelineError> {
        let map = WeightMap::open(&self.files)?;
        let Some(index) = &self.index else { return Ok(map) };
        for file in map.files() {
            let Some(expected) = self.expected.get(file.path()) else { continue };
            let there: BTreeSet<&str> = file.iter().map(|(name, _)| name).collect();
            let name = file.path().file_name().unwrap_or_default().to_string_lossy();
            if let Some(missing) = expected.iter().find(|tensor| !there.contains(tensor.as_str())) {
                return Err(refuse(index, &format!("weight_map has {missing:?}: {name:?}, and that file has no such tensor")));
            }
            if let Some(surplus) = there.iter().find(|tensor| !expected.contains(**tensor)) {
                let elsewhere = self.expected.iter().find(|(_, tensors)| tensors.contains(*surplus)).and_then(|(path, _)| path.file_name());
                let said = elsewhere.map_or_else(|| "does not name it".into(), |other| format!("has it in {:?}", other.to_string_lossy()));
                return Err(refuse(index, &format!("{name} has the tensor {surplus:?}, and weight_map {said}")));
            }
        }
        Ok(map)
    }

    /// The layout in words: format, shards, variant.
    pub fn layout(&self) -> String {
        let shards = if self.index.is_some() { format!(", {} shards", self.files.len()) } else { String::new() };
        let variant = self.variant.as_ref().map_or_else(String::new, |variant| format!(", variant {variant}"));
        format!("{}{shards}{variant}", self.format.name())
    }
}

/// The number in [`NAMES`] of a weight file or an index of shards, whether it is the index, and the variant.
fn parsed(name: &str) -> Option<(usize, bool, Option<String>)> {
    NAMES.iter().enumerate().find_map(|(number, (base, extension, _))| {
        let rest = name.strip_prefix(base)?.strip_prefix('.')?;
        if let Some(variant) = rest.strip_prefix(extension).and_then(|rest| rest.strip_prefix(".index.")?.strip_suffix("json")) {
            let variant = variant.strip_suffix('.').map(str::to_owned);
            return Some((number, true, variant));
        }
        if rest == *extension {
            return Some((number, false, None));
        }
        let variant = rest.strip_suffix(extension)?.strip_suffix('.')?;
        (!variant.is_empty() && !variant.contains("-of-")).then(|| (number, false, Some(variant.to_owned())))
    })
}

/// The files of `…index.json`, each with the tensors that the index says.
fn shards(folder: &Path, index: &Path) -> Result<BTreeMap<PathBuf, BTreeSet<String>>, PipelineError> {
    let bytes = onestep_store::read_at_most(index, limits::CONFIG_BYTES.max)?;
    let text = String::from_utf8(bytes).map_err(|_| refuse(index, "the text is not UTF-8"))?;
    let json = config::object("the index of shards", &text).map_err(|error| refuse(index, &error.to_string()))?;
    let map = json.get("weight_map").and_then(|map| map.as_object()).ok_or_else(|| refuse(index, "expected a weight_map of tensors and files"))?;
    if map.is_empty() {
        return Err(refuse(index, "weight_map is empty, expected the file of each tensor"));
    }
    let mut named: BTreeMap<PathBuf, BTreeSet<String>> = BTreeMap::new();
    for (tensor, file) in map {
        match file.as_str().filter(|name| is_plain(name)) {
            Some(name) => named.entry(folder.join(name)).or_default().insert(tensor.clone()),
            None => {
                return Err(refuse(index, &format!("weight_map has {tensor:?}: {file}; expected the name of a file in the folder of the index")));
            }
        };
    }
    if let Some((path, tensors)) = named.iter().find(|(path, _)| !path.exists()) {
        let (first, name) = (tensors.first().map_or("", String::as_str), path.file_name().unwrap_or_default().to_string_lossy());
        return Err(refuse(index, &format!("weight_map has {first:?}: {name:?}, and there is no such file")));
    }
    Ok(named)
}

fn refuse(path: &Path, reason: &str) -> PipelineError {
    PipelineError::input(format!("{}: {reason}", path.display()))
}

/// Whether a name is that of a file in the same folder, on every system.
fn is_plain(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    let one = matches!((parts.next(), parts.next()), (Some(Component::Normal(part)), None) if part == name);
    one && !name.starts_with('.') && !name.chars().any(|character| character.is_control() || "/\\:".contains(character))
}

/// Files in `folder` that may be weights of another name or format.
pub fn alike(folder: &Path) -> Vec<String> {
    let is_alike = |name: &str| match Path::new(name).extension().and_then(|extension| extension.to_str()) {
        Some("safetensors" | "bin" | "pt" | "pth" | "ckpt" | "msgpack" | "h5" | "onnx" | "gguf") => true,
        Some("json") => name.contains(".index."),
        _ => false,
    };
    let names = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| is_alike(name)).collect();
    names.sort();
    if let Some(more) = names.len().checked_sub(NAMED).filter(|more| *more > 0) {
        names.truncate(NAMED);
        names.push(format!("and {more} more"));
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_variant_and_format() {
        for (name, expected) in [
            ("diffusion_pytorch_model.safetensors", Some((0, false, None))),
            ("diffusion_pytorch_model.fp16.safetensors", Some((0, false, Some("fp16")))),
            ("diffusion_pytorch_model.safetensors.index.json", Some((0, true, None))),
            ("diffusion_pytorch_model.safetensors.index.fp16.json", Some((0, true, Some("fp16")))),
            ("model.safetensors", Some((1, false, None))),
            ("model.non_ema.safetensors", Some((1, false, Some("non_ema")))),
            ("pytorch_model.fp16.bin", Some((3, false, Some("fp16")))),
            ("diffusion_pytorch_model.bin.index.json", Some((2, true, None))),
            ("diffusion_pytorch_model-00001-of-00002.safetensors", None),
            ("diffusion_pytorch_model.fp16-00001-of-00002.safetensors", None),
            ("model.safetensorsx", None),
            ("config.json", None),
            ("model..safetensors", None),
        ] {
            let expected = expected.map(|(number, index, variant)| (number, index, variant.map(str::to_owned)));
            assert_eq!(parsed(name), expected, "{name}");
        }
    }

    #[test]
    fn the_only_variant_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str| std::fs::write(folder.path().join(name), onestep_store::tensor_bytes(&[("a".into(), vec![1], vec![1.0])])).unwrap();
        std::fs::write(folder.path().join("weights.gguf"), "GGUF").unwrap();
        let told = locate(folder.path(), None).unwrap_err().to_string();
        assert!(told.contains("found none, only weights.gguf"), "{told}");
        write("model.fp16.safetensors");
        assert_eq!(locate(folder.path(), None).unwrap().layout(), "safetensors, variant fp16");
        write("model.bf16.safetensors");
        let told = locate(folder.path(), None).unwrap_err().to_string();
        assert!(told.contains("bf16, fp16; say which with --variant"), "{told}");
        assert_eq!(locate(folder.path(), Some("fp16")).unwrap().variant.as_deref(), Some("fp16"));
        write("model.safetensors");
        assert_eq!(locate(folder.path(), None).unwrap().variant, None);
        assert_eq!(locate(folder.path(), None).unwrap().open().unwrap().total_parameters(), 1);
        let told = locate(folder.path(), Some("ema")).unwrap_err().to_string();
        assert!(told.contains("no weights of the variant \"ema\", only bf16, fp16"), "{told}");
    }

    #[test]
    fn shards_are_those_of_the_index() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, tensors: &[&str]| {
            let tensors: Vec<_> = tensors.iter().map(|name| ((*name).to_owned(), vec![1], vec![1.0])).collect();
            std::fs::write(folder.path().join(name), onestep_store::tensor_bytes(&tensors)).unwrap();
        };
        let (one, two) = ("model.fp16-00001-of-00002.safetensors", "model.fp16-00002-of-00002.safetensors");
        let index = |map: &str| {
            std::fs::write(folder.path().join("model.safetensors.index.fp16.json"), format!("{{\"weight_map\": {map}}}")).unwrap();
            locate(folder.path(), None).and_then(|located| Ok((located.layout(), located.open()?.names().count()))).map_err(|error| error.to_string())
        };
        write(one, &["a", "b"]);
        write(two, &["c"]);
        assert_eq!(index(&format!(r#"{{"a": "{one}", "b": "{one}", "c": "{two}"}}"#)).unwrap(), ("safetensors, 2 shards, variant fp16".into(), 3));
        for (map, part) in [
            (format!(r#"{{"a": "{one}", "c": "{two}"}}"#), "has the tensor \"b\", and weight_map does not name it"),
            (format!(r#"{{"a": "{one}", "b": "{two}", "c": "{two}"}}"#), "\"b\", and weight_map has it in"),
            (format!(r#"{{"a": "{one}", "b": "{one}", "c": "{two}", "d": "{two}"}}"#), "has no such tensor"),
            (r#"{"a": "model-3.safetensors"}"#.to_owned(), "there is no such file"),
            (r#"{"a": "../model.safetensors"}"#.to_owned(), "expected the name of a file in the folder"),
            (r#"{"a": 1}"#.to_owned(), "expected the name of a file in the folder"),
            ("{}".to_owned(), "weight_map is empty"),
            ("[]".to_owned(), "expected a weight_map"),
        ] {
            let told = index(&map).unwrap_err();
            assert!(told.contains(part) && told.contains("model.safetensors.index.fp16.json"), "{part}: {told}");
        }
    }

    #[test]
    fn names_of_shards_are_those_of_files_beside_the_index() {
        for name in ["model-00001-of-00002.safetensors", "a.safetensors"] {
            assert!(is_plain(name), "{name}");
        }
        for name in ["", ".", "..", ".hidden", "a/b", "a/", "/etc/passwd", "../a", "a\\b", "C:a", "a\0b", "./a", "a\nb"] {
            assert!(!is_plain(name), "{name:?}");
        }
    }
}
