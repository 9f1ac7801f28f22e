//! A program: values, and the operations that compute them in order.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::{
    error::{BundleError, Kind},
    limits,
    op::Op,
};

/// The version of the program format that this crate writes, and the newest that it reads.
///
/// Another version is refused.
pub const VERSION: u32 = 2;

/// The number of a value: its index in [`Program::values`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ValueId(pub u32);

impl ValueId {
    /// As an index.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// How elements are stored. Activations are always `F32`; weights are what the bundle holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DType {
    /// 32-bit float.
    F32,
    /// 16-bit float; two in a u32 on the GPU.
    F16,
    /// 32-bit signed integer: token ids.
    I32,
}

impl DType {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            DType::F32 | DType::I32 => 4,
            DType::F16 => 2,
        }
    }
}

/// A tensor: an input, a weight, or what one operation computes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Value {
    /// Lengths of the axes.
    pub shape: Vec<usize>,
    /// Storage of the elements.
    pub dtype: DType,
    /// The tensor's name in the weight files, for weights and folded constants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<String>,
}

/// An operation on values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// What is computed.
    pub op: Op,
    /// From which values, in the order that [`Op`] documents.
    pub inputs: Vec<ValueId>,
    /// Into which value.
    pub output: ValueId,
}

/// An input or output of the whole program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// The name by which callers give or take it.
    pub name: String,
    /// Its value.
    pub value: ValueId,
}

/// A network's forward pass for fixed shapes: what `export` writes and what every backend runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// Always [`VERSION`].
    pub version: u32,
    /// The component: `text_encoder`, `generator`, `decoder`, …
    pub name: String,
    /// All tensors.
    pub values: Vec<Value>,
    /// What the caller gives.
    pub inputs: Vec<Port>,
    /// What the caller gets.
    pub outputs: Vec<Port>,
    /// In an order in which they can run.
    pub nodes: Vec<Node>,
}

impl Program {
    /// Reads and checks a program.
    ///
    /// # Errors
    /// Anything that [`Program::check`] refuses, and JSON that is not a program.
    pub fn from_json(bytes: &[u8], place: &str) -> Result<Self, BundleError> {
        /// Read first, so that a future version is named as such and not as an unknown field.
        #[derive(Deserialize)]
        struct Head {
            version: u32,
        }
        let head: Head = limits::parse_json(bytes, limits::PROGRAM_BYTES, place)?;
        if head.version != VERSION {
            let message = format!("program version {}, this release reads version {VERSION}; export the model again", head.version);
            return Err(BundleError::new(Kind::Unsupported, place, message));
        }
        let program: Program = limits::parse_json(bytes, limits::PROGRAM_BYTES, place)?;
        program.check(place)?;
        Ok(program)
    }

    /// As JSON; deterministic.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The value behind an id of this program.
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.index()]
    }

    /// Everything a backend relies on: limits, known ids, every value computed exactly once and before it is used, shapes that fit.
    ///
    /// # Errors
    /// Names the node and tensor at fault.
    pub fn check(&self, place: &str) -> Result<(), BundleError> {
        limits::check(limits::OPERATIONS, self.nodes.len() as u64, place)?;
        limits::check(limits::TENSORS, self.values.len() as u64, place)?;
        let malformed = |message: String| BundleError::new(Kind::Malformed, place, message);
        for (index, value) in self.values.iter().enumerate() {
            limits::elements(&value.shape, &format!("{place}, value {index}"))?;
        }
        let known = |id: ValueId| if id.index() < self.values.len() { Ok(()) } else { Err(malformed(format!("value {} does not exist", id.0))) };
        let mut ready: Vec<bool> = self.values.iter().map(|value| value.weight.is_some()).collect();
        let mut names = HashSet::new();
        for port in &self.inputs {
            known(port.value)?;
            if ready[port.value.index()] {
                return Err(malformed(format!("input {} is a weight or given twice", port.name)));
            }
            ready[port.value.index()] = true;
            if !names.insert(&port.name) {
                return Err(malformed(format!("two ports are called {}", port.name)));
            }
        }
        for (index, node) in self.nodes.iter().enumerate() {
            let at = format!("{place}, operation {index}");
            for &input in &node.inputs {
                known(input)?;
                if !ready[input.index()] {
                    return Err(malformed(format!("operation {index} reads value {} before it is computed", input.0)));
                }
            }
            known(node.output)?;
            if std::mem::replace(&mut ready[node.output.index()], true) {
                return Err(malformed(format!("operation {index} writes value {}, which is an input, a weight or written before", node.output.0)));
            }
            let inputs: Vec<&[usize]> = node.inputs.iter().map(|&id| self.value(id).shape.as_slice()).collect();
            node.op.check(&inputs, &self.value(node.output).shape, &at)?;
            self.check_dtypes(node, &at)?;
        }
        for port in &self.outputs {
            known(port.value)?;
            if !ready[port.value.index()] {
                return Err(malformed(format!("output {} is never computed", port.name)));
            }
            if !names.insert(&port.name) {
                return Err(malformed(format!("two ports are called {}", port.name)));
            }
        }
        Ok(())
    }

    /// Ids are integers, everything else is float, and only weights are stored in 16 bits.
    fn check_dtypes(&self, node: &Node, place: &str) -> Result<(), BundleError> {
        for (index, &id) in node.inputs.iter().enumerate() {
            let value = self.value(id);
            let is_ids = matches!(node.op, Op::Embedding) && index == 1;
            let fits = match value.dtype {
                DType::I32 => is_ids,
                DType::F32 => !is_ids,
                DType::F16 => !is_ids && value.weight.is_some(),
            };
            if !fits {
                return Err(BundleError::new(Kind::Malformed, place, format!("tensor {index} of {} is {:?}", node.op.name(), value.dtype)));
            }
        }
        if self.value(node.output).dtype != DType::F32 {
            return Err(BundleError::new(Kind::Malformed, place, "computes what is not f32"));
        }
        Ok(())
    }

    /// Floating-point operations of one run.
    pub fn flops(&self) -> u64 {
        self.nodes
            .iter()
            .map(|node| {
                let inputs: Vec<&[usize]> = node.inputs.iter().map(|&id| self.value(id).shape.as_slice()).collect();
                node.op.flops(&inputs, &self.value(node.output).shape)
            })
            .fold(0, u64::saturating_add)
    }

    /// Elements of all weights.
    pub fn parameters(&self) -> u64 {
        self.weights().map(|value| value.shape.iter().map(|&length| length as u64).product::<u64>()).fold(0, u64::saturating_add)
    }

    /// The values that come from the weight files.
    pub fn weights(&self) -> impl Iterator<Item = &Value> {
        self.values.iter().filter(|value| value.weight.is_some())
    }
}
