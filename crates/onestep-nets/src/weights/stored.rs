//! Parameters that stay in their files.

use std::{collections::BTreeSet, sync::Arc};

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::tensor::Tensor;
use onestep_pipeline::weights::{WeightMap, is_ignored};

use super::{
    LoadError, TensorProblem,
    parameter_path::{ParameterPath, transposed},
};

/// A parameter of a module. Its elements are in a file.
#[derive(Clone, Debug)]
pub struct StoredParameter {
    /// diffusers' name.
    pub name: String,
    /// burn's identity of it.
    pub id: ParamId,
    is_transposed: bool,
    map: Arc<WeightMap>,
}

impl StoredParameter {
    /// The elements, row-major in the module's layout.
    ///
    /// # Errors
    /// A file that changed or cannot be read; an element that is NaN or infinite, with its position.
    pub fn read(&self) -> Result<Vec<f32>, String> {
        let tensor = self.map.read_finite(&self.name).map_err(|error| error.to_string())?;
        let data = tensor.to_f32().ok_or_else(|| format!("is stored as {}, expected floats", tensor.element.name()))?;
        Ok(match tensor.shape[..] {
            [rows, columns] if self.is_transposed => transposed(&data, rows, columns),
            _ => data,
        })
    }
}

/// The parameters of `module`, which need not be initialised, in the files of `map`. No tensor is read until [`StoredParameter::read`].
///
/// A tensor may be surplus if `is_other` is true for its name, for a module that is a part of the files.
///
/// # Errors
/// Every tensor that is missing, surplus or of another shape.
pub fn stored<M: Module>(module: &M, map: &WeightMap, is_other: impl Fn(&str) -> bool) -> Result<Vec<StoredParameter>, LoadError> {
    let mut visitor = Visitor::default();
    module.visit(&mut visitor);
    let shared = Arc::new(map.clone());
    let mut others: BTreeSet<&str> = map.names().collect();
    let (mut parameters, mut problems) = (Vec::new(), Vec::new());
    for Visited { name, id, shape, is_transposed } in visitor.parameters {
        others.remove(name.as_str());
        match map.info(&name) {
            None => problems.push(TensorProblem::Missing { name, shape }),
            Some(info) if info.shape != shape => {
                let (found, file) = (info.shape.clone(), map.location(&name).to_owned());
                problems.push(TensorProblem::Shape { name, expected: shape, found, file });
            }
            Some(_) => parameters.push(StoredParameter { name, id, is_transposed, map: Arc::clone(&shared) }),
        }
    }
    let surplus = others.into_iter().filter(|name| !is_ignored(name) && !is_other(name));
    problems.extend(surplus.map(|name| TensorProblem::Surplus { name: name.to_owned(), file: map.location(name).to_owned() }));
    let files = map.files().map(|file| file.location().to_owned()).collect();
    if problems.is_empty() { Ok(parameters) } else { Err(LoadError::Tensors { files, problems }) }
}

struct Visited {
    name: String,
    id: ParamId,
    shape: Vec<usize>,
    is_transposed: bool,
}

#[derive(Default)]
struct Visitor {
    path: ParameterPath,
    parameters: Vec<Visited>,
}

impl ModuleVisitor for Visitor {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let mut shape = param.lazy_shape().to_vec();
        let is_transposed = self.path.is_transposed();
        if is_transposed {
            shape.reverse();
        }
        if self.path.is_number() {
            shape.clear();
        }
        self.parameters.push(Visited { name: self.path.name(), id: param.id, shape, is_transposed });
    }
}
