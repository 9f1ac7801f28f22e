//! Small programs with their weights and inputs, drawn by hand.

use std::collections::BTreeMap;

use half::f16;
use onestep_program::{DType, Node, Op, Port, Program, TensorRef, Value, ValueId, WeightView};

use super::reference::Tensor;

/// A counter-based generator: the same numbers on every machine.
#[derive(Clone, Debug)]
pub struct Dice(pub u64);

impl Dice {
    fn next(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    /// A whole number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() >> 33) as usize % end.max(1)
    }
    /// Uniform in `low..high`.
    pub fn uniform(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * ((self.next() >> 40) as f32 / (1u64 << 24) as f32)
    }
    /// One of several.
    pub fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

/// What a caller gives to an input.
#[derive(Clone, Debug)]
pub enum Given {
    /// Floats.
    F32(Vec<f32>),
    /// Ids.
    I32(Vec<i32>),
}

/// A program under construction.
#[derive(Clone, Debug)]
pub struct Sketch {
    /// The program so far.
    pub program: Program,
    weights: BTreeMap<String, (Vec<usize>, DType, Vec<u8>)>,
    given: Vec<Given>,
    /// The source of all values.
    pub dice: Dice,
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
            given: vec![],
            dice: Dice(seed),
        }
    }

    fn value(&mut self, shape: &[usize], dtype: DType, weight: Option<String>) -> ValueId {
        self.program.values.push(Value { shape: shape.to_vec(), dtype, weight });
        ValueId(self.program.values.len() as u32 - 1)
    }

    fn port(&mut self, shape: &[usize], dtype: DType, given: Given) -> ValueId {
        let value = self.value(shape, dtype, None);
        self.program.inputs.push(Port { name: format!("input{}", self.given.len()), value });
        self.given.push(given);
        value
    }

    /// An input of floats in -1..1.
    pub fn input(&mut self, shape: &[usize]) -> ValueId {
        self.input_in(shape, -1.0, 1.0)
    }

    /// An input of floats in a range.
    pub fn input_in(&mut self, shape: &[usize], low: f32, high: f32) -> ValueId {
        let data = (0..shape.iter().product()).map(|_| self.dice.uniform(low, high)).collect();
        self.port(shape, DType::F32, Given::F32(data))
    }

    /// An input of given floats.
    pub fn input_of(&mut self, shape: &[usize], data: Vec<f32>) -> ValueId {
        self.port(shape, DType::F32, Given::F32(data))
    }

    /// An input of ids.
    pub fn ids(&mut self, shape: &[usize], data: Vec<i32>) -> ValueId {
        self.port(shape, DType::I32, Given::I32(data))
    }

    /// A weight in -1..1, stored as floats of that width.
    pub fn weight(&mut self, shape: &[usize], dtype: DType) -> ValueId {
        let data: Vec<f32> = (0..shape.iter().product()).map(|_| self.dice.uniform(-1.0, 1.0)).collect();
        let bytes = match dtype {
            DType::F16 => data.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect(),
            DType::F32 | DType::I32 => data.iter().flat_map(|x| x.to_le_bytes()).collect(),
        };
        self.weight_of(shape, if dtype == DType::F16 { dtype } else { DType::F32 }, bytes)
    }

    /// A weight of given bytes.
    pub fn weight_of(&mut self, shape: &[usize], dtype: DType, bytes: Vec<u8>) -> ValueId {
        let name = format!("weight{}", self.weights.len());
        self.weights.insert(name.clone(), (shape.to_vec(), dtype, bytes));
        self.value(shape, dtype, Some(name))
    }

    /// An operation.
    pub fn op(&mut self, op: Op, inputs: &[ValueId], shape: &[usize]) -> ValueId {
        let output = self.value(shape, DType::F32, None);
        self.program.nodes.push(Node { op, inputs: inputs.to_vec(), output });
        output
    }

    /// An output.
    pub fn output(&mut self, value: ValueId) {
        self.program.outputs.push(Port { name: format!("output{}", self.program.outputs.len()), value });
    }

    /// The shape of a value.
    pub fn shape(&self, value: ValueId) -> Vec<usize> {
        self.program.value(value).shape.clone()
    }

    /// A weight by name, as an executor asks for it.
    pub fn view(&self, name: &str) -> Option<WeightView<'_>> {
        self.weights.get(name).map(|(shape, dtype, bytes)| WeightView { shape, dtype: *dtype, bytes })
    }

    /// The inputs, as an executor takes them.
    pub fn inputs(&self) -> Vec<(&str, TensorRef<'_>)> {
        self.program
            .inputs
            .iter()
            .zip(&self.given)
            .map(|(port, given)| {
                let tensor = match given {
                    Given::F32(data) => TensorRef::F32(data),
                    Given::I32(data) => TensorRef::I32(data),
                };
                (port.name.as_str(), tensor)
            })
            .collect()
    }

    /// Inputs and weights in f64, by value; `change` is applied to every float.
    pub fn given(&self, change: impl Fn(f64) -> f64) -> Vec<Option<Tensor>> {
        let mut given: Vec<Option<Tensor>> = vec![None; self.program.values.len()];
        for (port, data) in self.program.inputs.iter().zip(&self.given) {
            let data = match data {
                Given::F32(data) => data.iter().map(|&x| change(f64::from(x))).collect(),
                Given::I32(data) => data.iter().map(|&x| f64::from(x)).collect(),
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
