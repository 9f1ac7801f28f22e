//! The noise levels of a scheduler's configuration.

use crate::config::{BetaSchedule, ConfigError, SchedulerConfig, TimestepSpacing};

/// One step of a sampler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DdimStep {
    /// The timestep that the network is conditioned on.
    pub timestep: usize,
    /// The timestep of the noise level that the step ends at; `None` at the end of sampling (see `set_alpha_to_one`).
    pub previous: Option<usize>,
}

/// The noise levels of a configuration, computed in f64.
///
/// `x_t = alpha_t x_0 + sigma_t eps`, with `alpha_t² + sigma_t² = 1` and `alpha_t² = Π_{s <= t} (1 - beta_s)`.
#[derive(Debug, Clone, PartialEq)]
pub struct NoiseSchedule {
    config: SchedulerConfig,
    alphas_cumprod: Vec<f64>,
}

impl NoiseSchedule {
    /// The schedule that `config` describes.
    pub fn new(config: &SchedulerConfig) -> Result<Self, ConfigError> {
        config.validate()?;
        let count = config.num_train_timesteps;
        let at = |from: f64, to: f64, i: usize| from + (to - from) * i as f64 / (count - 1).max(1) as f64;
        let mut product = 1.0;
        let alphas_cumprod = (0..count)
            .map(|i| {
                let beta = match config.beta_schedule {
                    BetaSchedule::Linear => at(config.beta_start, config.beta_end, i),
                    BetaSchedule::ScaledLinear => at(config.beta_start.sqrt(), config.beta_end.sqrt(), i).powi(2),
                };
                product *= 1.0 - beta;
                product
            })
            .collect();
        Ok(Self { config: config.clone(), alphas_cumprod })
    }

    /// The configuration.
    pub fn config(&self) -> &SchedulerConfig {
        &self.config
    }

    /// `alpha_t²` of every timestep.
    pub fn alphas_cumprod(&self) -> &[f64] {
        &self.alphas_cumprod
    }

    /// Refuses a timestep that the schedule does not have.
    pub fn check(&self, timestep: usize) -> Result<(), ConfigError> {
        let count = self.alphas_cumprod.len();
        if timestep < count {
            return Ok(());
        }
        Err(ConfigError::Request(format!("timestep {timestep} is not below num_train_timesteps = {count}")))
    }

    /// The coefficient of the signal, `sqrt(alpha_cumprod)`.
    ///
    /// # Panics
    /// If `timestep` does not pass [`Self::check`].
    pub fn alpha(&self, timestep: usize) -> f64 {
        self.alphas_cumprod[timestep].sqrt()
    }

    /// The coefficient of the noise, `sqrt(1 - alpha_cumprod)`.
    ///
    /// # Panics
    /// If `timestep` does not pass [`Self::check`].
    pub fn sigma(&self, timestep: usize) -> f64 {
        (1.0 - self.alphas_cumprod[timestep]).sqrt()
    }

    /// The steps of a sampler of `steps` steps, noisiest first, as diffusers' `DDIMScheduler` takes them.
    pub fn timesteps(&self, steps: usize) -> Result<Vec<DdimStep>, ConfigError> {
        let count = self.alphas_cumprod.len();
        if !(1..=count).contains(&steps) {
            return Err(ConfigError::Request(format!("a sampler cannot have {steps} steps, only 1 to num_train_timesteps = {count}")));
        }
        let length = count / steps;
        let timesteps: Vec<usize> = match self.config.timestep_spacing {
            TimestepSpacing::Leading => (0..steps).rev().map(|i| i * length + self.config.steps_offset).collect(),
            TimestepSpacing::Trailing => {
                let length = count as f64 / steps as f64;
                (0..steps).map(|i| ((count as f64 - i as f64 * length).round_ties_even() as usize).max(1) - 1).collect()
            }
        };
        timesteps.iter().try_for_each(|&timestep| self.check(timestep))?;
        Ok(timesteps.into_iter().map(|timestep| DdimStep { timestep, previous: timestep.checked_sub(length) }).collect())
    }
}
