//! Tensors on disk, read one by one.
//!
//! - [`WeightFile`]: one opened file, safetensors or a checkpoint of PyTorch. Opening reads only its header.
//! - [`WeightMap`]: the tensors of one component by diffusers' names, over one or more files. Tensors may have other names
//!   and layouts in the files ([`WeightMap::select`]), and may be changed while they are read ([`Overlay`]).
//! - [`locate`]: the weight files of a component's folder: variants, shards, formats.
//!
//! Files are read at positions, not mapped into memory: a mapped file that another program shortens would end this one.

mod former_names;
mod locate;
pub mod pickle_check;
mod stored_tensor;
mod weight_file;
mod weight_map;

pub use former_names::{Naming, former_names, is_ignored};
pub use locate::{Located, alike, locate};
pub use stored_tensor::{StoredTensor, TensorInfo};
pub use weight_file::{WeightFile, WeightFormat};
pub use weight_map::{Overlay, TensorSource, View, WeightMap};
