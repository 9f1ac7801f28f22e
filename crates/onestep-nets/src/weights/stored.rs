//! Parameters that stay in their files.

use std::{collections::BTreeMap, sync::Arc};

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::tensor::Tensor;
use onestep_program::element::coordinates;

use super::{
    LoadError, TensorProblem,
    former_names::{batch_counter, former_names, is_ignored},
    parameter_path::{ParameterPath, transposed},
};

/// Reads the elements of a tensor by its name in the files, row-major in the layout of the files.
pub type ReadTensor = Arc<dyn Fn(&str) -> Result<Vec<f32>, String> + Send + Sync>;

/// A parameter of a module whose elements are in a file.
#[derive(Clone)]
pub struct StoredParameter {
    /// diffusers' name.
    pub name: String,
    /// burn's identity of it.
    pub id: ParamId,
    /// Its name in the files.
    stored: String,
    /// Shape in diffusers' layout.
    shape: Vec<usize>,
    is_transposed: bool,
    read: ReadTensor,
}

impl std::fmt::Debug for StoredParameter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?}", self.name, self.shape)
    }
}

impl StoredParameter {
    /// The elements, row-major in the module's layout.
    ///
    /// # Errors
    /// Why they cannot be read; another number of elements than the shape says; an element that is NaN or infinite, with its position.
    pub fn read(&self) -> Result<Vec<f32>, String> {
        let data = (self.read)(&self.stored)?;
        let count: usize = self.shape.iter().product();
        if data.len() != count {
            return Err(format!("has {} elements, expected {count}", data.len()));
        }
        if let Some((number, value)) = data.iter().enumerate().find(|(_, value)| !value.is_finite()) {
            return Err(format!("has the value {value} at {:?}, where weights must be finite", coordinates(&self.shape, number)));
        }
        Ok(match self.shape[..] {
            [rows, columns] if self.is_transposed => transposed(&data, rows, columns),
            _ => data,
        })
    }
}

/// The parameters of `module`, which need not be initialised, in files that hold tensors of these names and shapes. Nothing is read; `read` is
/// called by [`StoredParameter::read`].
///
/// A tensor may be surplus if `is_other` is true for its name, for a module that is a part of the files.
///
/// # Errors
/// Every tensor that is missing, surplus or of another shape.
pub fn stored<M: Module>(
    module: &M,
    mut tensors: BTreeMap<String, Vec<usize>>,
    is_other: impl Fn(&str) -> bool,
    read: &ReadTensor,
) -> Result<Vec<StoredParameter>, LoadError> {
    let mut visitor = Visitor::default();
    module.visit(&mut visitor);
    let (mut found, mut problems) = (Vec::new(), Vec::new());
    for Visited { name, id, shape, is_transposed } in visitor.parameters {
        if let Some(counter) = batch_counter(&name) {
            tensors.remove(&counter);
        }
        let names = std::iter::once(name.clone()).chain(former_names(&name));
        match names.into_iter().find_map(|name| tensors.remove_entry(&name)) {
            None => problems.push(TensorProblem::Missing { name, shape }),
            Some((_, found)) if found != shape => problems.push(TensorProblem::Shape { name, expected: shape, found, file: String::new() }),
            Some((stored, _)) => found.push(StoredParameter { name, id, stored, shape, is_transposed, read: Arc::clone(read) }),
        }
    }
    let surplus = tensors.into_keys().filter(|name| !is_ignored(name) && !is_other(name));
    problems.extend(surplus.map(|name| TensorProblem::Surplus { name, file: String::new() }));
    if problems.is_empty() { Ok(found) } else { Err(LoadError::Tensors { files: Vec::new(), problems }) }
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
