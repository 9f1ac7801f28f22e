//! A program: tensors, and the operations that compute them, in execution order.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::{
    error::{BundleError, BundleErrorKind},
    limits,
    op::Op,
};

/// The version of the program format that this release writes and reads.
pub const VERSION: u32 = 2;

/// The index of a tensor in [`Program::values`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ValueId(pub u32);

impl ValueId {
    /// The index as `usize`.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// The type of a tensor's elements. Activations are always `F32`; weights are `F32` or `F16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DType {
    /// 32-bit float.
    F32,
    /// IEEE 754 16-bit float.
    F16,
    /// 32-bit signed integer, for token ids.
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

/// A tensor of a program: an input, a weight, or the output of an operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Value {
    /// Lengths of the axes.
    pub shape: Vec<usize>,
    /// The type of the elements.
    pub dtype: DType,
    /// The tensor's name in the weight files, for weights and derived weights (constants that the compiler computed).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<String>,
}

/// One operation with its operands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// The operation.
    pub op: Op,
    /// The operands, in the order that [`Op`] documents.
    pub inputs: Vec<ValueId>,
    /// The result.
    pub output: ValueId,
}

/// A named input or output of a program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// The name that callers use.
    pub name: String,
    /// The tensor.
    pub value: ValueId,
}

/// A network's forward pass for fixed shapes. `onestep export` writes it and every backend runs it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// Always [`VERSION`].
    pub version: u32,
    /// The component: `text_encoder`, `generator`, `decoder`, …
    pub name: String,
    /// All tensors.
    pub values: Vec<Value>,
    /// Tensors that the caller provides.
    pub inputs: Vec<Port>,
    /// Tensors that the caller receives.
    pub outputs: Vec<Port>,
    /// The operations in execution order.
    pub nodes: Vec<Node>,
}

impl Program {
    /// Reads and checks a program; `location` is the file's name in errors.
    ///
    /// # Errors
    /// JSON that is not a program of this [`VERSION`], and those of [`Program::check`].
    pub fn from_json(bytes: &[u8], location: &str) -> Result<Self, BundleError> {
        /// Read first, so that a future version is named as such and not as an unknown field.
        #[derive(Deserialize)]
        struct Head {
            version: u32,
        }
        let head: Head = limits::parse_json(bytes, limits::PROGRAM_BYTES, location)?;
        if head.version != VERSION {
            let message = format!("program version {}, this release reads version {VERSION}; export the model again", head.version);
            return Err(BundleError::new(BundleErrorKind::Unsupported, location, message));
        }
        let program: Program = limits::parse_json(bytes, limits::PROGRAM_BYTES, location)?;
        program.check(location)?;
        Ok(program)
    }

    /// The program as JSON. Equal programs give equal bytes.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The tensor with this id.
    ///
    /// # Panics
    /// If the id is not one of this program.
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.index()]
    }

    /// Checks everything that backends rely on: limits, valid ids, tensors that are computed exactly once and before they are read, shapes and
    /// types that fit the operations.
    ///
    /// # Errors
    /// The first violation, naming the operation or tensor.
    pub fn check(&self, location: &str) -> Result<(), BundleError> {
        limits::check(limits::OPERATIONS, self.nodes.len() as u64, location)?;
        limits::check(limits::TENSORS, self.values.len() as u64, location)?;
        let malformed = |message: String| BundleError::new(BundleErrorKind::Malformed, location, message);
        for (index, value) in self.values.iter().enumerate() {
            limits::elements(&value.shape, &format!("{location}, value {index}"))?;
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
            let at = format!("{location}, operation {index}");
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

    /// Checks that ids are integers, everything else is float, and only weights are stored in 16 bits.
    fn check_dtypes(&self, node: &Node, location: &str) -> Result<(), BundleError> {
        for (index, &id) in node.inputs.iter().enumerate() {
            let value = self.value(id);
            let is_ids = matches!(node.op, Op::Embedding) && index == 1;
            let fits = match value.dtype {
                DType::I32 => is_ids,
                DType::F32 => !is_ids,
                DType::F16 => !is_ids && value.weight.is_some(),
            };
            if !fits {
                return Err(BundleError::new(
                    BundleErrorKind::Malformed,
                    location,
                    format!("tensor {index} of {} is {:?}", node.op.name(), value.dtype),
                ));
            }
        }
        if self.value(node.output).dtype != DType::F32 {
            return Err(BundleError::new(BundleErrorKind::Malformed, location, "computes what is not f32"));
        }
        Ok(())
    }

    /// Floating-point operations of one run; see [`Op::flops`].
    pub fn flops(&self) -> u64 {
        self.nodes
            .iter()
            .map(|node| {
                let inputs: Vec<&[usize]> = node.inputs.iter().map(|&id| self.value(id).shape.as_slice()).collect();
                node.op.flops(&inputs, &self.value(node.output).shape)
            })
            .fold(0, u64::saturating_add)
    }

    /// Number of parameters: the elements of all weights.
    pub fn parameters(&self) -> u64 {
        self.weights().map(|value| value.shape.iter().map(|&length| length as u64).product::<u64>()).fold(0, u64::saturating_add)
    }

    /// The tensors that are read from the weight files.
    pub fn weights(&self) -> impl Iterator<Item = &Value> {
        self.values.iter().filter(|value| value.weight.is_some())
    }
}
