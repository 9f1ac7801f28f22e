//! Why a LoRA was refused.

use thiserror::Error;

use crate::Part;

/// A LoRA file that cannot be merged into a model.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LoraError {
    /// The option is malformed.
    #[error("--lora {option:?} {reason}; write --lora FILE or --lora FILE:WEIGHT, with a number such as 0.8")]
    Option {
        /// As it was given.
        option: String,
        /// What is wrong.
        reason: String,
    },
    /// The file holds no LoRA.
    #[error("the file holds no LoRA: it has no pair of lora_down and lora_up or of lora_A and lora_B ({count} tensors, the first is {first:?})")]
    Empty {
        /// Tensors in the file.
        count: usize,
        /// Name of the first of them.
        first: String,
    },
    /// Another kind of adapter.
    #[error("the tensor {key:?} belongs to {kind}, which is not supported; LoRA is, in the forms of kohya, diffusers and peft")]
    OtherKind {
        /// The tensor.
        key: String,
        /// The kind of adapter.
        kind: &'static str,
    },
    /// A tensor without a layer to be merged into.
    #[error("the tensor {key:?} of the LoRA is for {wanted}, which the model does not have; the LoRA was made for another model")]
    NoTarget {
        /// The tensor.
        key: String,
        /// The layer or network that was looked for.
        wanted: String,
    },
    /// A tensor that has a name of no known form.
    #[error("the tensor {key:?} of the LoRA has a name of no known form; kohya's, diffusers' and peft's names are known")]
    UnknownName {
        /// The tensor.
        key: String,
    },
    /// A part of a pair is missing.
    #[error("the LoRA has {found:?}, but no {missing} to go with it; the file is incomplete")]
    Incomplete {
        /// The tensor that is there.
        found: String,
        /// What is missing.
        missing: &'static str,
    },
    /// Two tensors of a file play the same part.
    #[error("the LoRA has two tensors for {what} of {component}'s {target}: {first:?} and {second:?}; remove one of the two")]
    Twice {
        /// The part that they play.
        what: &'static str,
        /// The network.
        component: Part,
        /// The tensor that they would change.
        target: String,
        /// The first tensor.
        first: String,
        /// The second tensor.
        second: String,
    },
    /// A tensor has a shape that does not fit.
    #[error("the tensor {key:?} of the LoRA has the shape {found:?}, but {expected}")]
    Shape {
        /// The tensor.
        key: String,
        /// Its shape.
        found: Vec<usize>,
        /// What is needed.
        expected: String,
    },
    /// An alpha that is no number.
    #[error("the tensor {key:?} of the LoRA is {value}, but a finite number is needed: the scale is alpha divided by the rank")]
    Alpha {
        /// The tensor.
        key: String,
        /// Its value.
        value: String,
    },
    /// Metadata that cannot be read, or that ask for mathematics which is not implemented.
    #[error("the metadata lora_adapter_metadata of the LoRA have {key:?}: {reason}")]
    Metadata {
        /// The key.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// A tensor could not be read.
    #[error("the tensor {key:?} of the LoRA cannot be read: {reason}")]
    Read {
        /// The tensor.
        key: String,
        /// What the reader says.
        reason: String,
    },
}
