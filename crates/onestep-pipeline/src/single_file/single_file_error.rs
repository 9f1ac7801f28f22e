//! Why a single file was refused.

use thiserror::Error;

use crate::{Part, config::ConfigError};

/// A single file that cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SingleFileError {
    /// A model that is known, and that this crate does not open.
    #[error(
        "the file holds {family} (it has the tensor {key:?}), which is not supported as a single file; \
         Stable Diffusion 1.x, 2.x and XL base are"
    )]
    OtherFamily {
        /// What it is.
        family: &'static str,
        /// The tensor by which it is known.
        key: String,
    },
    /// A LoRA where a model is expected.
    #[error("the file is a LoRA (it has the tensor {key:?}) and not a model; open a model and merge this file with --lora")]
    Lora {
        /// The tensor by which it is known.
        key: String,
    },
    /// No network is in the file.
    #[error(
        "the file has none of the names of Stable Diffusion (model.diffusion_model.*, first_stage_model.*, cond_stage_model.* or \
         conditioner.*) nor of its parts; its first of {count} tensors is {first:?}"
    )]
    Unrecognised {
        /// Tensors in the file.
        count: usize,
        /// Name of the first of them, shortened.
        first: String,
    },
    /// A network is in the file twice.
    #[error("the file holds {component} twice: as {first:?} and as {second:?}; remove one of the two")]
    Twice {
        /// The network.
        component: Part,
        /// A tensor or prefix of the first.
        first: String,
        /// A tensor or prefix of the second.
        second: String,
    },
    /// A tensor that the network needs is missing.
    #[error("{component} of the file has no tensor {key:?}, which becomes {name} {shape:?}")]
    Missing {
        /// The network.
        component: Part,
        /// The stored name that was looked for.
        key: String,
        /// diffusers' name of it.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// A tensor that the network does not have.
    #[error("{component} of the file has the tensor {key:?}, which no layer of it uses; the network is not one that is supported")]
    Unexpected {
        /// The network.
        component: Part,
        /// The stored name.
        key: String,
    },
    /// A tensor has another shape than the network needs.
    #[error("the tensor {key:?} of {component} has the shape {found:?}, but {expected:?} is needed for {name} {shape:?}")]
    Shape {
        /// The network.
        component: Part,
        /// The stored name.
        key: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape that fits.
        expected: Vec<usize>,
        /// diffusers' name of the tensor that is made from it.
        name: String,
        /// The shape of that tensor.
        shape: Vec<usize>,
    },
    /// Two networks of the file do not fit, or one is of a kind that is not supported.
    #[error("{0}")]
    Structure(String),
    /// The configuration that follows from the shapes is not supported.
    #[error("{component} of the file is not supported: {error}")]
    Config {
        /// The network.
        component: Part,
        /// What about its configuration.
        error: ConfigError,
    },
}
