//! The boundary between the npm package and the façade: bytes, strings and numbers in, the same out.
//!
//! Everything that is decided is decided below, in `onestep`, or above, in `web/packages/onestep`. Calls are one at a time: the package
//! queues them. Errors arrive in JavaScript as `Error` objects with a `kind`, and `file` where a file of the bundle is at fault.

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

pub use files::{Files, describe};
pub use js::last_panic;
#[cfg(feature = "webgpu")]
pub use loading::{Loading, begin};
pub use model::Loaded;
#[cfg(not(feature = "webgpu"))]
pub use model::open;
pub use noise::Noise;
#[cfg(feature = "selftest")]
pub use selftest::selftest;
