//! The Euler method in σ/α (Karras et al. 2022, algorithm 1 without churn) and its ancestral form with fresh noise: diffusers'
//! `EulerDiscreteScheduler` and `EulerAncestralDiscreteScheduler`.

use super::{
    latents::{Latents, combine},
    method::Solver,
    sigmas,
    timesteps::spaced,
};
use crate::{
    config::{ConfigError, FinalSigma, SchedulerClass, SigmaSpacing, TimestepSpacing},
    schedule::{Level, NoiseSchedule},
};

/// Its samples are x/α; their noise has the standard deviation σ/α.
pub(super) struct Euler {
    schedule: NoiseSchedule,
    timesteps: Vec<f64>,
    /// σ/α before each step, and after the last.
    sigmas: Vec<f64>,
    ancestral: bool,
}

impl Euler {
    pub fn new(schedule: &NoiseSchedule, steps: usize) -> Result<Self, ConfigError> {
        let config = schedule.config();
        let ancestral = config.class == SchedulerClass::EulerAncestralDiscrete;
        // diffusers keeps these timesteps in f32.
        let mut timesteps: Vec<f64> = spaced(schedule, steps)?.into_iter().map(|timestep| f64::from(timestep as f32)).collect();
        let table = sigmas::table(schedule);
        let (least, most) = (table[0], table[table.len() - 1]);
        let mut levels: Vec<f64> = if config.log_linear && !ancestral {
            sigmas::respaced(SigmaSpacing::Exponential, most, least, steps + 1)
        } else {
            timesteps.iter().map(|&timestep| sigmas::at(&table, timestep)).collect()
        };
        if config.sigma_spacing != SigmaSpacing::Timesteps && !ancestral {
            let (max, min) = (config.sigma_max.unwrap_or(levels[0]), config.sigma_min.unwrap_or(levels[levels.len() - 1]));
            levels = sigmas::respaced(config.sigma_spacing, max, min, steps);
            timesteps = levels.iter().map(|&sigma| sigmas::timestep(&table, sigma)).collect();
        }
        levels.push(if config.final_sigma == FinalSigma::SigmaMin && !ancestral { least } else { 0.0 });
        Ok(Self { schedule: schedule.clone(), timesteps, sigmas: levels, ancestral })
    }
}

impl<L: Latents> Solver<L> for Euler {
    fn timesteps(&self) -> &[f64] {
        &self.timesteps
    }

    fn init_noise_sigma(&self) -> f64 {
        let max = self.sigmas.iter().copied().fold(0.0, f64::max);
        match self.schedule.config().timestep_spacing {
            TimestepSpacing::Linspace | TimestepSpacing::Trailing => max,
            TimestepSpacing::Leading => max.mul_add(max, 1.0).sqrt(),
        }
    }

    fn input_scale(&self, index: usize) -> f64 {
        Level::of_ratio(self.sigmas[index]).alpha
    }

    fn noising(&self, index: usize) -> Level {
        Level { alpha: 1.0, sigma: self.sigmas[index] }
    }

    fn is_stochastic(&self) -> bool {
        self.ancestral
    }

    fn step(&mut self, index: usize, sample: L, output: L, noise: &mut dyn FnMut() -> L) -> L {
        let (from, to) = (self.sigmas[index], self.sigmas[index + 1]);
        let level = Level::of_ratio(from);
        // The sample is x/α, so that x̂₀ holds α of it.
        let [of_sample, of_output] = level.original(self.schedule.config().prediction_type);
        let original = [of_sample * level.alpha, of_output];
        // The fraction of the noise that is fresh after the step (Song et al. 2021, with η = 1).
        let up = if self.ancestral { to * (1.0 - (to / from).powi(2)).max(0.0).sqrt() } else { 0.0 };
        let down = (to * to - up * up).max(0.0).sqrt();
        let kept = down / from;
        let factors = [kept + (1.0 - kept) * original[0], (1.0 - kept) * original[1]];
        if up == 0.0 {
            return combine((factors[0], &sample), &[(factors[1], &output)]);
        }
        combine((factors[0], &sample), &[(factors[1], &output), (up, &noise())])
    }
}
