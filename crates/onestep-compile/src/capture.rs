//! Captures a forward pass of a module as burn's operation graph.

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use burn::{
    backend::{
        capture::{CapturedGraph, TensorId},
        tensor::FloatTensor,
    },
    module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId},
    tensor::{Device, Int, Tensor, TensorData},
};
use burn_capture::CaptureBackend;
use onestep_program::DType;

use crate::{
    error::CompileError,
    names::{Names, ReadElements},
};

/// A declared input.
pub(crate) struct InputPort {
    pub(crate) name: String,
    pub(crate) tensor: TensorId,
    pub(crate) shape: Vec<usize>,
    pub(crate) dtype: DType,
}

/// A parameter of the captured module.
#[derive(Clone, Debug)]
pub(crate) struct Parameter {
    /// Where its elements are.
    pub(crate) elements: ReadElements,
    /// Lengths of the axes in the module.
    pub(crate) shape: Vec<usize>,
    /// The path in the module.
    pub(crate) path: String,
    /// The name in the weight files.
    pub(crate) name: Option<String>,
}

/// A captured forward pass.
pub(crate) struct Captured {
    pub(crate) graph: CapturedGraph,
    pub(crate) inputs: Vec<InputPort>,
    /// Name and tensor of each output.
    pub(crate) outputs: Vec<(String, TensorId)>,
    pub(crate) parameters: HashMap<TensorId, Arc<Parameter>>,
}

/// The inputs and outputs of a program, declared while its forward pass is captured.
pub struct Ports {
    device: Device,
    inputs: Vec<InputPort>,
    outputs: Vec<(String, TensorId)>,
    /// Keeps outputs alive until the capture ends, so that no later operation overwrites them.
    alive: Vec<FloatTensor<CaptureBackend>>,
    error: Option<CompileError>,
}

impl Ports {
    /// The device of the captured module, for tensors that the closure creates; these become constants.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Declares an input of floats and returns its tensor; the elements are placeholders.
    pub fn float<const D: usize>(&mut self, name: &str, shape: [usize; D]) -> Tensor<D> {
        let tensor = Tensor::<D>::from_data(TensorData::zeros::<f32, _>(shape), &self.device);
        match tensor.clone().try_into_primitive::<CaptureBackend>() {
            Ok(primitive) => self.inputs.push(InputPort { name: name.to_owned(), tensor: primitive.id(), shape: shape.to_vec(), dtype: DType::F32 }),
            Err(error) => self.fail(name, error),
        }
        tensor
    }

    /// Declares an input of token ids and returns its tensor; only embeddings may read it.
    pub fn ids<const D: usize>(&mut self, name: &str, shape: [usize; D]) -> Tensor<D, Int> {
        let tensor = Tensor::<D, Int>::from_data(TensorData::zeros::<i64, _>(shape), &self.device);
        match tensor.clone().try_into_primitive::<CaptureBackend>() {
            Ok(primitive) => self.inputs.push(InputPort { name: name.to_owned(), tensor: primitive.id(), shape: shape.to_vec(), dtype: DType::I32 }),
            Err(error) => self.fail(name, error),
        }
        tensor
    }

    /// Declares an output.
    pub fn output<const D: usize>(&mut self, name: &str, value: Tensor<D>) {
        match value.try_into_primitive::<CaptureBackend>() {
            Ok(primitive) => {
                self.outputs.push((name.to_owned(), primitive.id()));
                self.alive.push(primitive);
            }
            Err(error) => self.fail(name, error),
        }
    }

    fn fail(&mut self, name: &str, error: impl std::fmt::Debug) {
        self.error.get_or_insert(CompileError::Port { name: name.to_owned(), message: format!("is not on the device of the capture ({error:?})") });
    }
}

/// Runs `forward` on a copy of the module on a device that records operations instead of computing them. In the copy, parameters have no elements.
pub(crate) fn capture<M: Module>(module: &M, names: &Names, forward: impl FnOnce(&M, &mut Ports)) -> Result<Captured, CompileError> {
    let mut declared: Option<(Ports, HashMap<TensorId, Arc<Parameter>>)> = None;
    // burn panics for operations that cannot be captured (reading a value, seeding).
    let result = catch_unwind(AssertUnwindSafe(|| {
        // A valid copy also has its own statistics of batch normalisations, which clones share; but it initialises all parameters. Adapters are
        // merged first, because they are computed from parameters.
        let module = if names.are_stored() { module.clone() } else { module.valid() }.materialize();
        let device = Device::capture();
        device.capture_scope(|scope| {
            let mut placeholders = Placeholders { names, device: device.clone(), elements: HashMap::new() };
            let module = module.map(&mut placeholders).valid().to_device(&device);
            let mut visitor = ParameterVisitor { names, elements: placeholders.elements, path: Vec::new(), found: HashMap::new() };
            module.visit(&mut visitor);
            let mut ports = Ports { device: device.clone(), inputs: Vec::new(), outputs: Vec::new(), alive: Vec::new(), error: None };
            forward(&module, &mut ports);
            // The same tensor may be several outputs of a program, but burn takes each once.
            let mut unique: Vec<TensorId> = Vec::new();
            for (_, tensor) in &ports.outputs {
                if !unique.contains(tensor) {
                    unique.push(*tensor);
                }
            }
            let completed = scope.complete(ports.inputs.iter().map(|port| port.tensor).collect::<Vec<_>>(), unique);
            declared = Some((ports, visitor.found));
            completed
        })
    }));
    let graph = match result {
        Ok(Ok(graph)) => graph,
        Ok(Err(error)) => return Err(CompileError::Capture(error.to_string())),
        Err(panic) => return Err(CompileError::Capture(panic_message(panic.as_ref()))),
    };
    let (ports, parameters) = declared.ok_or_else(|| CompileError::Capture("the forward pass did not end".into()))?;
    if let Some(error) = ports.error {
        return Err(error);
    }
    Ok(Captured { graph, inputs: ports.inputs, outputs: ports.outputs, parameters })
}

/// The text of a panic.
pub(crate) fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without a message").to_owned()
}

/// Replaces parameters by tensors on the device of the capture, and notes where their elements are.
struct Placeholders<'a> {
    names: &'a Names,
    device: Device,
    elements: HashMap<ParamId, ReadElements>,
}

impl ModuleMapper for Placeholders<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let read = self.names.elements(param.id).cloned().unwrap_or_else(|| {
            let tensor = param.val();
            ReadElements::new(move || tensor.clone().into_data().try_into_vec_as::<f32>().map_err(|error| format!("is not read as f32: {error:?}")))
        });
        self.elements.insert(param.id, read);
        // An operation of the captured graph, without elements.
        Param::initialized(param.id, Tensor::zeros(param.lazy_shape(), &self.device))
    }
}

/// Maps tensors of the captured graph to parameters.
struct ParameterVisitor<'a> {
    names: &'a Names,
    elements: HashMap<ParamId, ReadElements>,
    path: Vec<String>,
    found: HashMap<TensorId, Arc<Parameter>>,
}

impl ModuleVisitor for ParameterVisitor<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let (Ok(primitive), Some(elements)) = (param.val().try_into_primitive::<CaptureBackend>(), self.elements.get(&param.id)) {
            let path = self.path.join(".");
            let name = self.names.of(param.id, &path);
            let parameter = Parameter { path, name, elements: elements.clone(), shape: param.dims().to_vec() };
            self.found.insert(primitive.id(), Arc::new(parameter));
        }
    }
}
