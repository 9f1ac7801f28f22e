//! The noise levels of a scheduler's configuration.

use crate::config::{BetaSchedule, ConfigError, PredictionType, SchedulerClass, SchedulerConfig};

/// The least signal α² and the least noise σ² that a level may have, so that coefficients stay finite in f32.
const LEAST: f64 = 1e-14;
/// What diffusers' samplers of σ take for α² = 0.
const ZERO_SIGNAL: f64 = 1.0 / (1 << 24) as f64;

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
        Ok(Self { config: config.clone(), alphas_cumprod: Self::levels(config)? })
    }

    /// α² of every timestep of a configuration whose single values have been checked.
    pub(crate) fn levels(config: &SchedulerConfig) -> Result<Vec<f64>, ConfigError> {
        let count = config.num_train_timesteps;
        let at = |from: f64, to: f64, i: usize| from + (to - from) * i as f64 / (count - 1).max(1) as f64;
        let cosine = |i: usize| ((i as f64 / count as f64 + 0.008) / 1.008 * std::f64::consts::FRAC_PI_2).cos().powi(2);
        let beta = |i: usize| match (&config.trained_betas, config.beta_schedule) {
            (Some(betas), _) => betas[i],
            (None, BetaSchedule::Linear) => at(config.beta_start, config.beta_end, i),
            (None, BetaSchedule::ScaledLinear) => at(config.beta_start.sqrt(), config.beta_end.sqrt(), i).powi(2),
            (None, BetaSchedule::SquaredCosine) => (1.0 - cosine(i + 1) / cosine(i)).min(0.999),
        };
        let mut product = 1.0;
        let mut levels: Vec<f64> = (0..count)
            .map(|i| {
                product *= 1.0 - beta(i);
                product
            })
            .collect();
        let refuse = |key: &str, reason: String| {
            Err(ConfigError::Key { config: "the scheduler", key: key.to_owned(), value: format!("{:e}", levels[count - 1]), reason })
        };
        if levels[0] > 1.0 - LEAST {
            return refuse("alphas_cumprod", "the first noise level holds no noise; a larger beta_start is needed".to_owned());
        }
        if levels[count - 1] < LEAST {
            return refuse("alphas_cumprod", "the last noise level holds no signal; smaller variances, or fewer timesteps, are needed".to_owned());
        }
        if config.rescale_betas_zero_snr {
            // Algorithm 1 of Lin et al. 2024: α is shifted until the last one is 0, and stretched so that the first one stays.
            let (first, last) = (levels[0].sqrt(), levels[count - 1].sqrt());
            if first - last < LEAST {
                return refuse("rescale_betas_zero_snr", "needs noise levels that differ".to_owned());
            }
            for level in &mut levels {
                *level = ((level.sqrt() - last) * first / (first - last)).powi(2);
            }
            levels[count - 1] = match config.class {
                SchedulerClass::EulerDiscrete | SchedulerClass::EulerAncestralDiscrete | SchedulerClass::DpmSolverMultistep => ZERO_SIGNAL,
                SchedulerClass::Ddim | SchedulerClass::Pndm | SchedulerClass::Lcm => 0.0,
            };
        }
        Ok(levels)
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
