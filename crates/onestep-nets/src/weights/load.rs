//! Strict loading.

use std::collections::{BTreeMap, BTreeSet};

use burn::{
    module::{Module, ModuleMapper, Param},
    tensor::{Tensor, TensorData},
};
use onestep_pipeline::weights::{WeightMap, former_names, is_ignored};
use onestep_program::{ElementType, StoredTensor, TensorFile, element::coordinates};

use super::{
    LoadError, StateTensor, TensorProblem,
    parameter_path::{ParameterPath, transposed},
    parameters,
};

/// The bytes of a safetensors file with its name in errors.
#[derive(Clone, Copy, Debug)]
pub struct Shard<'a> {
    /// Its path or name.
    pub file: &'a str,
    /// Its content.
    pub bytes: &'a [u8],
}

impl<'a> Shard<'a> {
    /// The file `file`.
    pub fn new(file: &'a str, bytes: &'a [u8]) -> Self {
        Self { file, bytes }
    }
}

/// Loads every parameter of `module` from `shards`, one or more safetensors files of f32, f16 or bf16.
///
/// Whether a parameter requires gradients does not change.
///
/// # Errors
/// Every tensor that is missing, surplus, not finite, or of another shape or type.
pub fn load<M: Module>(module: M, shards: &[Shard<'_>]) -> Result<M, LoadError> {
    load_part(module, shards, |_| false)
}

/// Like [`load`], for a module that is a part of the files: a tensor may be surplus if `is_other` is true for its name.
pub(crate) fn load_part<M: Module>(module: M, shards: &[Shard<'_>], is_other: impl Fn(&str) -> bool) -> Result<M, LoadError> {
    let files = opened(shards)?;
    let mut tensors: BTreeMap<String, Source<'_>> = BTreeMap::new();
    for (shard, file) in shards.iter().zip(&files) {
        for (name, tensor) in file.iter() {
            if let Some(Source::Stored { file: first, .. }) = tensors.get(name) {
                return Err(LoadError::Duplicate { name: name.to_owned(), files: vec![(*first).to_owned(), shard.file.to_owned()] });
            }
            tensors.insert(name.to_owned(), Source::Stored { file: shard.file, tensor });
        }
    }
    loaded(module, tensors, shards.iter().map(|shard| shard.file.to_owned()).collect(), is_other)
}

/// The names of all tensors in `shards`.
pub(crate) fn names(shards: &[Shard<'_>]) -> Result<BTreeSet<String>, LoadError> {
    let files = opened(shards)?;
    Ok(files.iter().flat_map(|file| file.iter().map(|(name, _)| name.to_owned())).collect())
}

/// Loads every parameter of `module` from `state`.
///
/// # Errors
/// Those of [`load`].
pub fn load_state<M: Module>(module: M, state: Vec<StateTensor>) -> Result<M, LoadError> {
    let mut tensors = BTreeMap::new();
    for StateTensor { name, shape, data } in state {
        if tensors.contains_key(&name) {
            return Err(LoadError::Duplicate { name, files: Vec::new() });
        }
        tensors.insert(name, Source::Floats { shape, data });
    }
    loaded(module, tensors, Vec::new(), |_| false)
}

/// Loads every parameter of `module` from `map`, one tensor after the other: no more than one is in memory besides the module.
///
/// # Errors
/// Those of [`load`]; a tensor that cannot be read.
pub fn load_map<M: Module>(module: M, map: &WeightMap) -> Result<M, LoadError> {
    let tensors = map.iter().map(|(name, info)| (name.to_owned(), Source::Mapped { map, shape: info.shape.clone(), file: map.location(name) }));
    loaded(module, tensors.collect(), map.files().map(|file| file.location().to_owned()).collect(), |_| false)
}

/// A tensor of a file or of a state.
enum Source<'a> {
    Stored {
        file: &'a str,
        tensor: StoredTensor<'a>,
    },
    Floats {
        shape: Vec<usize>,
        data: Vec<f32>,
    },
    /// Read when it is needed.
    Mapped {
        map: &'a WeightMap,
        shape: Vec<usize>,
        file: &'a str,
    },
}

/// The files, their headers checked.
fn opened<'a>(shards: &[Shard<'a>]) -> Result<Vec<TensorFile<'a>>, LoadError> {
    let open = |shard: &Shard<'a>| {
        TensorFile::read(shard.bytes, shard.file)
            .map_err(|error| LoadError::Container { file: error.location().to_owned(), reason: error.message().to_owned() })
    };
    shards.iter().map(open).collect()
}

fn loaded<M: Module>(module: M, tensors: BTreeMap<String, Source<'_>>, files: Vec<String>, is_other: impl Fn(&str) -> bool) -> Result<M, LoadError> {
    let counts: BTreeSet<String> = parameters(&module).iter().filter_map(|parameter| batch_counter(&parameter.name)).collect();
    let may_be_surplus = |name: &String| is_ignored(name) || counts.contains(name) || is_other(name);
    let mut loader = Loader { path: ParameterPath::default(), tensors, problems: Vec::new() };
    let module = module.map(&mut loader);
    let Loader { tensors, mut problems, .. } = loader;
    let surplus = tensors.into_iter().filter(|(name, _)| !may_be_surplus(name));
    problems.extend(surplus.map(|(name, source)| TensorProblem::Surplus { name, file: source.file() }));
    if problems.is_empty() { Ok(module) } else { Err(LoadError::Tensors { files, problems }) }
}

impl Source<'_> {
    /// The name of its file; empty if there is none.
    fn file(&self) -> String {
        match self {
            Self::Stored { file, .. } | Self::Mapped { file, .. } => (*file).to_owned(),
            Self::Floats { .. } => String::new(),
        }
    }
}

/// The name of PyTorch's batch counter of the batch normalisation that has the statistics `name`.
fn batch_counter(name: &str) -> Option<String> {
    name.strip_suffix("running_mean").map(|module| format!("{module}num_batches_tracked"))
}

struct Loader<'a> {
    path: ParameterPath,
    tensors: BTreeMap<String, Source<'a>>,
    problems: Vec<TensorProblem>,
}

impl ModuleMapper for Loader<'_> {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let shape: Vec<usize> = param.lazy_shape().to_vec();
        match self.take(&shape) {
            Ok(data) => {
                let (id, device) = (param.id, param.lazy_device());
                let tensor = Tensor::<D>::from_data(TensorData::new(data, shape), &device);
                param.transform_for_load(tensor, id)
            }
            Err(problem) => {
                self.problems.push(problem);
                param
            }
        }
    }
}

impl Loader<'_> {
    /// The values of the parameter at the current path, which has the shape `shape` in burn.
    fn take(&mut self, shape: &[usize]) -> Result<Vec<f32>, TensorProblem> {
        let name = self.path.name();
        let matrix = match shape {
            [rows, columns] if self.path.is_transposed() => Some((*columns, *rows)),
            _ => None,
        };
        let expected = match matrix {
            Some((rows, columns)) => vec![rows, columns],
            None if self.path.is_number() => Vec::new(),
            None => shape.to_vec(),
        };
        let source = self.tensors.remove(&name).or_else(|| former_names(&name).iter().find_map(|former| self.tensors.remove(former)));
        let Some(source) = source else {
            return Err(TensorProblem::Missing { name, shape: expected });
        };
        let file = source.file();
        let found = match &source {
            Source::Stored { tensor, .. } => tensor.shape.to_vec(),
            Source::Floats { shape, .. } | Source::Mapped { shape, .. } => shape.clone(),
        };
        if found != expected {
            return Err(TensorProblem::Shape { name, expected, found, file });
        }
        let unread = |element: ElementType| format!("its elements are {}, only F32, F16 and BF16 are read", element.name());
        let data = match source {
            Source::Floats { data, .. } => Ok(data),
            Source::Stored { tensor, .. } => {
                tensor.to_f32().filter(|_| ElementType::WEIGHTS.contains(&tensor.element)).ok_or_else(|| unread(tensor.element))
            }
            Source::Mapped { map, .. } => match map.read(&name) {
                Ok(tensor) => tensor.to_f32().filter(|_| ElementType::WEIGHTS.contains(&tensor.element)).ok_or_else(|| unread(tensor.element)),
                Err(error) => Err(error.to_string()),
            },
        };
        let data = match data {
            Ok(data) => data,
            Err(reason) => return Err(TensorProblem::Data { name, reason, file }),
        };
        let count: usize = expected.iter().product();
        if data.len() != count {
            let reason = format!("it has {} elements, not {count}", data.len());
            return Err(TensorProblem::Data { name, reason, file });
        }
        if let Some((number, value)) = data.iter().enumerate().find(|(_, value)| !value.is_finite()) {
            return Err(TensorProblem::NotFinite { name, value: value.to_string(), position: coordinates(&expected, number), file });
        }
        Ok(match matrix {
            Some((rows, columns)) => transposed(&data, rows, columns),
            None => data,
        })
    }
}
