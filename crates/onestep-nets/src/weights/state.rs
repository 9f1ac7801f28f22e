//! The parameters of a module, by name.

use burn::{
    module::{Module, ModuleVisitor, Param, ParamId},
    tensor::Tensor,
};

use super::parameter_path::{ParameterPath, transposed};

/// A parameter with its values.
#[derive(Debug, Clone, PartialEq)]
pub struct StateTensor {
    /// diffusers' name.
    pub name: String,
    /// Shape in diffusers' layout.
    pub shape: Vec<usize>,
    /// Elements in row-major order of that shape.
    pub data: Vec<f32>,
}

/// A parameter without its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// diffusers' name.
    pub name: String,
    /// Shape in diffusers' layout.
    pub shape: Vec<usize>,
    /// burn's identity of it.
    pub id: ParamId,
}

/// Every parameter of `module` with its values, sorted by name.
pub fn state<M: Module>(module: &M) -> Vec<StateTensor> {
    let mut visitor = StateVisitor::default();
    module.visit(&mut visitor);
    visitor.tensors.sort_by(|a, b| a.name.cmp(&b.name));
    visitor.tensors
}

/// Every parameter of `module`, sorted by name. No value is read or initialised.
pub fn parameters<M: Module>(module: &M) -> Vec<Parameter> {
    let mut visitor = ParameterVisitor::default();
    module.visit(&mut visitor);
    visitor.parameters.sort_by(|a, b| a.name.cmp(&b.name));
    visitor.parameters
}

#[derive(Default)]
struct StateVisitor {
    path: ParameterPath,
    tensors: Vec<StateTensor>,
}

impl ModuleVisitor for StateVisitor {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = param.val();
        let shape = tensor.dims().to_vec();
        let data: Vec<f32> = tensor.into_data().iter::<f32>().collect();
        let (shape, data) = match shape[..] {
            [rows, columns] if self.path.is_transposed() => (vec![columns, rows], transposed(&data, rows, columns)),
            [1] if self.path.is_number() => (Vec::new(), data),
            _ => (shape, data),
        };
        self.tensors.push(StateTensor { name: self.path.name(), shape, data });
    }
}

#[derive(Default)]
struct ParameterVisitor {
    path: ParameterPath,
    parameters: Vec<Parameter>,
}

impl ModuleVisitor for ParameterVisitor {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let mut shape = param.lazy_shape().to_vec();
        if self.path.is_transposed() {
            shape.reverse();
        }
        if self.path.is_number() {
            shape.clear();
        }
        self.parameters.push(Parameter { name: self.path.name(), shape, id: param.id });
    }
}
