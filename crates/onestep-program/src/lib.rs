//! The two things that cross from training to running: the [`Program`] (what to compute) and the [`Bundle`] (the files that
//! carry programs, weights, tokenizer and card).
//!
//! This crate opens no file and knows no network: bytes go in, checked structures come out. Every size that a file claims is compared
//! with [`limits`] and with the bytes that exist before anything is allocated.

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
pub use error::{BundleError, Kind};
pub use histogram::Histogram;
pub use manifest::{FileEntry, FileUse, Generation, Manifest};
pub use op::{Activation, BinaryKind, Op, ReduceKind, UnaryKind};
pub use printable::printable;
pub use program::{DType, Node, Port, Program, Value, ValueId};
pub use tensor_file::{StoredTensor, TensorEntry, TensorFile, TensorHeader};
pub use weights::{TensorPlace, TensorRef, WeightFile, WeightHeader, WeightView};
