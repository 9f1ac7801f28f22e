//! Cumulative noise levels, noising, and the deterministic DDIM step.

use burn::tensor::{DType, Tensor, TensorData};

use onestep_pipeline::config::{BetaSchedule, ConfigError, SchedulerConfig, TimestepSpacing};

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

    /// `alpha_t sample + sigma_t noise`, with one timestep for each element of the batch (or one for all).
    ///
    /// # Panics
    /// If a timestep does not pass [`Self::check`], or their number is neither 1 nor the batch's.
    pub fn add_noise(&self, sample: Tensor<4>, noise: Tensor<4>, timesteps: &[usize]) -> Tensor<4> {
        let device = sample.device();
        let dtype = sample.dtype();
        let column = |values: Vec<f32>| {
            let column = Tensor::<4>::from_data(TensorData::new(values, [timesteps.len(), 1, 1, 1]), (&device, DType::F32));
            if dtype == DType::F32 { column } else { column.cast(dtype) }
        };
        let alpha = column(timesteps.iter().map(|&t| self.alpha(t) as f32).collect());
        let sigma = column(timesteps.iter().map(|&t| self.sigma(t) as f32).collect());
        sample * alpha + noise * sigma
    }

    /// The predicted clean latent x̂₀ of `sample` at `timestep` if `eps` is its noise: `(sample - sigma eps) / alpha`.
    ///
    /// # Panics
    /// If `timestep` does not pass [`Self::check`].
    pub fn predict_original(&self, sample: Tensor<4>, eps: Tensor<4>, timestep: usize) -> Tensor<4> {
        (sample - eps.mul_scalar(self.sigma(timestep))).div_scalar(self.alpha(timestep))
    }

    /// One deterministic DDIM step (eta = 0, nothing clipped): `alpha' x̂_0 + sigma' eps`.
    ///
    /// # Panics
    /// If the step belongs to another schedule.
    pub fn step(&self, sample: Tensor<4>, eps: Tensor<4>, step: DdimStep) -> Tensor<4> {
        let level = match step.previous {
            Some(previous) => self.alphas_cumprod[previous],
            None if self.config.set_alpha_to_one => 1.0,
            None => self.alphas_cumprod[0],
        };
        let original = self.predict_original(sample, eps.clone(), step.timestep);
        original.mul_scalar(level.sqrt()) + eps.mul_scalar((1.0 - level).sqrt())
    }
}
