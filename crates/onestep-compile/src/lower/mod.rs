//! Lowers burn's operations to the program's, each on its own.

mod attention;
mod module;
mod movement;
mod numeric;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use burn::backend::ir::{BaseOperationIr, FloatOperationIr, NumericOperationIr, OperationIr, ScalarIr, TensorIr};
use burn_capture::TensorId;
use onestep_program::{BinaryKind, DType, Op, Port, UnaryKind, ValueId};

use crate::{
    capture::Captured,
    constants::Constants,
    elements::{Elements, HELD},
    error::CompileError,
    graph::{Constant, Graph},
    operation_name::operation_name,
};

/// Lowers a captured graph.
pub(crate) fn lower(captured: Captured) -> Result<Graph, CompileError> {
    let Captured { graph: source, inputs, outputs, parameters } = captured;
    let operations = Arc::new(source.graph.operations);
    let input_ids: HashSet<TensorId> = inputs.iter().map(|port| port.tensor).collect();
    let values = source.values.into_iter().filter(|(id, _)| !input_ids.contains(id));
    let mut lowering = Lowering {
        graph: Graph::default(),
        constants: Constants::new(Arc::clone(&operations), values, parameters)?,
        values: HashMap::new(),
        ids: HashMap::new(),
    };
    for port in inputs {
        let value = lowering.graph.add(port.shape, port.dtype);
        match port.dtype {
            DType::I32 => lowering.ids.insert(port.tensor, value),
            DType::F32 | DType::F16 => lowering.values.insert(port.tensor, value),
        };
        lowering.graph.inputs.push(Port { name: port.name, value });
    }
    for (index, operation) in operations.iter().enumerate() {
        if matches!(operation, OperationIr::Init(_) | OperationIr::Drop(_)) {
            continue;
        }
        lowering.refuse_chance(operation)?;
        if operation.inputs().all(|input| lowering.constants.contains(input.id)) {
            lowering.constants.define(index);
        } else {
            lowering.operation(operation)?;
        }
    }
    for (name, tensor) in outputs {
        let value = match lowering.values.get(&tensor) {
            Some(value) => *value,
            None if lowering.constants.contains(tensor) => lowering.constant(tensor)?,
            None => return Err(CompileError::Port { name, message: "is never computed, or holds ids".into() }),
        };
        lowering.graph.outputs.push(Port { name, value });
    }
    Ok(lowering.graph)
}

/// The state of lowering.
struct Lowering {
    graph: Graph,
    constants: Constants,
    /// Float tensors that depend on an input, and the constants that were used so far.
    values: HashMap<TensorId, ValueId>,
    /// Inputs of token ids, in any shape.
    ids: HashMap<TensorId, ValueId>,
}

impl Lowering {
    fn operation(&mut self, operation: &OperationIr) -> Result<(), CompileError> {
        let done = match operation {
            OperationIr::BaseFloat(op) => self.movement(op, operation)?,
            OperationIr::BaseInt(op) => self.ids_movement(op),
            OperationIr::NumericFloat(_, op) => self.numeric(op, operation)?,
            OperationIr::Float(_, op) => self.float(op, operation)?,
            OperationIr::Activation(op) => self.activation(op, operation)?,
            OperationIr::Module(op) => self.module(op, operation)?,
            _ => false,
        };
        if done { Ok(()) } else { Err(refuse(operation, "has no counterpart in a program")) }
    }

    /// Refuses random and uninitialised tensors, which differ in every compilation.
    fn refuse_chance(&self, operation: &OperationIr) -> Result<(), CompileError> {
        let chance = matches!(operation, OperationIr::Float(_, FloatOperationIr::Random(_)))
            || matches!(operation, OperationIr::NumericInt(_, NumericOperationIr::IntRandom(_)))
            || matches!(
                operation,
                OperationIr::BaseFloat(BaseOperationIr::Empty(_))
                    | OperationIr::BaseInt(BaseOperationIr::Empty(_))
                    | OperationIr::BaseBool(BaseOperationIr::Empty(_))
            );
        if chance { Err(refuse(operation, "has no fixed value")) } else { Ok(()) }
    }

    /// The value of a float tensor that an operation reads.
    fn operand(&mut self, tensor: &TensorIr, operation: &OperationIr) -> Result<ValueId, CompileError> {
        if let Some(value) = self.values.get(&tensor.id) {
            return Ok(*value);
        }
        if self.constants.contains(tensor.id) {
            return self.constant(tensor.id);
        }
        if self.ids.contains_key(&tensor.id) {
            return Err(refuse(operation, "reads token ids, which only embeddings can"));
        }
        Err(refuse(operation, &format!("reads {}, which nothing computes", tensor.id)))
    }

    /// The value of a constant float tensor.
    fn constant(&mut self, id: TensorId) -> Result<ValueId, CompileError> {
        if let Some(value) = self.values.get(&id) {
            return Ok(*value);
        }
        // Repetitions stay operations, because their readers broadcast or constant folding computes them.
        let repeated = self.constants.pending(id).cloned();
        if let Some(operation @ OperationIr::BaseFloat(op @ (BaseOperationIr::Expand(_) | BaseOperationIr::RepeatDim(_)))) = &repeated {
            self.movement(op, operation)?;
            if let Some(value) = self.values.get(&id) {
                return Ok(*value);
            }
        }
        let (known, recipe) = self.constants.get(id)?;
        let parameter = match &known.parameter {
            None => None,
            Some((parameter, untouched)) => {
                let name = parameter
                    .name
                    .clone()
                    .ok_or_else(|| CompileError::Tensor { name: parameter.path.clone(), message: "has no name to be stored under".into() })?;
                Some((name, *untouched))
            }
        };
        let data = known.floats().ok_or_else(|| CompileError::Capture(format!("{id} is read as floats but holds something else")))?;
        let shape = known.shape();
        let untouched = parameter.as_ref().is_some_and(|(_, untouched)| *untouched);
        let data = if data.len() <= HELD {
            data.into()
        } else {
            let (length, errors) = (data.len(), self.graph.errors.clone());
            Elements::computed(length, move || errors.or_zeros(length, recipe.floats()))
        };
        let value = self.graph.add_constant(shape, Constant { parameter: parameter.map(|(name, _)| name), untouched, data });
        self.values.insert(id, value);
        Ok(value)
    }

    /// Registers the value of an operation's output.
    fn define(&mut self, out: &TensorIr, value: ValueId, operation: &OperationIr) -> Result<bool, CompileError> {
        if self.graph.shape(value) != &out.shape[..] {
            return Err(refuse(operation, &format!("gives {:?}, the translation {:?}", &out.shape[..], self.graph.shape(value))));
        }
        self.values.insert(out.id, value);
        Ok(true)
    }

    fn unary(&mut self, x: ValueId, kind: UnaryKind) -> ValueId {
        let shape = self.graph.shape(x).to_vec();
        self.graph.emit(Op::Unary { unary: kind }, vec![x], shape)
    }

    fn affine(&mut self, x: ValueId, mul: f32, add: f32) -> ValueId {
        let shape = self.graph.shape(x).to_vec();
        self.graph.emit(Op::Affine { mul, add }, vec![x], shape)
    }

    fn binary(&mut self, a: ValueId, b: ValueId, kind: BinaryKind, operation: &OperationIr) -> Result<ValueId, CompileError> {
        let (left, right) = (self.graph.shape(a), self.graph.shape(b));
        let shape = onestep_program::shape::broadcast(left, right).ok_or_else(|| refuse(operation, &format!("of {left:?} and {right:?}")))?;
        Ok(self.graph.emit(Op::Binary { binary: kind }, vec![a, b], shape))
    }

    fn reshape(&mut self, x: ValueId, shape: Vec<usize>) -> ValueId {
        if self.graph.shape(x) == shape { x } else { self.graph.emit(Op::Reshape, vec![x], shape) }
    }

    fn mat_mul(&mut self, a: ValueId, b: ValueId, operation: &OperationIr) -> Result<ValueId, CompileError> {
        let (left, right) = (self.graph.shape(a), self.graph.shape(b));
        let odd = || refuse(operation, &format!("of {left:?} and {right:?}"));
        if left.len() < 2 || right.len() < 2 {
            return Err(odd());
        }
        let mut shape = onestep_program::shape::broadcast(&left[..left.len() - 2], &right[..right.len() - 2]).ok_or_else(odd)?;
        shape.extend([left[left.len() - 2], right[right.len() - 1]]);
        Ok(self.graph.emit(Op::MatMul, vec![a, b], shape))
    }
}

fn refuse(operation: &OperationIr, message: &str) -> CompileError {
    CompileError::Operation { operation: operation_name(operation), message: message.to_owned() }
}

/// A scalar argument, which must be finite in f32.
fn scalar(value: &ScalarIr, operation: &OperationIr) -> Result<f32, CompileError> {
    let number: f64 = value.elem();
    let single = number as f32;
    if single.is_finite() { Ok(single) } else { Err(refuse(operation, &format!("has the argument {number}"))) }
}
