//! Why weights were refused.

use thiserror::Error;

/// How many tensors an error message names.
const NAMED: usize = 12;

/// Weights that do not fit the module, or bytes that are not weights.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LoadError {
    /// Bytes that are not a sound safetensors file.
    #[error("shard {shard} is not a sound safetensors file: {reason}")]
    Container {
        /// Which of the given shards, from 0.
        shard: usize,
        /// What is wrong.
        reason: String,
    },
    /// Two shards hold a tensor of the same name.
    #[error("the tensor {name} is given twice")]
    Duplicate {
        /// Its name.
        name: String,
    },
    /// Tensors that do not fit, every one of them.
    #[error("{}", listed(.0))]
    Tensors(Vec<TensorProblem>),
}

/// One tensor that does not fit.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TensorProblem {
    /// The module has it, the weights do not.
    #[error("{name} {shape:?} is missing")]
    Missing {
        /// Its name.
        name: String,
        /// The shape it should have, in diffusers' layout.
        shape: Vec<usize>,
    },
    /// The weights have it, the module does not.
    #[error("{name} is surplus")]
    Surplus {
        /// Its name.
        name: String,
    },
    /// The shapes differ.
    #[error("{name} has shape {found:?} instead of {expected:?}")]
    Shape {
        /// Its name.
        name: String,
        /// What the module has.
        expected: Vec<usize>,
        /// What the weights have.
        found: Vec<usize>,
    },
    /// Elements of a type that is not read, or a number of elements that the shape does not explain.
    #[error("{name} cannot be read: {reason}")]
    Data {
        /// Its name.
        name: String,
        /// What is wrong.
        reason: String,
    },
}

fn listed(problems: &[TensorProblem]) -> String {
    let mut text: Vec<String> = problems.iter().take(NAMED).map(ToString::to_string).collect();
    if problems.len() > NAMED {
        text.push(format!("and {} more", problems.len() - NAMED));
    }
    format!("the weights do not fit: {}", text.join("; "))
}
