//! How noise is added to latents, and how a sampler walks back.

mod noise_schedule;
mod scheduler_config;

pub use noise_schedule::{DdimStep, NoiseSchedule};
pub use scheduler_config::{BetaSchedule, NoiseProcess, SchedulerConfig, TimestepSpacing};
