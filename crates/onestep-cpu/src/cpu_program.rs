//! A program with its weights, ready to run.

use std::sync::Arc;

use onestep_program::{DType, Op, Program, TensorRef, ValueId, WeightView};

use crate::{
    conv::Kernels,
    error::CpuError,
    memory::Memory,
    operation::{Operand, apply},
    product::Panels,
    tensor::Tensor,
    threads,
    winograd::{self, Winograd},
};

/// A checked [`Program`] with its weights as f32, in the layouts that the operations use.
pub struct CpuProgram {
    program: Program,
    /// The weights by value; `None` for other values.
    weights: Vec<Option<Operand>>,
    /// By operation: for each input, true if no later operation reads it.
    last_reads: Vec<Vec<bool>>,
    memory: Memory,
}

impl std::fmt::Debug for CpuProgram {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("CpuProgram").field("name", &self.program.name).field("operations", &self.program.nodes.len()).finish_non_exhaustive()
    }
}

impl CpuProgram {
    /// Checks the program and converts its weights; `weights` returns the tensor of a name.
    ///
    /// # Errors
    /// A program that [`Program::check`] refuses or that has empty tensors; a weight that is missing or has another shape or type than the
    /// program states, naming it.
    pub fn new<'w>(program: Program, weights: &dyn Fn(&str) -> Option<WeightView<'w>>) -> Result<Self, CpuError> {
        program.check(&program.name)?;
        for (index, value) in program.values.iter().enumerate() {
            if value.shape.contains(&0) {
                let location = format!("{}, value {index}", program.name);
                return Err(CpuError::Unsupported { location, message: format!("a tensor of shape {:?} has no elements", value.shape) });
            }
        }
        for port in &program.outputs {
            if program.value(port.value).dtype == DType::I32 {
                return Err(CpuError::Unsupported {
                    location: format!("{}, output {}", program.name, port.name),
                    message: "ids cannot be an output".into(),
                });
            }
        }
        let layouts = weight_layouts(&program);
        let mut loaded = Vec::with_capacity(program.values.len());
        for (value, layout) in program.values.iter().zip(layouts) {
            loaded.push(match &value.weight {
                None => None,
                Some(name) => Some(match (load(name, &value.shape, value.dtype, weights(name))?, layout) {
                    (Operand::Float(weight), Layout::Panels) => {
                        Operand::Panels(Arc::new(Panels::transposed(weight.elements(), weight.shape[0], weight.shape[1])))
                    }
                    (Operand::Float(weight), Layout::Winograd) => {
                        Operand::Winograd(Arc::new(Winograd::new(weight.elements(), weight.shape[0], weight.shape[1])))
                    }
                    (Operand::Float(weight), Layout::Kernels(parts)) => {
                        Operand::Kernels(Arc::new(Kernels::new(weight.elements(), &weight.shape, parts)))
                    }
                    (other, _) => other,
                }),
            });
        }
        let last_reads = last_reads(&program);
        Ok(Self { program, weights: loaded, last_reads, memory: Memory::default() })
    }

    /// The program.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Memory use in bytes: the converted weights and the working memory, which is reused between runs.
    pub fn bytes(&self) -> usize {
        self.weights.iter().flatten().map(Operand::bytes).sum::<usize>() + self.memory.bytes()
    }

    /// Computes the outputs in the order of [`Program::outputs`]: name, elements in row-major order.
    ///
    /// # Errors
    /// [`CpuError::Input`] for an input that is missing, duplicate or unknown, or of another type or size than the program states.
    pub fn run(&self, inputs: &[(&str, TensorRef<'_>)]) -> Result<Vec<(String, Vec<f32>)>, CpuError> {
        self.run_with_callback(inputs, &mut |_| true)
    }

    /// Like [`run`](Self::run), but calls `before_operation` with the index of each operation before it runs; `false` cancels the run.
    ///
    /// # Errors
    /// Those of [`run`](Self::run), and [`CpuError::Cancelled`].
    pub fn run_with_callback(
        &self,
        inputs: &[(&str, TensorRef<'_>)],
        before_operation: &mut (dyn FnMut(usize) -> bool + Send),
    ) -> Result<Vec<(String, Vec<f32>)>, CpuError> {
        threads::enter(|| self.compute(inputs, before_operation))
    }

    fn compute(
        &self,
        inputs: &[(&str, TensorRef<'_>)],
        before_operation: &mut (dyn FnMut(usize) -> bool + Send),
    ) -> Result<Vec<(String, Vec<f32>)>, CpuError> {
        let mut values = self.weights.clone();
        self.set_inputs(inputs, &mut values)?;
        for (index, node) in self.program.nodes.iter().enumerate() {
            if !before_operation(index) {
                return Err(CpuError::Cancelled { operation: index });
            }
            let operands: Option<Vec<Operand>> = node
                .inputs
                .iter()
                .zip(&self.last_reads[index])
                .map(|(id, &last)| if last { values[id.index()].take() } else { values[id.index()].clone() })
                .collect();
            let output = self.program.value(node.output);
            let result = operands.and_then(|operands| apply(&node.op, operands, &output.shape, &self.memory));
            // Unreachable for a checked program; an error is as cheap as a panic.
            let result = result.ok_or_else(|| CpuError::Unsupported {
                location: format!("{}, operation {index}", self.program.name),
                message: format!("{} has no operand", node.op.name()),
            })?;
            values[node.output.index()] = Some(Operand::Float(result));
        }
        let mut outputs = Vec::with_capacity(self.program.outputs.len());
        for port in &self.program.outputs {
            match &values[port.value.index()] {
                Some(Operand::Float(value)) => outputs.push((port.name.clone(), value.elements().to_vec())),
                _ => {
                    return Err(CpuError::Unsupported {
                        location: format!("{}, output {}", self.program.name, port.name),
                        message: "is never computed".into(),
                    });
                }
            }
        }
        Ok(outputs)
    }

    fn set_inputs(&self, inputs: &[(&str, TensorRef<'_>)], values: &mut [Option<Operand>]) -> Result<(), CpuError> {
        let refuse = |name: &str, message: String| CpuError::Input { name: name.to_owned(), message };
        for (name, _) in inputs {
            if !self.program.inputs.iter().any(|port| port.name == *name) {
                return Err(refuse(name, format!("{} has no such input", self.program.name)));
            }
        }
        for port in &self.program.inputs {
            let mut given = inputs.iter().filter(|(name, _)| *name == port.name);
            let (_, data) = given.next().ok_or_else(|| refuse(&port.name, "is missing".into()))?;
            if given.next().is_some() {
                return Err(refuse(&port.name, "is duplicate".into()));
            }
            let value = self.program.value(port.value);
            let count: usize = value.shape.iter().product();
            if data.dtype() != value.dtype || data.len() != count {
                return Err(refuse(
                    &port.name,
                    format!("{} elements of {:?}, the program takes {:?} of {:?}", data.len(), data.dtype(), value.shape, value.dtype),
                ));
            }
            values[port.value.index()] = Some(match data {
                TensorRef::F32(data) => Operand::Float(Tensor::new(self.memory.copy_of(data), &value.shape)),
                TensorRef::I32(data) => Operand::Ids(Arc::new(data.to_vec())),
            });
        }
        Ok(())
    }
}

/// Converts a weight after comparing it with the program.
fn load(name: &str, shape: &[usize], dtype: DType, found: Option<WeightView<'_>>) -> Result<Operand, CpuError> {
    let refuse = |message: String| CpuError::Weight { name: name.to_owned(), message };
    let view = found.ok_or_else(|| refuse("is missing".into()))?;
    if view.shape != shape || view.dtype != dtype {
        return Err(refuse(format!("is {:?} of {:?}, the program states {shape:?} of {dtype:?}", view.shape, view.dtype)));
    }
    let count = onestep_program::limits::elements(shape, name)?;
    if Some(view.bytes.len()) != count.checked_mul(dtype.size()) {
        return Err(refuse(format!("has {} bytes for {count} elements of {dtype:?}", view.bytes.len())));
    }
    Ok(match dtype {
        DType::F32 | DType::F16 => Operand::Float(Tensor::new(view.to_f32(), shape)),
        DType::I32 => Operand::Ids(Arc::new(view.bytes.as_chunks::<4>().0.iter().map(|&bytes| i32::from_le_bytes(bytes)).collect())),
    })
}

/// The layout that a weight is converted to.
#[derive(Clone, Copy, PartialEq)]
enum Layout {
    Plain,
    Panels,
    /// With this number of groups or parities.
    Kernels(usize),
    Winograd,
}

/// The layout of each weight: one that all operations can read which use it.
fn weight_layouts(program: &Program) -> Vec<Layout> {
    let mut layouts = vec![None; program.values.len()];
    for node in &program.nodes {
        for (position, id) in node.inputs.iter().enumerate() {
            let layout = match &node.op {
                Op::Linear { .. } if position == 1 => Layout::Panels,
                Op::Conv2d { stride, dilation, groups, .. } if position == 1 => {
                    let shape = &program.value(*id).shape;
                    let fits = [*stride, *dilation, [*groups; 2]] == [[1; 2]; 3] && shape[2..] == [3, 3];
                    if fits && winograd::is_faster(shape, &program.value(node.output).shape) { Layout::Winograd } else { Layout::Kernels(*groups) }
                }
                Op::UpConv2d { .. } if position == 1 => Layout::Kernels(4),
                _ => Layout::Plain,
            };
            let known = layouts[id.index()].get_or_insert(layout);
            if *known != layout {
                *known = Layout::Plain;
            }
        }
    }
    for port in &program.outputs {
        layouts[port.value.index()] = Some(Layout::Plain);
    }
    layouts.into_iter().map(|layout| layout.unwrap_or(Layout::Plain)).collect()
}

/// For each input of each operation, true if no later operation reads it. Such an input is moved, so that its memory is freed or reused.
/// Weights and outputs are never moved.
fn last_reads(program: &Program) -> Vec<Vec<bool>> {
    let mut read_later: Vec<bool> = program.values.iter().map(|value| value.weight.is_some()).collect();
    for port in &program.outputs {
        read_later[port.value.index()] = true;
    }
    let mut last: Vec<Vec<bool>> = program
        .nodes
        .iter()
        .rev()
        .map(|node| {
            let mut flags: Vec<bool> = node.inputs.iter().rev().map(|id: &ValueId| !std::mem::replace(&mut read_later[id.index()], true)).collect();
            flags.reverse();
            flags
        })
        .collect();
    last.reverse();
    last
}
