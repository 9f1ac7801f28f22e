//! A component's configuration and weights on disk, as published models have them: one file, or shards with an index.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use burn::module::Module;
use onestep_nets::{
    config_object,
    weights::{self, Shard},
};
use onestep_program::{TensorFile, limits, printable};
use onestep_train::pipeline_folder;

use crate::exit::{Exit, Failure};

/// `model`/`name` of a pipeline folder, or `model` itself if it is a component folder.
///
/// # Errors
/// Neither has a config.json.
pub fn component_folder(model: &Path, name: &str) -> Result<PathBuf, Failure> {
    let inside = model.join(name);
    for candidate in [&inside, &model.to_owned()] {
        if candidate.join("config.json").is_file() {
            return Ok(candidate.clone());
        }
    }
    Err(Failure::new(Exit::Input, format!("{} has neither {name}/config.json nor config.json", model.display())))
}

/// Reads the configuration of a component.
///
/// # Errors
/// The file and what is wrong with it.
pub fn config<C>(folder: &Path, parse: impl Fn(&str) -> Result<C, onestep_nets::ConfigError>) -> Result<C, Failure> {
    let path = folder.join("config.json");
    let refuse = |reason: String| Failure::new(Exit::Input, printable(&format!("{}: {reason}", path.display())));
    let text =
        String::from_utf8(onestep_store::read_at_most(&path, limits::CONFIG_BYTES.max)?).map_err(|_| refuse("the text is not UTF-8".into()))?;
    parse(&text).map_err(|error| refuse(error.to_string()))
}

/// Loads the weights of a component: one file, or the shards that an index lists.
///
/// # Errors
/// A file that is missing or damaged; a tensor that does not fit the network.
pub fn load<M: Module>(folder: &Path, net: M) -> Result<M, Failure> {
    const NAMES: [&str; 2] = ["diffusion_pytorch_model.safetensors", "model.safetensors"];
    let whole = NAMES.iter().map(|name| folder.join(name)).find(|path| path.exists());
    let indexed = NAMES.iter().map(|name| folder.join(format!("{name}.index.json"))).find(|path| path.exists());
    let files = match (whole, indexed) {
        (Some(path), _) => BTreeMap::from([(path.display().to_string(), onestep_store::read(&path)?)]),
        (None, Some(index)) => shards(folder, &index)?,
        (None, None) => {
            let others = pipeline_folder::alike(&folder.join(NAMES[0]));
            let others = if others.is_empty() { String::new() } else { format!(", only {}", others.join(", ")) };
            return Err(Failure::new(Exit::Input, format!("{} has no {} (nor an index of shards){others}", folder.display(), NAMES.join(" or "))));
        }
    };
    let shards: Vec<Shard<'_>> = files.iter().map(|(name, bytes)| Shard::new(name, bytes)).collect();
    weights::load(net, &shards).map_err(|error| Failure::new(Exit::Input, error.to_string()))
}

/// The files of `…index.json` by path, each with just the tensors that the index says.
fn shards(folder: &Path, index: &Path) -> Result<BTreeMap<String, Vec<u8>>, Failure> {
    let refuse = |reason: String| Failure::new(Exit::Input, printable(&format!("{}: {reason}", index.display())));
    let text =
        String::from_utf8(onestep_store::read_at_most(index, limits::CONFIG_BYTES.max)?).map_err(|_| refuse("the text is not UTF-8".into()))?;
    let json = config_object("the index of shards", &text).map_err(|error| refuse(error.to_string()))?;
    let map = json.get("weight_map").and_then(|map| map.as_object()).ok_or_else(|| refuse("expected a weight_map of tensors and files".into()))?;
    if map.is_empty() {
        return Err(refuse("weight_map is empty, expected the file of each tensor".into()));
    }
    let mut named: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (tensor, file) in map {
        match file.as_str().filter(|name| is_plain(name)) {
            Some(name) => named.entry(name).or_default().insert(tensor),
            None => return Err(refuse(format!("weight_map has {tensor:?}: {file}; expected the name of a file in the folder of the index"))),
        };
    }
    if let Some((name, tensors)) = named.iter().find(|(name, _)| !folder.join(name).exists()) {
        let first = tensors.first().copied().unwrap_or_default();
        return Err(refuse(format!("weight_map has {first:?}: {name:?}, and there is no such file")));
    }
    let mut files = BTreeMap::new();
    for (name, tensors) in named {
        let path = folder.join(name);
        let (location, bytes) = (path.display().to_string(), onestep_store::read(&path)?);
        let file = TensorFile::read(&bytes, &location).map_err(|error| Failure::new(Exit::Input, error.to_string()))?;
        let there: BTreeSet<&str> = file.header().iter().map(|(name, _)| name).collect();
        if let Some(missing) = tensors.difference(&there).next() {
            return Err(refuse(format!("weight_map has {missing:?}: {name:?}, and that file has no such tensor")));
        }
        if let Some(surplus) = there.difference(&tensors).next() {
            let said = map.get(*surplus).map_or_else(|| "does not name it".into(), |other| format!("has it in {other}"));
            return Err(refuse(format!("{name} has the tensor {surplus:?}, and weight_map {said}")));
        }
        files.insert(location, bytes);
    }
    Ok(files)
}

/// Whether a name is that of a file in the same folder, on every system.
fn is_plain(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    let one = matches!((parts.next(), parts.next()), (Some(Component::Normal(part)), None) if part == name);
    one && !name.starts_with('.') && !name.chars().any(|character| character.is_control() || "/\\:".contains(character))
}

#[cfg(test)]
mod tests {
    use super::*;

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
