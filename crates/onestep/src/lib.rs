//! Text-to-image generation in one step, on a GPU or on the CPU: the public interface of onestep.
//!
//! A [`Bundle`](program::Bundle) holds three programs (text encoder, one-step generator, decoder), their weights and a tokenizer.
//! [`Model::open`] checks that they fit together and prepares them for a [`Backend`]; [`Model::generate`] turns a prompt and [`Noise`] into
//! an [`Image`].
//!
//! The crate opens no file, reads no clock, starts no thread (except those of rayon's pool on the CPU) and does not block, so that it runs
//! in a browser as well: the caller provides bytes and, if it wants times, progress or cancellation, [`Callbacks`].
//!
//! # Features
//!
//! - `webgpu` (default): GPUs, by Vulkan, Metal, Direct3D 12 or WebGPU.
//! - `cpu` (default): the CPU, with SIMD instructions and all cores.
//! - `selftest`: the test cases of the GPU kernels, to run on a user's machine.
//!
//! # Examples
//!
//! Open a bundle, generate an image and write it as PNG:
//!
//! ```
//! use onestep::{Backend, GenerateOptions, Model, program::Bundle};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # #[cfg(feature = "cpu")] {
//! let folder = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/emoji"));
//! let manifest = std::fs::read(folder.join("manifest.json"))?;
//! let bundle = Bundle::open::<Box<dyn std::error::Error>>(&manifest, |file| Ok(std::fs::read(folder.join(&file.name))?))?;
//!
//! let mut model = pollster::block_on(Model::open(bundle, Backend::Cpu, &mut ()))?;
//! let options = GenerateOptions { prompt: "red apple".into(), noise: 7.into(), ..GenerateOptions::default() };
//! let image = pollster::block_on(model.generate(&options, &mut ()))?;
//! let png = model.png(&image, &options.prompt)?;
//! # assert!(png.starts_with(b"\x89PNG"));
//! # let file = std::env::temp_dir().join(format!("onestep-doc-{}.png", std::process::id()));
//! std::fs::write(&file, png)?;
//! # std::fs::remove_file(file)?;
//! # }
//! # Ok(())
//! # }
//! ```

#[cfg(not(any(feature = "webgpu", feature = "cpu")))]
compile_error!("onestep needs at least one of its features `webgpu` and `cpu`");

pub mod backend;
pub mod callbacks;
pub mod component;
pub mod error;
pub mod image;
pub mod model;
#[cfg(feature = "webgpu")]
pub mod model_loader;
pub mod noise;
pub mod png;
pub mod profile;
pub mod prompt;

mod engine;
mod outputs;
mod ports;
mod text_inputs;
mod tokenizer;
mod version;

pub use onestep_program as program;

pub use backend::{Backend, DeviceInfo};
pub use callbacks::{Callbacks, Stage};
#[cfg(feature = "webgpu")]
pub use component::plan;
pub use component::run_program;
#[cfg(feature = "webgpu")]
pub use engine::webgpu;
pub use error::{Error, ErrorKind, Result};
pub use image::{Image, StageTimes, Timings};
pub use model::{GenerateOptions, Model, check_bundle};
#[cfg(feature = "webgpu")]
pub use model_loader::ModelLoader;
pub use noise::Noise;
pub use profile::KernelCost;
pub use prompt::{Prompt, PromptReader, check_tokenizer};
pub use version::VERSION;
