//! The two formats that connect training to inference: the [`Program`], a network's forward pass as a list of fused operations, and the
//! [`Bundle`], the files that hold a model's programs, weights, tokenizer and card.
//!
//! The crate opens no file and knows no network: it turns bytes into checked structures. Every size that a file states is compared with
//! [`limits`] and with the bytes that exist before memory is allocated for it.
//!
//! # Examples
//!
//! Read and verify a bundle, and print the cost of each of its networks:
//!
//! ```
//! use onestep_program::Bundle;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/emoji"));
//! let manifest = std::fs::read(folder.join("manifest.json"))?;
//! let bundle = Bundle::open::<Box<dyn std::error::Error>>(&manifest, |file| Ok(std::fs::read(folder.join(&file.name))?))?;
//! for (component, program) in bundle.programs() {
//!     println!("{component}: {} parameters, {:.1} MFLOP", program.parameters(), program.flops() as f64 / 1e6);
//! }
//! # assert!(bundle.program("generator")?.parameters() > 0);
//! # Ok(())
//! # }
//! ```

pub mod bundle;
pub mod element;
pub mod error;
pub mod file_signature;
pub mod histogram;
pub mod limits;
pub mod manifest;
pub mod op;
pub mod printable;
pub mod program;
pub mod shape;
pub mod tensor_file;
pub mod weights;

pub use bundle::{Bundle, BundleWriter, Outline};
pub use element::ElementType;
pub use error::{BundleError, BundleErrorKind};
pub use histogram::Histogram;
pub use manifest::{FileEntry, FileHasher, FileUse, Generation, Manifest};
pub use op::{Activation, BinaryKind, Op, ReduceKind, UnaryKind, nearest_source};
pub use printable::printable;
pub use program::{DType, Node, Port, Program, Value, ValueId};
pub use tensor_file::{StoredTensor, TensorEntry, TensorFile, TensorHeader};
pub use weights::{ReadAt, TensorRef, WeightEntry, WeightFile, WeightHeader, WeightView};
