//! The exports of the WebAssembly builds, through which the npm package uses the façade: bytes, strings and numbers in and out.
//!
//! This crate decides nothing: `onestep` and the npm package (`web/packages/onestep`, which describes these exports as types in
//! `src/internal/wasm-builds.js`) do. The package makes one call at a time. Errors arrive in JavaScript as `Error` objects with a `kind`, and `file` where a file of the bundle is at fault.

#[cfg(not(any(feature = "webgpu", feature = "cpu")))]
compile_error!("onestep-wasm needs one of its features `webgpu` and `cpu`");

#[cfg(feature = "webgpu")]
mod canvas;
mod files;
mod js;
#[cfg(feature = "webgpu")]
mod loading;
mod model;
mod noise;
#[cfg(feature = "selftest")]
mod selftest;

pub use files::{BundleFiles, check_manifest};
pub use js::last_panic;
#[cfg(feature = "webgpu")]
pub use loading::{ModelLoader, start_loading};
pub use model::LoadedModel;
#[cfg(not(feature = "webgpu"))]
pub use model::open_model;
pub use noise::Noise;
#[cfg(feature = "selftest")]
pub use selftest::selftest;
