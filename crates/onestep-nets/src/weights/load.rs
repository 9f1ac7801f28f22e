//! Strict loading.

use std::collections::{BTreeMap, BTreeSet};

use burn::{
    module::{Module, ModuleMapper, Param},
    tensor::{Tensor, TensorData},
};
use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors};

use super::{
    LoadError, StateTensor, TensorProblem,
    former_names::{count_beside, former_names, may_be_left_over},
    parameter_path::{ParameterPath, transposed},
    parameters,
};

/// Largest header of a safetensors file that is read, in bytes.
const HEADER_LIMIT: u64 = 8 << 20;

/// Gives every parameter of `module` its value from `shards`, the bytes of one or several safetensors files.
///
/// Elements may be f32, f16 or bf16. A tensor that is missing, surplus, misshapen or of another type is an error, and all of
/// them are named. Whether parameters require gradients does not change.
pub fn load<M: Module>(module: M, shards: &[&[u8]]) -> Result<M, LoadError> {
    load_part(module, shards, |_| false)
}

/// [`load`] of a module that is a part of what `shards` hold: a tensor may be left over where `is_other` says so of its name.
pub(crate) fn load_part<M: Module>(module: M, shards: &[&[u8]], is_other: impl Fn(&str) -> bool) -> Result<M, LoadError> {
    let mut tensors = BTreeMap::new();
    for (shard, bytes) in shards.iter().enumerate() {
        for (name, view) in opened(bytes).map_err(|reason| LoadError::Container { shard, reason })? {
            if tensors.contains_key(&name) {
                return Err(LoadError::Duplicate { name });
            }
            tensors.insert(name, Source::Bytes { dtype: view.dtype, shape: view.shape, data: view.data });
        }
    }
    loaded(module, tensors, is_other)
}

/// The names of all tensors in `shards`.
pub(crate) fn names(shards: &[&[u8]]) -> Result<BTreeSet<String>, LoadError> {
    let mut names = BTreeSet::new();
    for (shard, bytes) in shards.iter().enumerate() {
        names.extend(opened(bytes).map_err(|reason| LoadError::Container { shard, reason })?.into_iter().map(|(name, _)| name));
    }
    Ok(names)
}

/// Gives every parameter of `module` its value from `state`; as strict as [`load`].
pub fn load_state<M: Module>(module: M, state: Vec<StateTensor>) -> Result<M, LoadError> {
    let mut tensors = BTreeMap::new();
    for StateTensor { name, shape, data } in state {
        if tensors.contains_key(&name) {
            return Err(LoadError::Duplicate { name });
        }
        tensors.insert(name, Source::Floats { shape, data });
    }
    loaded(module, tensors, |_| false)
}

/// A tensor that was offered.
enum Source<'a> {
    Bytes { dtype: Dtype, shape: Vec<usize>, data: &'a [u8] },
    Floats { shape: Vec<usize>, data: Vec<f32> },
}

struct View<'a> {
    dtype: Dtype,
    shape: Vec<usize>,
    data: &'a [u8],
}

/// The tensors of a safetensors file, its header checked.
fn opened(bytes: &[u8]) -> Result<Vec<(String, View<'_>)>, String> {
    let length = bytes.first_chunk::<8>().map(|length| u64::from_le_bytes(*length)).ok_or("it is too short")?;
    if length > HEADER_LIMIT {
        return Err(format!("its header of {length} bytes is longer than {HEADER_LIMIT}"));
    }
    let file = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
    // The views of `SafeTensors` borrow it, their data only `bytes`.
    Ok(file
        .iter()
        .map(|(name, view)| {
            let view = View { dtype: view.dtype(), shape: view.shape().to_vec(), data: view.data() };
            (name.to_owned(), view)
        })
        .collect())
}

fn loaded<M: Module>(module: M, tensors: BTreeMap<String, Source<'_>>, is_other: impl Fn(&str) -> bool) -> Result<M, LoadError> {
    let counts: BTreeSet<String> = parameters(&module).iter().filter_map(|parameter| count_beside(&parameter.name)).collect();
    let is_left_over = |name: &String| may_be_left_over(name) || counts.contains(name) || is_other(name);
    let mut loader = Loader { path: ParameterPath::default(), tensors, problems: Vec::new() };
    let module = module.map(&mut loader);
    let Loader { tensors, mut problems, .. } = loader;
    problems.extend(tensors.into_keys().filter(|name| !is_left_over(name)).map(|name| TensorProblem::Surplus { name }));
    if problems.is_empty() { Ok(module) } else { Err(LoadError::Tensors(problems)) }
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
    /// The values of the parameter at the current path, whose burn shape is `shape`.
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
        let found = match &source {
            Source::Bytes { shape, .. } | Source::Floats { shape, .. } => shape,
        };
        if *found != expected {
            return Err(TensorProblem::Shape { name, expected, found: found.clone() });
        }
        let data = match source {
            Source::Floats { data, .. } => data,
            Source::Bytes { dtype, data, .. } => floats(dtype, data).map_err(|reason| TensorProblem::Data { name: name.clone(), reason })?,
        };
        let count: usize = expected.iter().product();
        if data.len() != count {
            let reason = format!("it has {} elements, not {count}", data.len());
            return Err(TensorProblem::Data { name, reason });
        }
        Ok(match matrix {
            Some((rows, columns)) => transposed(&data, rows, columns),
            None => data,
        })
    }
}

/// Little-endian elements as f32.
fn floats(dtype: Dtype, data: &[u8]) -> Result<Vec<f32>, String> {
    Ok(match dtype {
        Dtype::F32 => data.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
        Dtype::F16 => data.as_chunks::<2>().0.iter().map(|bytes| f16::from_le_bytes(*bytes).to_f32()).collect(),
        Dtype::BF16 => data.as_chunks::<2>().0.iter().map(|bytes| bf16::from_le_bytes(*bytes).to_f32()).collect(),
        other => {
            return Err(format!("its elements are {other:?}, only F32, F16 and BF16 are read"));
        }
    })
}
