//! What noise an image is made from.

use wasm_bindgen::prelude::*;

/// One of three kinds; a call takes it.
#[wasm_bindgen]
pub struct Noise(pub(crate) onestep::Noise);

#[wasm_bindgen]
impl Noise {
    /// The noise of a seed.
    pub fn seed(seed: u64) -> Self {
        Self(onestep::Noise::Seed(seed))
    }
    /// A part of the way between the noises of two seeds.
    pub fn between(from: u64, to: u64, t: f64) -> Self {
        Self(onestep::Noise::Slerp { from, to, t })
    }
    /// These numbers.
    pub fn given(numbers: Vec<f32>) -> Self {
        Self(onestep::Noise::Values(numbers))
    }
}
