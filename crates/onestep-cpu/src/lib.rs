//! Runs a [`Program`](onestep_program::Program) on the CPU, with SIMD instructions and, natively, on all cores.
//!
//! This is the reference for the GPU kernels, and the fallback on machines without a usable GPU. Each operation computes what
//! [`Op`](onestep_program::Op) documents, in f32, whatever the type of the weights.
//!
//! Most of the time is spent in matrix products (`product.rs`): convolutions, linear layers and attention all use the inner loop there.
//!
//! # Examples
//!
//! Run the text encoder of a bundle:
//!
//! ```
//! use onestep_cpu::CpuProgram;
//! use onestep_program::{Bundle, TensorRef};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/emoji"));
//! let manifest = std::fs::read(folder.join("manifest.json"))?;
//! let bundle = Bundle::open::<Box<dyn std::error::Error>>(&manifest, |file| Ok(std::fs::read(folder.join(&file.name))?))?;
//!
//! let encoder = CpuProgram::new(bundle.program("text_encoder")?.clone(), &|name| bundle.weight(name))?;
//! let ids = vec![0; bundle.manifest().generation.prompt_tokens];
//! let outputs = encoder.run(&[("input_ids", TensorRef::I32(&ids))])?;
//! assert_eq!(outputs[0].0, "last_hidden_state");
//! # Ok(())
//! # }
//! ```

mod attention;
mod conv;
mod conv_output;
mod cpu_program;
mod error;
mod linear;
mod memory;
mod movement;
mod norm;
mod operation;
mod pointwise;
mod product;
mod reduce;
mod softmax;
mod tensor;
mod threads;
mod winograd;

pub use cpu_program::CpuProgram;
pub use error::CpuError;
