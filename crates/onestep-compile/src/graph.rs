//! What the passes rewrite: a program under construction, with its constants' elements.

use std::sync::Arc;

use onestep_program::{DType, Node, Op, Port, ValueId};

/// A tensor that is known when compiling.
#[derive(Clone, Debug)]
pub struct Constant {
    /// The parameter whose elements these are, perhaps in another order or shape; `None` for computed ones.
    pub parameter: Option<String>,
    /// Whether the elements stand as the module holds them.
    pub untouched: bool,
    /// Row-major.
    pub data: Arc<Vec<f32>>,
}

impl Constant {
    /// A constant that is no parameter.
    pub fn computed(data: Vec<f32>) -> Self {
        Self { parameter: None, untouched: false, data: Arc::new(data) }
    }

    /// Whether 16 bits can hold every element. What a pass computes from weights must be storable wherever the weights were.
    pub(crate) fn fits_half(&self) -> bool {
        self.data.iter().all(|value| value.abs() <= f32::from(half::f16::MAX))
    }

    /// The element of a constant that has the same one everywhere and is no parameter.
    pub(crate) fn uniform(&self) -> Option<f32> {
        let first = *self.data.first()?;
        (self.parameter.is_none() && self.data.iter().all(|value| value.to_bits() == first.to_bits())).then_some(first)
    }
}

/// A tensor: an input, a constant, or what one operation computes.
#[derive(Clone, Debug)]
pub struct GraphValue {
    /// Lengths of the axes.
    pub shape: Vec<usize>,
    /// F32, or I32 for ids.
    pub dtype: DType,
    /// The elements, if known.
    pub constant: Option<Constant>,
}

/// A program under construction. `nodes` is always in an order in which they can run.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// All tensors, also those that nothing reads any more.
    pub values: Vec<GraphValue>,
    /// What the caller gives.
    pub inputs: Vec<Port>,
    /// What the caller gets.
    pub outputs: Vec<Port>,
    /// The operations.
    pub nodes: Vec<Node>,
}

impl Graph {
    /// The value behind an id.
    pub fn value(&self, id: ValueId) -> &GraphValue {
        &self.values[id.index()]
    }

    /// The shape of a value.
    pub fn shape(&self, id: ValueId) -> &[usize] {
        &self.value(id).shape
    }

    /// The elements of a value that is known.
    pub fn constant(&self, id: ValueId) -> Option<&Constant> {
        self.value(id).constant.as_ref()
    }

    /// A new value that nothing computes yet.
    pub fn add(&mut self, shape: Vec<usize>, dtype: DType) -> ValueId {
        self.values.push(GraphValue { shape, dtype, constant: None });
        ValueId(self.values.len() as u32 - 1)
    }

    /// A new known value.
    pub fn add_constant(&mut self, shape: Vec<usize>, constant: Constant) -> ValueId {
        self.values.push(GraphValue { shape, dtype: DType::F32, constant: Some(constant) });
        ValueId(self.values.len() as u32 - 1)
    }

    /// Appends an operation and gives its new output.
    pub fn emit(&mut self, op: Op, inputs: Vec<ValueId>, shape: Vec<usize>) -> ValueId {
        let output = self.add(shape, DType::F32);
        self.nodes.push(Node { op, inputs, output });
        output
    }

    /// Makes everything that reads `old` read `new`.
    pub fn replace(&mut self, old: ValueId, new: ValueId) {
        for id in self.nodes.iter_mut().flat_map(|node| &mut node.inputs).chain(self.outputs.iter_mut().map(|port| &mut port.value)) {
            if *id == old {
                *id = new;
            }
        }
    }

    /// Gives a convolution or linear layer this bias in place of the one it has, if it has one.
    pub(crate) fn set_bias(&mut self, layer: usize, bias: Constant) {
        let id = self.add_constant(vec![bias.data.len()], bias);
        let node = &mut self.nodes[layer];
        if let Op::Conv2d { bias, .. } | Op::UpConv2d { bias, .. } | Op::Linear { bias, .. } = &mut node.op {
            if *bias {
                node.inputs[2] = id;
            } else {
                node.inputs.insert(2, id);
                *bias = true;
            }
        }
    }

    /// Drops the operations whose results nothing needs.
    pub fn remove_dead(&mut self) {
        let live = self.live();
        let mut index = 0;
        self.nodes.retain(|_| {
            index += 1;
            live[index - 1]
        });
    }

    /// By operation: whether an output depends on it.
    pub(crate) fn live(&self) -> Vec<bool> {
        let mut needed = vec![false; self.values.len()];
        for port in &self.outputs {
            needed[port.value.index()] = true;
        }
        let mut live = vec![false; self.nodes.len()];
        for (index, node) in self.nodes.iter().enumerate().rev() {
            live[index] = needed[node.output.index()];
            if live[index] {
                for id in &node.inputs {
                    needed[id.index()] = true;
                }
            }
        }
        live
    }
}
