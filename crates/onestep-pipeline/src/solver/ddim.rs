//! DDIM with η = 0 (Song et al. 2021, equation 12): diffusers' `DDIMScheduler`.

use super::{
    latents::{Latents, combine},
    method::Solver,
    timesteps::rounded,
};
use crate::{
    config::ConfigError,
    schedule::{Level, NoiseSchedule},
};

/// `x' = α' x̂₀ + σ' ε̂`. It is the Euler method in the variables x/α and σ/α.
pub(super) struct Ddim {
    schedule: NoiseSchedule,
    timesteps: Vec<f64>,
    /// Timesteps from one step to the next.
    length: usize,
}

impl Ddim {
    pub fn new(schedule: &NoiseSchedule, steps: usize) -> Result<Self, ConfigError> {
        let timesteps = rounded(schedule, steps)?;
        timesteps.iter().try_for_each(|&timestep| schedule.check_prediction(timestep))?;
        let length = schedule.config().num_train_timesteps / steps;
        Ok(Self { schedule: schedule.clone(), timesteps: timesteps.into_iter().map(|timestep| timestep as f64).collect(), length })
    }
}

/// The level at the end of a step from `timestep`, which is `length` long.
pub(super) fn previous_level(schedule: &NoiseSchedule, timestep: usize, length: usize) -> Level {
    match timestep.checked_sub(length) {
        Some(previous) => schedule.level(previous),
        None if schedule.config().set_alpha_to_one => Level::of(1.0),
        None => schedule.level(0),
    }
}

impl<L: Latents> Solver<L> for Ddim {
    fn timesteps(&self) -> &[f64] {
        &self.timesteps
    }

    fn noising(&self, index: usize) -> Level {
        self.schedule.level(self.timesteps[index] as usize)
    }

    fn step(&mut self, index: usize, sample: L, output: L, _: &mut dyn FnMut() -> L) -> L {
        let timestep = self.timesteps[index] as usize;
        let (config, level) = (self.schedule.config(), self.schedule.level(timestep));
        let previous = previous_level(&self.schedule, timestep, self.length);
        let (original, noise) = (level.original(config.prediction_type), level.noise(config.prediction_type));
        if config.clip_sample {
            let original = combine((original[0], &sample), &[(original[1], &output)]).clamp(config.clip_sample_range);
            let noise = [noise[0] * previous.sigma, noise[1] * previous.sigma];
            return combine((previous.alpha, &original), &[(noise[0], &sample), (noise[1], &output)]);
        }
        let [of_sample, of_output] = [0, 1].map(|i| previous.alpha * original[i] + previous.sigma * noise[i]);
        combine((of_sample, &sample), &[(of_output, &output)])
    }
}
