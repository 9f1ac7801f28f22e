//! The configuration of the noise schedule: diffusers' `scheduler/scheduler_config.json`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::config::{ConfigError, ConfigReader, object, written};

const CLASS: &str = "DDIMScheduler";

/// Keys whose other values would change the mathematics in a way that is not implemented, with what they may be.
const FIXED: &[(&str, &[&str])] = &[
    ("beta_schedule", &["\"scaled_linear\"", "\"linear\""]),
    ("clip_sample", &["false"]),
    ("prediction_type", &["\"epsilon\""]),
    ("rescale_betas_zero_snr", &["false"]),
    ("thresholding", &["false"]),
    ("timestep_spacing", &["\"trailing\"", "\"leading\""]),
    ("trained_betas", &["null"]),
];

/// How the variances of the steps are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BetaSchedule {
    /// `beta` is linear in the step.
    Linear,
    /// `sqrt(beta)` is linear in the step.
    ScaledLinear,
}

/// Which timesteps a sampler of few steps visits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimestepSpacing {
    /// Multiples of the step's length, plus `steps_offset`.
    Leading,
    /// Counted down from the last timestep.
    Trailing,
}

/// The keys of `scheduler_config.json`. The default is Stable Diffusion's noise with trailing timesteps, which begin at 999.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Map<String, Value>")]
pub struct SchedulerConfig {
    /// Number of noise levels.
    pub num_train_timesteps: usize,
    /// Variance of the first step.
    pub beta_start: f64,
    /// Variance of the last step.
    pub beta_end: f64,
    /// What lies between.
    pub beta_schedule: BetaSchedule,
    /// Which timesteps a sampler visits.
    pub timestep_spacing: TimestepSpacing,
    /// Added to `leading` timesteps.
    pub steps_offset: usize,
    /// Whether the last step of a sampler ends without noise, rather than at timestep 0.
    pub set_alpha_to_one: bool,
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        Self {
            num_train_timesteps: 1000,
            beta_start: 0.00085,
            beta_end: 0.012,
            beta_schedule: BetaSchedule::ScaledLinear,
            timestep_spacing: TimestepSpacing::Trailing,
            steps_offset: 1,
            set_alpha_to_one: false,
        }
    }
}

impl TryFrom<Map<String, Value>> for SchedulerConfig {
    type Error = ConfigError;

    /// Absent keys have the values of diffusers' `DDIMScheduler`, not those of [`Self::default`].
    fn try_from(keys: Map<String, Value>) -> Result<Self, ConfigError> {
        let keys = ConfigReader::new(CLASS, &keys);
        for (key, allowed) in FIXED {
            keys.only(key, allowed)?;
        }
        let class: Option<String> = keys.read("_class_name", None)?;
        if class.as_deref() == Some(CLASS) && !keys.has("clip_sample") {
            return Err(keys.refuse("clip_sample", "means true in a DDIMScheduler; only false is implemented"));
        }
        let config = Self {
            num_train_timesteps: keys.read("num_train_timesteps", 1000)?,
            beta_start: keys.read("beta_start", 0.0001)?,
            beta_end: keys.read("beta_end", 0.02)?,
            beta_schedule: keys.read("beta_schedule", BetaSchedule::Linear)?,
            timestep_spacing: keys.read("timestep_spacing", TimestepSpacing::Leading)?,
            steps_offset: keys.read("steps_offset", 0)?,
            set_alpha_to_one: keys.read("set_alpha_to_one", true)?,
        };
        config.validate()?;
        Ok(config)
    }
}

impl SchedulerConfig {
    /// Reads a `scheduler_config.json`. Values that change the mathematics and are not implemented are refused.
    pub fn from_json(text: &str) -> Result<Self, ConfigError> {
        object(CLASS, text)?.try_into()
    }

    /// A `scheduler_config.json` that diffusers reads.
    pub fn to_json(&self) -> String {
        written(
            self,
            &[
                ("_class_name", json!(CLASS)),
                ("_diffusers_version", json!("0.30.0")),
                ("clip_sample", json!(false)),
                ("prediction_type", json!("epsilon")),
                ("rescale_betas_zero_snr", json!(false)),
                ("thresholding", json!(false)),
                ("trained_betas", Value::Null),
            ],
        )
    }

    /// Whether the numbers make a schedule; what [`Self::from_json`] returns has passed.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let refuse = |key: &str, value: Value, reason: &str| {
            Err(ConfigError::Key { config: CLASS, key: key.to_owned(), value: value.to_string(), reason: reason.to_owned() })
        };
        if !(1..=100_000).contains(&self.num_train_timesteps) {
            return refuse("num_train_timesteps", json!(self.num_train_timesteps), "must be within 1..=100000");
        }
        for (key, beta) in [("beta_start", self.beta_start), ("beta_end", self.beta_end)] {
            if !(beta > 0.0 && beta < 1.0) {
                return refuse(key, json!(beta), "must be between 0 and 1");
            }
        }
        if self.steps_offset >= self.num_train_timesteps {
            return refuse("steps_offset", json!(self.steps_offset), "must be below num_train_timesteps");
        }
        Ok(())
    }
}
