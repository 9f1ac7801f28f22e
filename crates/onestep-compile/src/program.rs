//! Converts the rewritten graph to a program and its weights.

use std::collections::HashMap;

use half::{f16, slice::HalfFloatSliceExt};
use onestep_program::{DType, Histogram, Node, Op, Port, Program, Value, ValueId, WeightView, program::VERSION};

use crate::{
    elements::{Elements, ReadErrors},
    error::CompileError,
    graph::{Constant, Graph},
};

/// The type in which matrices and convolution kernels are stored. All other weights (norms, biases, folded constants) are f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Storage {
    /// 32-bit floats.
    #[default]
    F32,
    /// 16-bit floats, rounded to nearest even; [`compile`](crate::compile) refuses an element beyond the range of f16.
    F16,
}

/// A weight of a program.
#[derive(Clone, Debug)]
pub struct Weight {
    /// Its name in the weight files.
    pub name: String,
    /// Lengths of the axes.
    pub shape: Vec<usize>,
    /// The type of the elements.
    pub dtype: DType,
    /// The elements, row-major, before they are converted to that type.
    pub elements: Elements,
    errors: ReadErrors,
}

impl PartialEq for Weight {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, &self.shape, self.dtype, &self.elements) == (&other.name, &other.shape, other.dtype, &other.elements)
    }
}

impl Weight {
    /// The size in bytes.
    pub fn size(&self) -> u64 {
        self.elements.len() as u64 * self.dtype.size() as u64
    }

    /// The elements in the weight's type: little-endian, row-major. Large ones are read anew at each call.
    ///
    /// # Errors
    /// The first error of reading any weight of the module.
    pub fn bytes(&self) -> Result<Vec<u8>, CompileError> {
        let bytes = encode(&self.elements.read(), self.dtype);
        self.errors.check()?;
        Ok(bytes)
    }
}

/// A program and its weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Compiled {
    /// The program.
    pub program: Program,
    /// Its weights, in the order of the program's values.
    pub weights: Vec<Weight>,
}

impl Compiled {
    /// The weight with this name.
    pub fn weight(&self, name: &str) -> Option<WeightView<'_>> {
        let weight = self.weights.iter().find(|weight| weight.name == name)?;
        Some(WeightView { shape: &weight.shape, dtype: weight.dtype, bytes: weight.bytes().ok()?.into() })
    }

    /// The number of operations by name.
    pub fn histogram(&self) -> Histogram {
        self.program.histogram()
    }

    /// Converts a graph: numbers its values, names its constants and stores their elements.
    ///
    /// # Errors
    /// See [`compile`](crate::compile).
    pub fn from_graph(graph: &Graph, name: &str, component: &str, storage: Storage) -> Result<Self, CompileError> {
        let matrices = matrices(graph);
        let mut renumbered: Vec<Option<ValueId>> = vec![None; graph.values.len()];
        let mut order: Vec<ValueId> = Vec::new();
        let mut visit = |id: ValueId| {
            let slot = &mut renumbered[id.index()];
            *slot.get_or_insert_with(|| {
                order.push(id);
                ValueId(order.len() as u32 - 1)
            })
        };
        let mut port = |port: &Port| Port { name: port.name.clone(), value: visit(port.value) };
        let inputs = graph.inputs.iter().map(&mut port).collect();
        let nodes = graph
            .nodes
            .iter()
            .map(|node| Node { op: node.op.clone(), inputs: node.inputs.iter().map(|&id| visit(id)).collect(), output: visit(node.output) })
            .collect();
        let outputs = graph.outputs.iter().map(|port| Port { name: port.name.clone(), value: visit(port.value) }).collect();

        let names = constant_names(graph, &order, name, component);
        let mut values = Vec::with_capacity(order.len());
        let mut weights: Vec<Weight> = Vec::new();
        let mut stored: HashMap<String, usize> = HashMap::new();
        for &id in &order {
            let value = graph.value(id);
            let Some(constant) = &value.constant else {
                values.push(Value { shape: value.shape.clone(), dtype: value.dtype, weight: None });
                continue;
            };
            let name = names.get(&id).cloned().unwrap_or_default();
            let dtype = if storage == Storage::F16 && matrices[id.index()] { DType::F16 } else { DType::F32 };
            if dtype == DType::F16 {
                check_range(&constant.data, &name)?;
            }
            let errors = graph.errors.clone();
            let weight = Weight { name: name.clone(), shape: value.shape.clone(), dtype, elements: constant.data.clone(), errors };
            match stored.get(&name) {
                None => {
                    stored.insert(name.clone(), weights.len());
                    weights.push(weight);
                }
                Some(&index) if weights[index] == weight => {}
                Some(_) => return Err(CompileError::Tensor { name, message: "two different tensors have this name".into() }),
            }
            values.push(Value { shape: value.shape.clone(), dtype, weight: Some(name) });
        }
        let program = Program { version: VERSION, name: name.to_owned(), values, inputs, outputs, nodes };
        program.check(name)?;
        graph.errors.check()?;
        Ok(Self { program, weights })
    }
}

/// For each value, true if it is only read as a matrix, a convolution kernel or an embedding table.
fn matrices(graph: &Graph) -> Vec<bool> {
    let mut as_matrix = vec![false; graph.values.len()];
    let mut otherwise = vec![false; graph.values.len()];
    for node in &graph.nodes {
        for (position, id) in node.inputs.iter().enumerate() {
            let matrix = matches!((&node.op, position), (Op::Conv2d { .. } | Op::UpConv2d { .. } | Op::Linear { .. }, 1) | (Op::Embedding, 0));
            let seen = if matrix { &mut as_matrix } else { &mut otherwise };
            seen[id.index()] = true;
        }
    }
    for port in &graph.outputs {
        otherwise[port.value.index()] = true;
    }
    as_matrix.iter().zip(&otherwise).map(|(matrix, other)| *matrix && !*other).collect()
}

/// Names constants: a tensor with the elements of a parameter gets its name, if it is the only one; all others are numbered.
fn constant_names(graph: &Graph, order: &[ValueId], program: &str, component: &str) -> HashMap<ValueId, String> {
    let constants: Vec<(ValueId, &Constant)> = order.iter().filter_map(|&id| graph.constant(id).map(|constant| (id, constant))).collect();
    // The tensor that carries each parameter's name: one that stands as the module holds it, else the first.
    let mut carriers: HashMap<&str, (ValueId, bool)> = HashMap::new();
    for (id, constant) in &constants {
        if let Some(parameter) = &constant.parameter {
            let carrier = carriers.entry(parameter).or_insert((*id, constant.untouched));
            if constant.untouched && !carrier.1 {
                *carrier = (*id, true);
            }
        }
    }
    let mut names = HashMap::new();
    let mut numbered: Vec<(ValueId, String)> = Vec::new();
    for (id, constant) in constants {
        let carrier = constant.parameter.as_deref().and_then(|parameter| carriers.get(parameter).map(|(carrier, _)| (parameter, *carrier)));
        let same = |other: ValueId| graph.shape(id) == graph.shape(other) && graph.constant(other).is_some_and(|other| other.data == constant.data);
        let name = match carrier {
            Some((parameter, carrier)) if same(carrier) => format!("{component}.{parameter}"),
            _ => match numbered.iter().find(|(other, _)| same(*other)) {
                Some((_, name)) => name.clone(),
                None => {
                    let name = format!("{program}.constant.{}", numbered.len());
                    numbered.push((id, name.clone()));
                    name
                }
            },
        };
        names.insert(id, name);
    }
    names
}

/// Refuses an element beyond the range of f16.
fn check_range(elements: &Elements, name: &str) -> Result<(), CompileError> {
    let is_beyond = |value: f32| value.is_finite() && f16::from_f32(value).is_infinite();
    // Most constants need no second look.
    if elements.largest() <= f32::from(f16::MAX) {
        return Ok(());
    }
    match elements.read().iter().find(|value| is_beyond(**value)) {
        Some(value) => Err(CompileError::Tensor { name: name.to_owned(), message: format!("{value} is beyond the range of f16") }),
        None => Ok(()),
    }
}

fn encode(data: &[f32], dtype: DType) -> Vec<u8> {
    match dtype {
        DType::F16 => {
            let mut halves = vec![f16::ZERO; data.len()];
            halves.convert_from_f32_slice(data);
            halves.iter().flat_map(|half| half.to_le_bytes()).collect()
        }
        DType::F32 | DType::I32 => data.iter().flat_map(|value| value.to_le_bytes()).collect(),
    }
}
