//! Parameters under diffusers' names, from and to safetensors bytes.
//!
//! Names come from the structure of the module. The rule, for any burn module:
//! - field names and list indices, joined by dots;
//! - a field `at_3` is written `3` (for lists in which not every item has parameters);
//! - a variant of an enum is not written;
//! - `gamma` and `beta` of burn's normalisations are `weight` and `bias`;
//! - the matrix of a `Linear` is stored `[output, input]`, where burn has `[input, output]`;
//! - `logit_scale` is stored without axes, where burn has an axis of one.
//!
//! Two kinds of surplus tensors are ignored, which PyTorch and transformers save although no network uses them: `position_ids`, and
//! `num_batches_tracked` of batch normalisations.

mod load;
mod load_error;
mod parameter_path;
mod save;
mod state;

pub use load::{Shard, load, load_map, load_state};
pub(crate) use load::{load_part, names};
pub use load_error::{LoadError, TensorProblem};
pub use save::save;
pub use state::{Parameter, StateTensor, parameters, state};
