//! How noise is added to latents, and how a sampler walks back.

mod noise_schedule;

pub use noise_schedule::{DdimStep, NoiseSchedule};
