//! A builder of small programs with their weights and inputs.

use std::collections::BTreeMap;

use half::f16;
use onestep_program::{DType, Node, Op, Port, Program, TensorRef, Value, ValueId, WeightView};

use super::reference::Tensor;
use crate::random::SplitMix64;

/// The data of an input.
#[derive(Clone, Debug)]
pub enum InputData {
    /// Floats.
    F32(Vec<f32>),
    /// Ids.
    I32(Vec<i32>),
}

/// A program under construction, with data for its weights and inputs.
#[derive(Clone, Debug)]
pub struct Sketch {
    /// The program so far.
    pub program: Program,
    weights: BTreeMap<String, (Vec<usize>, DType, Vec<u8>)>,
    data: Vec<InputData>,
    /// The generator of all values, seeded by the program's name.
    pub random: SplitMix64,
}

impl Sketch {
    /// An empty program.
    pub fn new(name: &str) -> Self {
        let seed = name.bytes().fold(7, |sum: u64, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
        Self {
            program: Program {
                version: onestep_program::program::VERSION,
                name: name.to_owned(),
                values: vec![],
                inputs: vec![],
                outputs: vec![],
                nodes: vec![],
            },
            weights: BTreeMap::new(),
            data: vec![],
            random: SplitMix64(seed),
        }
    }

    fn value(&mut self, shape: &[usize], dtype: DType, weight: Option<String>) -> ValueId {
        self.program.values.push(Value { shape: shape.to_vec(), dtype, weight });
        ValueId(self.program.values.len() as u32 - 1)
    }

    fn port(&mut self, shape: &[usize], dtype: DType, data: InputData) -> ValueId {
        let value = self.value(shape, dtype, None);
        self.program.inputs.push(Port { name: format!("input{}", self.data.len()), value });
        self.data.push(data);
        value
    }

    /// Adds an input of random floats in -1..1.
    pub fn input(&mut self, shape: &[usize]) -> ValueId {
        self.input_in(shape, -1.0, 1.0)
    }

    /// Adds an input of random floats in `low..high`.
    pub fn input_in(&mut self, shape: &[usize], low: f32, high: f32) -> ValueId {
        let data = (0..shape.iter().product()).map(|_| self.random.uniform(low, high)).collect();
        self.port(shape, DType::F32, InputData::F32(data))
    }

    /// Adds an input of those floats.
    pub fn input_of(&mut self, shape: &[usize], data: Vec<f32>) -> ValueId {
        self.port(shape, DType::F32, InputData::F32(data))
    }

    /// Adds an input of those ids.
    pub fn ids(&mut self, shape: &[usize], data: Vec<i32>) -> ValueId {
        self.port(shape, DType::I32, InputData::I32(data))
    }

    /// Adds a weight of random floats in -1..1, stored as `dtype`.
    pub fn weight(&mut self, shape: &[usize], dtype: DType) -> ValueId {
        let data: Vec<f32> = (0..shape.iter().product()).map(|_| self.random.uniform(-1.0, 1.0)).collect();
        let bytes = match dtype {
            DType::F16 => data.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect(),
            DType::F32 | DType::I32 => data.iter().flat_map(|x| x.to_le_bytes()).collect(),
        };
        self.weight_of(shape, if dtype == DType::F16 { dtype } else { DType::F32 }, bytes)
    }

    /// Adds a weight of those bytes.
    pub fn weight_of(&mut self, shape: &[usize], dtype: DType, bytes: Vec<u8>) -> ValueId {
        let name = format!("weight{}", self.weights.len());
        self.weights.insert(name.clone(), (shape.to_vec(), dtype, bytes));
        self.value(shape, dtype, Some(name))
    }

    /// Adds an operation with a result of `shape`.
    pub fn op(&mut self, op: Op, inputs: &[ValueId], shape: &[usize]) -> ValueId {
        let output = self.value(shape, DType::F32, None);
        self.program.nodes.push(Node { op, inputs: inputs.to_vec(), output });
        output
    }

    /// Makes a value an output.
    pub fn output(&mut self, value: ValueId) {
        self.program.outputs.push(Port { name: format!("output{}", self.program.outputs.len()), value });
    }

    /// The shape of a value.
    pub fn shape(&self, value: ValueId) -> Vec<usize> {
        self.program.value(value).shape.clone()
    }

    /// A weight by name, as `Executor::new` takes it.
    pub fn view(&self, name: &str) -> Option<WeightView<'_>> {
        self.weights.get(name).map(|(shape, dtype, bytes)| WeightView { shape, dtype: *dtype, bytes: bytes.into() })
    }

    /// The inputs, as `Executor::run` takes them.
    pub fn inputs(&self) -> Vec<(&str, TensorRef<'_>)> {
        self.program
            .inputs
            .iter()
            .zip(&self.data)
            .map(|(port, data)| {
                let tensor = match data {
                    InputData::F32(data) => TensorRef::F32(data),
                    InputData::I32(data) => TensorRef::I32(data),
                };
                (port.name.as_str(), tensor)
            })
            .collect()
    }

    /// Inputs and weights in f64, by value; `change` is applied to every float.
    pub fn given(&self, change: impl Fn(f64) -> f64) -> Vec<Option<Tensor>> {
        let mut given: Vec<Option<Tensor>> = vec![None; self.program.values.len()];
        for (port, data) in self.program.inputs.iter().zip(&self.data) {
            let data = match data {
                InputData::F32(data) => data.iter().map(|&x| change(f64::from(x))).collect(),
                InputData::I32(data) => data.iter().map(|&x| f64::from(x)).collect(),
            };
            given[port.value.index()] = Some(Tensor { shape: self.shape(port.value), data });
        }
        for (index, value) in self.program.values.iter().enumerate() {
            let view = value.weight.as_deref().and_then(|name| self.view(name));
            if let Some(view) = view {
                let change = |x: &f32| if value.dtype == DType::I32 { f64::from(*x) } else { change(f64::from(*x)) };
                given[index] = Some(Tensor { shape: value.shape.clone(), data: view.to_f32().iter().map(change).collect() });
            }
        }
        given
    }
}
