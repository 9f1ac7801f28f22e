//! The configuration of the noise schedule: diffusers' `scheduler/scheduler_config.json`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::config::{ConfigError, ConfigReader, object, written};

const CLASS: &str = "DDIMScheduler";

/// What a class of diffusers takes for the keys that a file leaves out.
struct Defaults {
    class: &'static str,
    beta_start: f64,
    beta_end: f64,
    beta_schedule: BetaSchedule,
    /// As the key is written: also spacings that are not implemented.
    timestep_spacing: &'static str,
    clip_sample: bool,
    set_alpha_to_one: bool,
}

impl Defaults {
    /// Those of most samplers of sigmas.
    const fn of(class: &'static str, timestep_spacing: &'static str) -> Self {
        let beta_schedule = BetaSchedule::Linear;
        Self { class, beta_start: 0.0001, beta_end: 0.02, beta_schedule, timestep_spacing, clip_sample: false, set_alpha_to_one: true }
    }
    /// With the variances of Stable Diffusion.
    const fn with_betas(self, beta_schedule: BetaSchedule) -> Self {
        Self { beta_start: 0.00085, beta_end: 0.012, beta_schedule, ..self }
    }
    /// With samples that are clipped.
    const fn clipped(self) -> Self {
        Self { clip_sample: true, ..self }
    }
}

/// The classes that share DDPM's noise: what they are made from is the `beta`s, and they differ in how they walk back. Other classes have
/// another process (flow matching, EDM, …) and are refused by name. Defaults are those of diffusers 0.42.
const CLASSES: [Defaults; 19] = [
    Defaults::of(CLASS, "leading").clipped(),
    Defaults::of("DDIMParallelScheduler", "leading").clipped(),
    Defaults::of("DDPMScheduler", "leading").clipped(),
    Defaults::of("DDPMParallelScheduler", "leading").clipped(),
    Defaults { set_alpha_to_one: false, ..Defaults::of("PNDMScheduler", "leading") },
    Defaults::of("DEISMultistepScheduler", "linspace"),
    Defaults::of("DPMSolverMultistepScheduler", "linspace"),
    // It has no such key, and spaces so.
    Defaults::of("DPMSolverSinglestepScheduler", "linspace"),
    Defaults::of("DPMSolverSDEScheduler", "linspace").with_betas(BetaSchedule::Linear),
    Defaults::of("EulerDiscreteScheduler", "linspace"),
    Defaults::of("EulerAncestralDiscreteScheduler", "linspace"),
    Defaults::of("HeunDiscreteScheduler", "linspace").with_betas(BetaSchedule::Linear),
    Defaults::of("KDPM2DiscreteScheduler", "linspace").with_betas(BetaSchedule::Linear),
    Defaults::of("KDPM2AncestralDiscreteScheduler", "linspace").with_betas(BetaSchedule::Linear),
    Defaults::of("LCMScheduler", "leading").with_betas(BetaSchedule::ScaledLinear),
    Defaults::of("LMSDiscreteScheduler", "linspace"),
    Defaults::of("SASolverScheduler", "linspace"),
    Defaults::of("TCDScheduler", "leading").with_betas(BetaSchedule::ScaledLinear),
    Defaults::of("UniPCMultistepScheduler", "linspace"),
];

/// Keys that are accepted with these values only: other values would require mathematics that is not implemented.
const FIXED: &[(&str, &[&str])] = &[
    ("beta_schedule", &["\"scaled_linear\"", "\"linear\""]),
    ("clip_sample", &["false"]),
    ("prediction_type", &["\"epsilon\""]),
    ("rescale_betas_zero_snr", &["false"]),
    ("thresholding", &["false"]),
    ("timestep_spacing", &["\"trailing\"", "\"leading\""]),
    ("trained_betas", &["null"]),
    ("use_flow_sigmas", &["false", "null"]),
];

/// The process by which a scheduler adds noise. It decides which solver integrates it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoiseProcess {
    /// That of DDPM: `x_t = alpha_t x_0 + sigma_t eps` with `alpha_t² + sigma_t² = 1`; the network predicts `eps`.
    VariancePreserving,
}

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
    /// The values between them.
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

    /// Absent keys have the values of the file's own class, or without one of diffusers' `DDIMScheduler`, not those of [`Self::default`].
    fn try_from(keys: Map<String, Value>) -> Result<Self, ConfigError> {
        let keys = ConfigReader::new("the scheduler", &keys);
        let class: Option<String> = keys.read("_class_name", None)?;
        // Files without a class are our own or written by hand, and clip only where they say so.
        let unnamed = Defaults::of(CLASS, "leading");
        let defaults = match &class {
            None => &unnamed,
            Some(name) => CLASSES.iter().find(|class| class.class == name).ok_or_else(|| {
                keys.refuse("_class_name", "a noise process that is not implemented; schedulers of Stable Diffusion, such as DDIMScheduler, are")
            })?,
        };
        for (key, allowed) in FIXED {
            keys.only(key, allowed)?;
        }
        if defaults.clip_sample && !keys.has("clip_sample") {
            return Err(keys.refuse("clip_sample", format!("means true in {}; only false is implemented", defaults.class)));
        }
        let spacing = TimestepSpacing::deserialize(Value::from(defaults.timestep_spacing)).ok();
        let Some(spacing) = keys.read("timestep_spacing", spacing)? else {
            let reason = format!("means {:?} in {}; only \"trailing\" or \"leading\" is implemented", defaults.timestep_spacing, defaults.class);
            return Err(keys.refuse("timestep_spacing", reason));
        };
        let config = Self {
            num_train_timesteps: keys.read("num_train_timesteps", 1000)?,
            beta_start: keys.read("beta_start", defaults.beta_start)?,
            beta_end: keys.read("beta_end", defaults.beta_end)?,
            beta_schedule: keys.read("beta_schedule", defaults.beta_schedule)?,
            timestep_spacing: spacing,
            steps_offset: keys.read("steps_offset", 0)?,
            set_alpha_to_one: keys.read("set_alpha_to_one", defaults.set_alpha_to_one)?,
        };
        config.validate()?;
        Ok(config)
    }
}

impl SchedulerConfig {
    /// The noise process of the scheduler's class. All classes that are read share one.
    pub fn process(&self) -> NoiseProcess {
        NoiseProcess::VariancePreserving
    }

    /// Whether diffusers' scheduler of that name shares the noise that is implemented here.
    pub fn knows(class: &str) -> bool {
        CLASSES.iter().any(|known| known.class == class)
    }

    /// Reads a `scheduler_config.json`. Values that change the mathematics and are not implemented are refused.
    pub fn from_json(text: &str) -> Result<Self, ConfigError> {
        object("the scheduler", text)?.try_into()
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
