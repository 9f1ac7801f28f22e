//! The tensors of a captured graph that depend on no input; burn computes them on demand,
//! and again whenever their elements are needed, because the large ones are not held.

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use burn::{
    backend::{
        flex::{Flex, FlexDevice, FlexTensor},
        ir::{BaseOperationIr, HandleKind, IrVisitorMut, OperationIr, TensorIr, TensorStatus},
    },
    tensor::TensorData,
};
use burn_capture::TensorId;
use burn_router::TensorInterpreter;

use crate::{
    capture::{Parameter, panic_message},
    elements::HELD,
    error::CompileError,
    operation_name::operation_name,
};

/// A computed tensor of the captured graph.
pub(crate) struct Known {
    tensor: Primitive,
    /// The parameter that the elements come from, and true if they are in the module's order and shape.
    pub(crate) parameter: Option<(Parameter, bool)>,
}

#[derive(Clone)]
enum Primitive {
    Float(FlexTensor),
    Int(FlexTensor),
    Bool(FlexTensor),
}

impl Primitive {
    fn tensor(&self) -> &FlexTensor {
        match self {
            Primitive::Float(tensor) | Primitive::Int(tensor) | Primitive::Bool(tensor) => tensor,
        }
    }

    /// The elements as f32.
    fn floats(&self) -> Option<Vec<f32>> {
        match self {
            Primitive::Float(tensor) => tensor.clone().into_data().try_into_vec_as::<f32>().ok(),
            Primitive::Int(_) | Primitive::Bool(_) => None,
        }
    }

    fn shape(&self) -> Vec<usize> {
        self.tensor().layout().shape().to_vec()
    }

    fn is_small(&self) -> bool {
        self.shape().iter().product::<usize>() <= HELD
    }
}

impl Known {
    /// The elements as f32.
    pub(crate) fn floats(&self) -> Option<Vec<f32>> {
        self.tensor.floats()
    }

    /// The elements of integers.
    pub(crate) fn integers(&self) -> Option<Vec<i64>> {
        match &self.tensor {
            Primitive::Int(tensor) => tensor.clone().into_data().try_into_vec_as::<i64>().ok(),
            Primitive::Float(_) | Primitive::Bool(_) => None,
        }
    }

    /// The elements of booleans.
    pub(crate) fn booleans(&self) -> Option<Vec<bool>> {
        match &self.tensor {
            // One byte each, in all of burn's boolean types.
            Primitive::Bool(tensor) => Some(tensor.clone().into_data().as_bytes().iter().map(|&byte| byte != 0).collect()),
            Primitive::Float(_) | Primitive::Int(_) => None,
        }
    }

    /// Lengths of the axes.
    pub(crate) fn shape(&self) -> Vec<usize> {
        self.tensor.shape()
    }
}

/// A tensor that no operation has to compute.
#[derive(Clone)]
enum Leaf {
    Held(Primitive),
    /// A parameter, which is read whenever its elements are needed.
    Parameter(Arc<Parameter>),
}

/// All constants of a captured graph.
pub(crate) struct Constants {
    operations: Arc<Vec<OperationIr>>,
    /// Tensors that are known without computing, and the small ones that were computed.
    leaves: HashMap<TensorId, Leaf>,
    parameters: HashMap<TensorId, Arc<Parameter>>,
    /// The operation on constants that computes a tensor, by output.
    defined: HashMap<TensorId, usize>,
}

impl Constants {
    /// `values` are the tensors that the capture was given, inputs excluded.
    pub(crate) fn new(
        operations: Arc<Vec<OperationIr>>,
        values: impl IntoIterator<Item = (TensorId, TensorData)>,
        parameters: HashMap<TensorId, Arc<Parameter>>,
    ) -> Result<Self, CompileError> {
        let mut leaves = HashMap::new();
        for (id, data) in values {
            let dtype = data.dtype();
            let tensor = FlexTensor::from_data(data);
            let tensor = if dtype.is_float() {
                Primitive::Float(tensor)
            } else if dtype.is_int() || dtype.is_uint() {
                Primitive::Int(tensor)
            } else if dtype.is_bool() {
                Primitive::Bool(tensor)
            } else {
                return Err(CompileError::Tensor { name: format!("{id}"), message: format!("{dtype:?} is not understood") });
            };
            leaves.insert(id, Leaf::Held(tensor));
        }
        leaves.extend(parameters.iter().map(|(id, parameter)| (*id, Leaf::Parameter(Arc::clone(parameter)))));
        Ok(Self { operations, leaves, parameters, defined: HashMap::new() })
    }

    /// True if the tensor depends on no input.
    pub(crate) fn contains(&self, id: TensorId) -> bool {
        self.leaves.contains_key(&id) || self.defined.contains_key(&id)
    }

    /// Registers the operation at `index`, which has only constants as inputs.
    pub(crate) fn define(&mut self, index: usize) {
        for output in self.operations[index].outputs() {
            // A parameter stands where the capture has a tensor of zeros.
            if !self.leaves.contains_key(&output.id) {
                self.defined.insert(output.id, index);
            }
        }
    }

    /// The operation that computes this constant, if its result is not held.
    pub(crate) fn pending(&self, id: TensorId) -> Option<&OperationIr> {
        self.defined.get(&id).filter(|_| !self.leaves.contains_key(&id)).map(|&index| &self.operations[index])
    }

    /// The constant, and how it is computed again.
    pub(crate) fn get(&mut self, id: TensorId) -> Result<(Known, Recipe), CompileError> {
        let recipe = self.recipe(id);
        let mut small = Vec::new();
        let tensor = recipe.evaluate(&mut small)?;
        self.leaves.extend(small.into_iter().map(|(id, tensor)| (id, Leaf::Held(tensor))));
        Ok((Known { tensor, parameter: self.parameter(id) }, recipe))
    }

    fn recipe(&self, id: TensorId) -> Recipe {
        // The required operations in execution order, without recursion.
        let (mut order, mut leaves) = (Vec::new(), HashMap::new());
        let mut open = vec![id];
        while let Some(id) = open.pop() {
            if let Some(leaf) = self.leaves.get(&id) {
                leaves.insert(id, leaf.clone());
            } else if let Some(&index) = self.defined.get(&id)
                && !order.contains(&index)
            {
                order.push(index);
                open.extend(self.operations[index].inputs().map(|input| input.id));
            }
        }
        order.sort_unstable();
        Recipe { operations: Arc::clone(&self.operations), order, leaves, output: id }
    }

    /// The parameter that a tensor takes its elements from: movements keep a parameter's elements, so they keep its name.
    fn parameter(&self, id: TensorId) -> Option<(Parameter, bool)> {
        let (mut id, mut untouched) = (id, true);
        loop {
            if let Some(parameter) = self.parameters.get(&id) {
                return Some((Parameter::clone(parameter), untouched));
            }
            match &self.operations[*self.defined.get(&id)?] {
                OperationIr::BaseFloat(BaseOperationIr::Reshape(op)) => id = op.input.id,
                OperationIr::BaseFloat(BaseOperationIr::Permute(op)) => (id, untouched) = (op.input.id, false),
                OperationIr::BaseFloat(BaseOperationIr::SwapDims(op)) => (id, untouched) = (op.input.id, false),
                _ => return None,
            }
        }
    }
}

/// How a constant is computed from parameters and other leaves.
pub(crate) struct Recipe {
    operations: Arc<Vec<OperationIr>>,
    /// The operations, in execution order.
    order: Vec<usize>,
    leaves: HashMap<TensorId, Leaf>,
    output: TensorId,
}

impl Recipe {
    /// The elements as f32.
    pub(crate) fn floats(&self) -> Result<Vec<f32>, CompileError> {
        let tensor = self.evaluate(&mut Vec::new())?;
        tensor.floats().ok_or_else(|| CompileError::Capture(format!("{} is read as floats but holds something else", self.output)))
    }

    /// Computes the tensor; `small` receives the small tensors that operations computed.
    fn evaluate(&self, small: &mut Vec<(TensorId, Primitive)>) -> Result<Primitive, CompileError> {
        let mut known: HashMap<TensorId, Primitive> = HashMap::new();
        for (position, &index) in self.order.iter().enumerate() {
            for input in self.operations[index].inputs() {
                if !known.contains_key(&input.id)
                    && let Some(leaf) = self.leaves.get(&input.id)
                {
                    known.insert(input.id, leaf.primitive()?);
                }
            }
            let results = run(&self.operations[index], &known)?;
            small.extend(results.iter().filter(|(_, tensor)| tensor.is_small()).cloned());
            known.extend(results);
            let later = &self.order[position + 1..];
            known.retain(|id, _| *id == self.output || later.iter().any(|&later| self.operations[later].inputs().any(|input| input.id == *id)));
        }
        if let Some(tensor) = known.remove(&self.output) {
            return Ok(tensor);
        }
        self.leaves.get(&self.output).ok_or_else(|| CompileError::Capture(format!("{} is read but never computed", self.output)))?.primitive()
    }
}

impl Leaf {
    fn primitive(&self) -> Result<Primitive, CompileError> {
        match self {
            Leaf::Held(tensor) => Ok(tensor.clone()),
            Leaf::Parameter(parameter) => {
                let data = parameter.elements.read(&parameter.path, &parameter.shape)?;
                Ok(Primitive::Float(FlexTensor::from_data(TensorData::new(data, parameter.shape.clone()))))
            }
        }
    }
}

/// Runs one operation on flex.
fn run(operation: &OperationIr, known: &HashMap<TensorId, Primitive>) -> Result<Vec<(TensorId, Primitive)>, CompileError> {
    let refuse = |message: String| CompileError::Operation { operation: operation_name(operation), message };
    let mut readable = operation.clone();
    readable.visit_mut(&mut ReadOnly);
    let inputs: Vec<(TensorId, Primitive)> =
        operation.inputs().filter_map(|input| known.get(&input.id).map(|tensor| (input.id, tensor.clone()))).collect();
    let results = catch_unwind(AssertUnwindSafe(|| {
        let mut interpreter = TensorInterpreter::<Flex>::new(FlexDevice);
        for (id, tensor) in inputs {
            interpreter.register_tensor_to_device(
                id,
                match tensor {
                    Primitive::Float(tensor) => HandleKind::Float(tensor),
                    Primitive::Int(tensor) => HandleKind::Int(tensor),
                    Primitive::Bool(tensor) => HandleKind::Bool(tensor),
                },
            );
        }
        let outputs: Vec<TensorIr> = readable.outputs().map(|output| TensorIr { status: TensorStatus::ReadOnly, ..output.clone() }).collect();
        interpreter.register_op(readable);
        let get = |output: TensorIr| {
            let tensor = match interpreter.get_tensor(&output) {
                HandleKind::Float(tensor) => Some(Primitive::Float(tensor)),
                HandleKind::Int(tensor) => Some(Primitive::Int(tensor)),
                HandleKind::Bool(tensor) => Some(Primitive::Bool(tensor)),
                HandleKind::Quantized(_) => None,
            };
            (output.id, tensor)
        };
        outputs.into_iter().map(get).collect::<Vec<_>>()
    }));
    let results = results.map_err(|panic| refuse(format!("cannot be computed: {}", panic_message(panic.as_ref()))))?;
    let known = |(id, tensor): (TensorId, Option<Primitive>)| Some((id, tensor?));
    results.into_iter().map(known).collect::<Option<_>>().ok_or_else(|| refuse("quantized tensors are not understood".into()))
}

/// Marks every input as read-only, because other operations may read the constants again.
struct ReadOnly;

impl IrVisitorMut for ReadOnly {
    fn visit_tensor_mut(&mut self, tensor: &mut TensorIr) {
        if tensor.status == TensorStatus::ReadWrite {
            tensor.status = TensorStatus::ReadOnly;
        }
    }
}
