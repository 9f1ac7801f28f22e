//! The scheduler classes of diffusers, and the values of their keys.

use serde::{Deserialize, Serialize};

/// The scheduler of diffusers that a file names. It decides the solver, the defaults of absent keys, and which keys have a meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SchedulerClass {
    /// `DDIMScheduler`, and `DDIMParallelScheduler`, which differs in nothing for one image.
    Ddim,
    /// `PNDMScheduler`.
    Pndm,
    /// `EulerDiscreteScheduler`.
    EulerDiscrete,
    /// `EulerAncestralDiscreteScheduler`.
    EulerAncestralDiscrete,
    /// `DPMSolverMultistepScheduler`.
    DpmSolverMultistep,
    /// `LCMScheduler`.
    Lcm,
}

/// Keys that every class has.
pub(super) const SHARED_KEYS: [&str; 8] =
    ["num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas", "prediction_type", "timestep_spacing", "steps_offset"];
/// Keys of this project, which diffusers passes over with a warning.
pub(super) const OWN_KEYS: [&str; 2] = ["one_step_timestep", "teacher_timestep_spacing"];

/// Classes of diffusers that add noise as these do, and for which there is no solver here.
pub(super) const WITHOUT_SOLVER: [&str; 12] = [
    "DDPMParallelScheduler",
    "DDPMScheduler",
    "DEISMultistepScheduler",
    "DPMSolverSDEScheduler",
    "DPMSolverSinglestepScheduler",
    "HeunDiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "LMSDiscreteScheduler",
    "SASolverScheduler",
    "TCDScheduler",
    "UniPCMultistepScheduler",
];

impl SchedulerClass {
    /// All classes, with the short names of [`Self::from_name`].
    pub const ALL: [(&'static str, Self); 6] = [
        ("ddim", Self::Ddim),
        ("pndm", Self::Pndm),
        ("euler", Self::EulerDiscrete),
        ("euler-ancestral", Self::EulerAncestralDiscrete),
        ("dpm-multistep", Self::DpmSolverMultistep),
        ("lcm", Self::Lcm),
    ];

    /// The name of the class in diffusers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ddim => "DDIMScheduler",
            Self::Pndm => "PNDMScheduler",
            Self::EulerDiscrete => "EulerDiscreteScheduler",
            Self::EulerAncestralDiscrete => "EulerAncestralDiscreteScheduler",
            Self::DpmSolverMultistep => "DPMSolverMultistepScheduler",
            Self::Lcm => "LCMScheduler",
        }
    }

    /// The class of that name in diffusers, or of a short name: `ddim`, `pndm`, `euler`, `euler-ancestral`, `dpm-multistep`, `lcm`.
    pub fn from_name(name: &str) -> Option<Self> {
        let name = if name == "DDIMParallelScheduler" { Self::Ddim.name() } else { name };
        Self::ALL.into_iter().find(|(short, class)| *short == name || class.name() == name).map(|(_, class)| class)
    }

    /// True if the class integrates in σ/α.
    pub(super) const fn is_of_sigmas(self) -> bool {
        matches!(self, Self::EulerDiscrete | Self::EulerAncestralDiscrete | Self::DpmSolverMultistep)
    }

    /// The keys that the class has in addition to those of all classes.
    pub(super) const fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Ddim => &["clip_sample", "clip_sample_range", "rescale_betas_zero_snr", "set_alpha_to_one", "thresholding"],
            Self::Pndm => &["set_alpha_to_one", "skip_prk_steps"],
            Self::EulerDiscrete => &[
                "final_sigmas_type",
                "interpolation_type",
                "rescale_betas_zero_snr",
                "sigma_max",
                "sigma_min",
                "timestep_type",
                "use_beta_sigmas",
                "use_exponential_sigmas",
                "use_karras_sigmas",
            ],
            Self::EulerAncestralDiscrete => &["rescale_betas_zero_snr"],
            // It reads sigma_min and sigma_max although it does not declare them.
            Self::DpmSolverMultistep => &[
                "algorithm_type",
                "euler_at_final",
                "final_sigmas_type",
                "lambda_min_clipped",
                "lower_order_final",
                "rescale_betas_zero_snr",
                "sigma_max",
                "sigma_min",
                "solver_order",
                "solver_type",
                "thresholding",
                "use_beta_sigmas",
                "use_exponential_sigmas",
                "use_flow_sigmas",
                "use_karras_sigmas",
                "use_lu_lambdas",
                "variance_type",
            ],
            Self::Lcm => {
                &["clip_sample", "clip_sample_range", "original_inference_steps", "rescale_betas_zero_snr", "thresholding", "timestep_scaling"]
            }
        }
    }
}

/// How the variances of the noise levels are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BetaSchedule {
    /// `beta` is linear in the timestep.
    Linear,
    /// `sqrt(beta)` is linear in the timestep.
    ScaledLinear,
    /// The cosine schedule of Nichol and Dhariwal 2021, with `beta` at most 0.999.
    #[serde(rename = "squaredcos_cap_v2")]
    SquaredCosine,
}

/// What the network predicts from `x_t = α x₀ + σ ε`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PredictionType {
    /// The noise ε.
    Epsilon,
    /// The velocity `v = α ε − σ x₀` of Salimans and Ho 2022.
    VPrediction,
    /// The clean latent x₀.
    #[serde(alias = "original_sample")]
    Sample,
}

/// Which timesteps a solver of few steps visits, as table 2 of Lin et al. 2024 ("Common diffusion noise schedules …") names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimestepSpacing {
    /// From the last to the first timestep, both of them visited.
    Linspace,
    /// Multiples of the step's length, plus `steps_offset`.
    Leading,
    /// Counted down from the last timestep.
    Trailing,
}

impl TimestepSpacing {
    /// The value of `timestep_spacing` in a file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Linspace => "linspace",
            Self::Leading => "leading",
            Self::Trailing => "trailing",
        }
    }
}

/// Which noise levels σ a solver of few steps visits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SigmaSpacing {
    /// Those of its timesteps.
    Timesteps,
    /// Equidistant in σ^(1/7): `use_karras_sigmas` (Karras et al. 2022, equation 5).
    Karras,
    /// Equidistant in ln σ, timesteps not rounded: `use_exponential_sigmas`.
    Exponential,
    /// Equidistant in ln σ, timesteps rounded: `use_lu_lambdas` (Lu et al. 2022).
    Lu,
}

/// The noise level at which a solver ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinalSigma {
    /// No noise.
    Zero,
    /// The noise of timestep 0.
    SigmaMin,
}
