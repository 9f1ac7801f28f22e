//! The graph that the passes rewrite: a program under construction, with the elements of its constants.

use onestep_program::{DType, Node, Op, Port, ValueId};

use crate::elements::{Elements, ReadErrors};

/// A tensor that is known when compiling.
#[derive(Clone, Debug)]
pub struct Constant {
    /// The parameter that the elements come from, perhaps in another order or shape; `None` for computed constants.
    pub parameter: Option<String>,
    /// True if the elements have the module's order and shape.
    pub untouched: bool,
    /// Row-major.
    pub data: Elements,
}

impl Constant {
    /// A constant that is no parameter.
    pub fn computed(data: impl Into<Elements>) -> Self {
        Self { parameter: None, untouched: false, data: data.into() }
    }

    /// True if f16 can represent every element. A pass must not derive weights that cannot be stored in the type of the original ones.
    pub(crate) fn fits_half(&self) -> bool {
        self.data.largest() <= f32::from(half::f16::MAX)
    }

    /// The value of a constant with equal elements that is no parameter.
    pub(crate) fn uniform(&self) -> Option<f32> {
        if self.parameter.is_some() { None } else { self.data.uniform() }
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
    /// All tensors, including unused ones.
    pub values: Vec<GraphValue>,
    /// Tensors that the caller provides.
    pub inputs: Vec<Port>,
    /// Tensors that the caller receives.
    pub outputs: Vec<Port>,
    /// The operations.
    pub nodes: Vec<Node>,
    /// Errors of reading constants that are not held in memory.
    pub errors: ReadErrors,
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

    /// Appends an operation and returns its output.
    pub fn emit(&mut self, op: Op, inputs: Vec<ValueId>, shape: Vec<usize>) -> ValueId {
        let output = self.add(shape, DType::F32);
        self.nodes.push(Node { op, inputs, output });
        output
    }

    /// Replaces `old` by `new` in all operands and outputs.
    pub fn replace(&mut self, old: ValueId, new: ValueId) {
        for id in self.nodes.iter_mut().flat_map(|node| &mut node.inputs).chain(self.outputs.iter_mut().map(|port| &mut port.value)) {
            if *id == old {
                *id = new;
            }
        }
    }

    /// Sets or replaces the bias of a convolution or linear layer.
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

    /// Removes the operations that no output depends on.
    pub fn remove_dead(&mut self) {
        let live = self.live();
        let mut index = 0;
        self.nodes.retain(|_| {
            index += 1;
            live[index - 1]
        });
    }

    /// For each operation, true if an output depends on it.
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
