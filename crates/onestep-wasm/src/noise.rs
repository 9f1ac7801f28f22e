//! The noise that an image is generated from.

use wasm_bindgen::prelude::*;

/// One of three kinds of noise. A call consumes it.
#[wasm_bindgen]
pub struct Noise(pub(crate) onestep::Noise);

#[wasm_bindgen]
impl Noise {
    /// The noise of a seed.
    pub fn seed(seed: u64) -> Self {
        Self(onestep::Noise::Seed(seed))
    }
    /// Spherical interpolation between the noise of two seeds, at `t` from 0 to 1.
    pub fn interpolated(from: u64, to: u64, t: f64) -> Self {
        Self(onestep::Noise::Slerp { from, to, t })
    }
    /// Standard normal values, in the order [channels, rows, columns] of the latents.
    pub fn latent(values: Vec<f32>) -> Self {
        Self(onestep::Noise::Values(values))
    }
}
