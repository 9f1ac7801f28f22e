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

/// A checked [`Program`] and its weights in memory as f32.
pub struct CpuProgram {
    program: Program,
    /// By value: the weights; the rest is empty.
    weights: Vec<Option<Operand>>,
    /// By operation: which of its inputs are read there for the last time.
    last_reads: Vec<Vec<bool>>,
    memory: Memory,
}

impl std::fmt::Debug for CpuProgram {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("CpuProgram").field("name", &self.program.name).field("operations", &self.program.nodes.len()).finish_non_exhaustive()
    }
}

impl CpuProgram {
    /// Checks the program and reads its weights; `weights` finds a tensor by its name in the weight files.
    ///
    /// # Errors
    /// A program that does not pass [`Program::check`] or has empty tensors, and a weight that is missing or not of the stated shape and
    /// type, by name.
    pub fn new<'w>(program: Program, weights: &dyn Fn(&str) -> Option<WeightView<'w>>) -> Result<Self, CpuError> {
        program.check(&program.name)?;
        for (index, value) in program.values.iter().enumerate() {
            if value.shape.contains(&0) {
                let place = format!("{}, value {index}", program.name);
                return Err(CpuError::Unsupported { place, message: format!("a tensor of shape {:?} has no elements", value.shape) });
            }
        }
        for port in &program.outputs {
            if program.value(port.value).dtype == DType::I32 {
                return Err(CpuError::Unsupported {
                    place: format!("{}, output {}", program.name, port.name),
                    message: "ids cannot be an output".into(),
                });
            }
        }
        let forms = weight_forms(&program);
        let mut loaded = Vec::with_capacity(program.values.len());
        for (value, form) in program.values.iter().zip(forms) {
            loaded.push(match &value.weight {
                None => None,
                Some(name) => Some(match (load(name, &value.shape, value.dtype, weights(name))?, form) {
                    (Operand::Float(weight), Form::Panels) => {
                        Operand::Panels(Arc::new(Panels::transposed(weight.elements(), weight.shape[0], weight.shape[1])))
                    }
                    (Operand::Float(weight), Form::Winograd) => {
                        Operand::Winograd(Arc::new(Winograd::new(weight.elements(), weight.shape[0], weight.shape[1])))
                    }
                    (Operand::Float(weight), Form::Kernels(parts)) => {
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

    /// Bytes of the weights as they lie in memory, and of the memory that runs use again and again.
    pub fn bytes(&self) -> usize {
        self.weights.iter().flatten().map(Operand::bytes).sum::<usize>() + self.memory.bytes()
    }

    /// Computes the outputs, in the order of [`Program::outputs`].
    ///
    /// # Errors
    /// An input that is missing, given twice, unknown, or not of the stated type and number of elements, by name.
    pub fn run(&self, inputs: &[(&str, TensorRef<'_>)]) -> Result<Vec<(String, Vec<f32>)>, CpuError> {
        self.run_watched(inputs, &mut |_| true)
    }

    /// Like [`run`](Self::run); `watch` is called with the number of each operation before it is computed and stops the run by `false`.
    ///
    /// # Errors
    /// As [`run`](Self::run), and [`CpuError::Cancelled`].
    pub fn run_watched(
        &self,
        inputs: &[(&str, TensorRef<'_>)],
        watch: &mut (dyn FnMut(usize) -> bool + Send),
    ) -> Result<Vec<(String, Vec<f32>)>, CpuError> {
        threads::enter(|| self.compute(inputs, watch))
    }

    fn compute(&self, inputs: &[(&str, TensorRef<'_>)], watch: &mut (dyn FnMut(usize) -> bool + Send)) -> Result<Vec<(String, Vec<f32>)>, CpuError> {
        let mut values = self.weights.clone();
        self.place_inputs(inputs, &mut values)?;
        for (index, node) in self.program.nodes.iter().enumerate() {
            if !watch(index) {
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
            // Unreachable for a checked program, but an error costs no more than a panic.
            let result = result.ok_or_else(|| CpuError::Unsupported {
                place: format!("{}, operation {index}", self.program.name),
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
                        place: format!("{}, output {}", self.program.name, port.name),
                        message: "is never computed".into(),
                    });
                }
            }
        }
        Ok(outputs)
    }

    fn place_inputs(&self, inputs: &[(&str, TensorRef<'_>)], values: &mut [Option<Operand>]) -> Result<(), CpuError> {
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
                return Err(refuse(&port.name, "is given twice".into()));
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

/// One weight, compared with what the program says.
fn load(name: &str, shape: &[usize], dtype: DType, found: Option<WeightView<'_>>) -> Result<Operand, CpuError> {
    let refuse = |message: String| CpuError::Weight { name: name.to_owned(), message };
    let view = found.ok_or_else(|| refuse("is missing".into()))?;
    if view.shape != shape || view.dtype != dtype {
        return Err(refuse(format!("is {:?} of {:?}, the program says {shape:?} of {dtype:?}", view.shape, view.dtype)));
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

/// What a weight becomes when a program is loaded.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    Plain,
    Panels,
    /// In so many parts.
    Kernels(usize),
    Winograd,
}

/// By value: the form that everything which reads it can read.
fn weight_forms(program: &Program) -> Vec<Form> {
    let mut forms = vec![None; program.values.len()];
    for node in &program.nodes {
        for (place, id) in node.inputs.iter().enumerate() {
            let form = match &node.op {
                Op::Linear { .. } if place == 1 => Form::Panels,
                Op::Conv2d { stride, dilation, groups, .. } if place == 1 => {
                    let shape = &program.value(*id).shape;
                    let fits = [*stride, *dilation, [*groups; 2]] == [[1; 2]; 3] && shape[2..] == [3, 3];
                    if fits && winograd::pays(shape, &program.value(node.output).shape) { Form::Winograd } else { Form::Kernels(*groups) }
                }
                Op::UpConv2d { .. } if place == 1 => Form::Kernels(4),
                _ => Form::Plain,
            };
            let known = forms[id.index()].get_or_insert(form);
            if *known != form {
                *known = Form::Plain;
            }
        }
    }
    for port in &program.outputs {
        forms[port.value.index()] = Some(Form::Plain);
    }
    forms.into_iter().map(|form| form.unwrap_or(Form::Plain)).collect()
}

/// For each operation, which inputs nothing reads afterwards: those are moved, which frees or reuses their memory. Weights live in the
/// program and outputs until the end of the run.
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
