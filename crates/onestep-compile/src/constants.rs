//! The tensors of a captured graph that depend on no input; burn computes them on demand.

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
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
    error::CompileError,
    operation_name::operation_name,
};

/// A known tensor of the captured graph.
#[derive(Clone)]
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
}

impl Known {
    /// The elements as f32.
    pub(crate) fn floats(&self) -> Option<Vec<f32>> {
        let data = self.tensor.tensor().clone().into_data();
        match &self.tensor {
            Primitive::Float(_) => data.try_into_vec_as::<f32>().ok(),
            Primitive::Int(_) | Primitive::Bool(_) => None,
        }
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
        self.tensor.tensor().layout().shape().to_vec()
    }
}

/// All constants of a captured graph.
pub(crate) struct Constants<'g> {
    operations: &'g [OperationIr],
    known: HashMap<TensorId, Known>,
    /// Operations on constants that have not been computed yet, by output.
    pending: HashMap<TensorId, usize>,
}

impl<'g> Constants<'g> {
    /// `values` are the tensors that the capture was given, inputs excluded.
    pub(crate) fn new(
        operations: &'g [OperationIr],
        values: impl IntoIterator<Item = (TensorId, TensorData)>,
        parameters: &HashMap<TensorId, Parameter>,
    ) -> Result<Self, CompileError> {
        let mut known = HashMap::new();
        for (id, data) in values {
            let parameter = parameters.get(&id).map(|parameter| (parameter.clone(), true));
            let dtype = data.dtype();
            let tensor = FlexTensor::from_data(data);
            let tensor = if dtype.is_float() {
                Primitive::Float(tensor)
            } else if dtype.is_int() || dtype.is_uint() {
                Primitive::Int(tensor)
            } else if dtype.is_bool() {
                Primitive::Bool(tensor)
            } else {
                let name = parameter.map_or_else(|| format!("{id}"), |(parameter, _)| parameter.path);
                return Err(CompileError::Tensor { name, message: format!("{dtype:?} is not understood") });
            };
            known.insert(id, Known { tensor, parameter });
        }
        Ok(Self { operations, known, pending: HashMap::new() })
    }

    /// True if the tensor depends on no input.
    pub(crate) fn contains(&self, id: TensorId) -> bool {
        self.known.contains_key(&id) || self.pending.contains_key(&id)
    }

    /// Registers the operation at `index`, which has only constants as inputs.
    pub(crate) fn define(&mut self, index: usize) {
        for output in self.operations[index].outputs() {
            self.pending.insert(output.id, index);
        }
    }

    /// The operation that computes this constant, if it has not run yet.
    pub(crate) fn pending(&self, id: TensorId) -> Option<&'g OperationIr> {
        self.pending.get(&id).map(|&index| &self.operations[index])
    }

    /// The constant, computed if necessary.
    pub(crate) fn get(&mut self, id: TensorId) -> Result<&Known, CompileError> {
        // The required operations in execution order, without recursion.
        let mut order = Vec::new();
        let mut open = vec![id];
        while let Some(id) = open.pop() {
            if let Some(&index) = self.pending.get(&id).filter(|_| !self.known.contains_key(&id)) {
                order.push(index);
                open.extend(self.operations[index].inputs().map(|input| input.id));
            }
        }
        order.sort_unstable();
        order.dedup();
        for index in order {
            self.run(index)?;
        }
        self.known.get(&id).ok_or_else(|| CompileError::Capture(format!("{id} is read but never computed")))
    }

    /// Runs one operation on flex.
    fn run(&mut self, index: usize) -> Result<(), CompileError> {
        let operation = &self.operations[index];
        let refuse = |message: String| CompileError::Operation { operation: operation_name(operation), message };
        let mut readable = operation.clone();
        readable.visit_mut(&mut ReadOnly);
        let inputs: Vec<(TensorId, Primitive)> =
            operation.inputs().filter_map(|input| self.known.get(&input.id).map(|known| (input.id, known.tensor.clone()))).collect();
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
        // Movements keep the parameter's elements, so they keep its name.
        let parameter = match operation {
            OperationIr::BaseFloat(BaseOperationIr::Reshape(op)) => self.known.get(&op.input.id).and_then(|known| known.parameter.clone()),
            OperationIr::BaseFloat(BaseOperationIr::Permute(op)) => self.moved(op.input.id),
            OperationIr::BaseFloat(BaseOperationIr::SwapDims(op)) => self.moved(op.input.id),
            _ => None,
        };
        for (id, tensor) in results {
            let tensor = tensor.ok_or_else(|| refuse("quantized tensors are not understood".into()))?;
            self.known.insert(id, Known { tensor, parameter: parameter.clone() });
            self.pending.remove(&id);
        }
        Ok(())
    }

    fn moved(&self, id: TensorId) -> Option<(Parameter, bool)> {
        let (parameter, _) = self.known.get(&id)?.parameter.clone()?;
        Some((parameter, false))
    }
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
