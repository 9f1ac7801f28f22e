//! The noise levels of a scheduler's configuration.

use crate::config::{ConfigError, PredictionType, SchedulerConfig};

/// The noise levels of a configuration, computed in f64.
///
/// `x_t = alpha_t x_0 + sigma_t eps`, with `alpha_t² + sigma_t² = 1` and `alpha_t² = Π_{s <= t} (1 - beta_s)` (Ho et al. 2020).
#[derive(Debug, Clone, PartialEq)]
pub struct NoiseSchedule {
    config: SchedulerConfig,
    alphas_cumprod: Vec<f64>,
}

/// The coefficients of one noise level.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Level {
    /// Coefficient of the signal, α.
    pub alpha: f64,
    /// Coefficient of the noise, σ; α² + σ² = 1.
    pub sigma: f64,
}

impl Level {
    /// The level of α².
    pub fn of(alpha_cumprod: f64) -> Self {
        Self { alpha: alpha_cumprod.sqrt(), sigma: (1.0 - alpha_cumprod).sqrt() }
    }

    /// The level of a ratio σ/α.
    pub fn of_ratio(ratio: f64) -> Self {
        let alpha = 1.0 / ratio.mul_add(ratio, 1.0).sqrt();
        Self { alpha, sigma: ratio * alpha }
    }

    /// The ratio σ/α, which diffusers' Euler samplers call sigma.
    pub fn ratio(self) -> f64 {
        self.sigma / self.alpha
    }

    /// Coefficients of sample and network output in the predicted clean latent x̂₀.
    pub fn original(self, prediction: PredictionType) -> [f64; 2] {
        let Self { alpha, sigma } = self;
        match prediction {
            PredictionType::Epsilon => [1.0 / alpha, -sigma / alpha],
            PredictionType::VPrediction => [alpha, -sigma],
            PredictionType::Sample => [0.0, 1.0],
        }
    }

    /// Coefficients of sample and network output in the predicted noise ε̂.
    pub fn noise(self, prediction: PredictionType) -> [f64; 2] {
        let Self { alpha, sigma } = self;
        match prediction {
            PredictionType::Epsilon => [0.0, 1.0],
            PredictionType::VPrediction => [sigma, alpha],
            PredictionType::Sample => [1.0 / sigma, -alpha / sigma],
        }
    }
}

impl NoiseSchedule {
    /// The schedule that `config` describes.
    ///
    /// # Errors
    /// See [`SchedulerConfig::validate`].
    pub fn new(config: &SchedulerConfig) -> Result<Self, ConfigError> {
        config.validate()?;
        Ok(Self { config: config.clone(), alphas_cumprod: config.noise_levels()? })
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
    ///
    /// # Errors
    /// The timestep is not below `num_train_timesteps`.
    pub fn check(&self, timestep: usize) -> Result<(), ConfigError> {
        let count = self.alphas_cumprod.len();
        if timestep < count {
            return Ok(());
        }
        Err(ConfigError::Request(format!("timestep {timestep} is not below num_train_timesteps = {count}")))
    }

    /// Refuses a timestep at which the network's prediction does not determine the clean latent: ε where there is no signal, as at the last
    /// timestep with `rescale_betas_zero_snr`.
    ///
    /// # Errors
    /// Such a timestep, or one that the schedule does not have.
    pub fn check_prediction(&self, timestep: usize) -> Result<(), ConfigError> {
        self.check(timestep)?;
        if self.alphas_cumprod[timestep] > 0.0 || self.config.prediction_type != PredictionType::Epsilon {
            return Ok(());
        }
        Err(ConfigError::Request(format!(
            "timestep {timestep} holds no signal (rescale_betas_zero_snr), so prediction_type = epsilon says nothing about the image there; expected v_prediction or sample"
        )))
    }

    /// The coefficients of a timestep.
    ///
    /// # Panics
    /// If `timestep` does not pass [`Self::check`].
    pub fn level(&self, timestep: usize) -> Level {
        Level::of(self.alphas_cumprod[timestep])
    }

    /// The coefficient of the signal, `sqrt(alpha_cumprod)`.
    ///
    /// # Panics
    /// If `timestep` does not pass [`Self::check`].
    pub fn alpha(&self, timestep: usize) -> f64 {
        self.level(timestep).alpha
    }

    /// The coefficient of the noise, `sqrt(1 - alpha_cumprod)`.
    ///
    /// # Panics
    /// If `timestep` does not pass [`Self::check`].
    pub fn sigma(&self, timestep: usize) -> f64 {
        self.level(timestep).sigma
    }
}
