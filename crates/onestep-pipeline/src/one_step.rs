//! One-step generators: how one evaluation of a network becomes a clean latent.
//!
//! | rule | models | source |
//! | --- | --- | --- |
//! | [`OneStep::Student`] | those trained by this project | x̂₀ of the prediction at the timestep in their scheduler file |
//! | [`OneStep::Turbo`] | SD-Turbo, SDXL-Turbo, SDXL-Lightning (one step, `prediction_type = sample`) | diffusers' `EulerDiscreteScheduler`, trailing, one step |
//! | [`OneStep::Lcm`] | LCM, LCM-LoRA | diffusers' `LCMScheduler`, one step; Luo et al. 2023 |
//! | [`OneStep::Dmd2`] | DMD2 of SDXL | `get_x0_from_noise` of tianweiy/DMD2 at timestep 399 |
//! | [`OneStep::InstaFlow`] | InstaFlow and other rectified flows | `pipeline_rf.py` of gnobitab/InstaFlow: z + v at time 1000 |
//! | [`OneStep::X0`] | Hyper-SD and others | x̂₀ of the prediction at a given timestep |

use crate::{
    config::{ConfigError, SchedulerClass, SchedulerConfig, TimestepSpacing},
    schedule::{Level, NoiseSchedule},
    solver::lcm,
};

/// The timestep at which DMD2's one-step student of SDXL was trained.
const DMD2_TIMESTEP: usize = 399;

/// A one-step generator: `x̂₀ = sample · z + output · f(input · z, timestep, c)`.
///
/// `z` is unit Gaussian noise and `f` is the network with whatever it predicts (ε, v, x₀ or a velocity). Every published one-step rule has this
/// form, because all of them are affine in noise and output.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OneStepRule {
    /// The timestep that the network is conditioned on.
    pub timestep: f64,
    /// Factor of the noise that the network is given.
    pub input: f64,
    /// Factor of the noise in the result.
    pub sample: f64,
    /// Factor of the network's output in the result.
    pub output: f64,
    /// Guidance that the network is told in its timestep embedding, as `w` = guidance scale − 1 (see [`guidance_embedding`]); None for networks
    /// that are not told one.
    pub guidance: Option<f64>,
}

impl OneStepRule {
    /// The clean latent that the schedule's prediction at `timestep` means: `(z − σ ε)/α` for a network that predicts the noise.
    ///
    /// # Errors
    /// A timestep that the schedule does not have, or at which the prediction says nothing about the image.
    pub fn at(schedule: &NoiseSchedule, timestep: usize) -> Result<Self, ConfigError> {
        schedule.check_prediction(timestep)?;
        let [sample, output] = schedule.level(timestep).original(schedule.config().prediction_type);
        Ok(Self { timestep: timestep as f64, input: 1.0, sample, output, guidance: None })
    }
}

/// The kinds of one-step generators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OneStep {
    /// A student trained by this project.
    Student,
    /// Adversarially distilled: SD-Turbo, SDXL-Turbo.
    Turbo,
    /// A latent consistency model.
    Lcm,
    /// Distribution matching distillation.
    Dmd2,
    /// A rectified flow.
    InstaFlow,
    /// The clean latent at a given timestep.
    X0,
}

impl OneStep {
    /// The kinds that a user can name.
    pub const NAMES: [(&'static str, Self); 5] =
        [("turbo", Self::Turbo), ("lcm", Self::Lcm), ("dmd2", Self::Dmd2), ("instaflow", Self::InstaFlow), ("x0", Self::X0)];

    /// The kind of that name: `turbo`, `lcm`, `dmd2`, `instaflow` or `x0`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.into_iter().find(|(known, _)| *known == name).map(|(_, kind)| kind)
    }

    /// The kind that a pipeline's files say, or None if they describe a model of many steps.
    ///
    /// `pipeline` is the class in `model_index.json`, `time_cond_proj_dim` the key of the U-Net's configuration. Trailing Euler steps say "turbo",
    /// because the published folders of SD-Turbo and SDXL-Turbo have them and those of models of many steps do not.
    pub fn detect(config: &SchedulerConfig, pipeline: Option<&str>, time_cond_proj_dim: Option<usize>) -> Option<Self> {
        let euler = matches!(config.class, SchedulerClass::EulerDiscrete | SchedulerClass::EulerAncestralDiscrete);
        let consistency = config.class == SchedulerClass::Lcm || pipeline.is_some_and(|class| class.starts_with("LatentConsistencyModel"));
        if config.one_step_timestep.is_some() {
            Some(Self::Student)
        } else if pipeline == Some("RectifiedFlowPipeline") {
            Some(Self::InstaFlow)
        } else if consistency || time_cond_proj_dim.is_some() {
            Some(Self::Lcm)
        } else if euler && config.timestep_spacing == TimestepSpacing::Trailing {
            Some(Self::Turbo)
        } else {
            None
        }
    }

    /// The rule of this kind with a scheduler's noise and prediction. `timestep` replaces the kind's own.
    ///
    /// # Errors
    /// A timestep that the schedule does not have, or at which the prediction says nothing about the image.
    pub fn rule(self, schedule: &NoiseSchedule, timestep: Option<usize>) -> Result<OneStepRule, ConfigError> {
        let config = schedule.config();
        let last = config.num_train_timesteps - 1;
        match self {
            Self::Student => OneStepRule::at(schedule, timestep.or(config.one_step_timestep).unwrap_or(last)),
            Self::X0 => OneStepRule::at(schedule, timestep.unwrap_or(last)),
            Self::Dmd2 => OneStepRule::at(schedule, timestep.unwrap_or(DMD2_TIMESTEP)),
            Self::Lcm => {
                let trained = if config.class == SchedulerClass::Lcm { lcm::trained_timesteps(config)[0] } else { last };
                let timestep = timestep.unwrap_or(trained);
                let rule = OneStepRule::at(schedule, timestep)?;
                let (skip, out) = lcm::boundary(config, timestep as f64);
                Ok(OneStepRule { sample: out * rule.sample + skip, output: out * rule.output, ..rule })
            }
            Self::Turbo => {
                let timestep = timestep.unwrap_or(last);
                schedule.check(timestep)?;
                let level = match schedule.level(timestep) {
                    level if level.alpha > 0.0 => level,
                    _ => Level::of((0.5f64).powi(24)),
                };
                // x̂₀ = c_x·x + c_o·f of x = (σ/α)·z in units of α.
                let [of_sample, of_output] = level.original(config.prediction_type);
                let sample = of_sample * level.sigma;
                Ok(OneStepRule { timestep: timestep as f64, input: level.sigma, sample, output: of_output, guidance: None })
            }
            Self::InstaFlow => {
                let timestep = timestep.unwrap_or(config.num_train_timesteps) as f64;
                Ok(OneStepRule { timestep, input: 1.0, sample: 1.0, output: 1.0, guidance: None })
            }
        }
    }
}

/// The embedding of `w` = guidance scale − 1 that networks with `time_cond_proj_dim = size` take: sines, then cosines, of `1000 w`, as diffusers'
/// `get_guidance_scale_embedding` computes it in f32.
pub fn guidance_embedding(w: f64, size: usize) -> Vec<f32> {
    let half = size / 2;
    let step = 10_000f32.ln() / (half.max(2) - 1) as f32;
    let angles: Vec<f64> = (0..half).map(|i| f64::from(w as f32 * 1000.0 * f64::from(-(i as f32 * step)).exp() as f32)).collect();
    let mut embedding: Vec<f32> = angles.iter().map(|angle| angle.sin() as f32).chain(angles.iter().map(|angle| angle.cos() as f32)).collect();
    embedding.resize(size, 0.0);
    embedding
}
