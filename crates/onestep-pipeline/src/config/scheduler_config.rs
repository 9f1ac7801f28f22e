//! The configuration of the scheduler: diffusers' `scheduler/scheduler_config.json`.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    ConfigError, ConfigReader, object,
    scheduler_class::{
        BetaSchedule, FinalSigma, OWN_KEYS, PredictionType, SHARED_KEYS, SchedulerClass, SigmaSpacing, TimestepSpacing, WITHOUT_SOLVER,
    },
};

/// What errors call the file.
const WHAT: &str = "the scheduler";
/// The least signal α² and the least noise σ² that a level may have, so that coefficients stay finite in f32.
const LEAST: f64 = 1e-14;
/// What diffusers' samplers of σ take for α² = 0.
const ZERO_SIGNAL: f64 = 1.0 / (1 << 24) as f64;

/// A `scheduler_config.json`. The default is Stable Diffusion's noise with DDIM and trailing timesteps, which begin at 999.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "Map<String, Value>")]
pub struct SchedulerConfig {
    /// The scheduler's class.
    pub class: SchedulerClass,
    /// Number of noise levels.
    pub num_train_timesteps: usize,
    /// Variance of the first level.
    pub beta_start: f64,
    /// Variance of the last level.
    pub beta_end: f64,
    /// The variances between them.
    pub beta_schedule: BetaSchedule,
    /// All variances, in place of the three keys above.
    pub trained_betas: Option<Vec<f64>>,
    /// True if the levels are stretched until the last one holds no signal (Lin et al. 2024).
    pub rescale_betas_zero_snr: bool,
    /// What the network predicts.
    pub prediction_type: PredictionType,
    /// Which timesteps a solver visits.
    pub timestep_spacing: TimestepSpacing,
    /// Added to `leading` timesteps.
    pub steps_offset: usize,
    /// DDIM and PNDM: true if the last step ends without noise, rather than at timestep 0.
    pub set_alpha_to_one: bool,
    /// DDIM and LCM: true if predicted clean latents are clamped.
    pub clip_sample: bool,
    /// The bound of the clamped latents.
    pub clip_sample_range: f64,
    /// PNDM: true if it begins without Runge–Kutta steps.
    pub skip_prk_steps: bool,
    /// Euler and DPM-Solver: which noise levels are visited.
    pub sigma_spacing: SigmaSpacing,
    /// The lowest noise level of a spacing other than by timesteps; None for that of the last timestep.
    pub sigma_min: Option<f64>,
    /// The highest noise level of a spacing other than by timesteps; None for that of the first timestep.
    pub sigma_max: Option<f64>,
    /// Euler: true if levels are linear in ln σ whatever the timesteps are (`interpolation_type = "log_linear"`).
    pub log_linear: bool,
    /// Euler and DPM-Solver: the noise level at the end.
    pub final_sigma: FinalSigma,
    /// DPM-Solver: number of evaluations that a step uses, 1 to 3.
    pub solver_order: usize,
    /// DPM-Solver: true for `algorithm_type = "sde-dpmsolver++"`, which adds fresh noise in every step.
    pub stochastic: bool,
    /// DPM-Solver: true for `solver_type = "heun"`, false for `"midpoint"`.
    pub heun: bool,
    /// DPM-Solver: true if the last steps of fewer than 15 are of lower order.
    pub lower_order_final: bool,
    /// DPM-Solver: true if the last step is always of first order.
    pub euler_at_final: bool,
    /// DPM-Solver: timesteps with a lower ln(α/σ) are left out.
    pub lambda_min_clipped: f64,
    /// LCM: number of timesteps that the student was trained on.
    pub original_inference_steps: usize,
    /// LCM: factor of the timestep in the boundary condition.
    pub timestep_scaling: f64,
    /// The timestep of a one-step student that was trained by this project.
    pub one_step_timestep: Option<usize>,
    /// The spacing of the timesteps at which that student's teacher was sampled.
    pub teacher_timestep_spacing: Option<TimestepSpacing>,
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        Self {
            beta_start: 0.00085,
            beta_end: 0.012,
            beta_schedule: BetaSchedule::ScaledLinear,
            timestep_spacing: TimestepSpacing::Trailing,
            steps_offset: 1,
            set_alpha_to_one: false,
            clip_sample: false,
            ..Self::defaults(SchedulerClass::Ddim)
        }
    }
}

impl TryFrom<Map<String, Value>> for SchedulerConfig {
    type Error = ConfigError;

    /// Absent keys have the values of the file's own class, or without one of diffusers' `DDIMScheduler` without clipping, not those of
    /// [`Self::default`].
    fn try_from(keys: Map<String, Value>) -> Result<Self, ConfigError> {
        let reader = ConfigReader::new(WHAT, &keys);
        let Some(name) = reader.read::<Option<String>>("_class_name", None)? else {
            // Files without a class are our own or written by hand, and clip only where they say so.
            return Self::read(keys, Self { clip_sample: false, ..Self::defaults(SchedulerClass::Ddim) });
        };
        if let Some(class) = SchedulerClass::from_name(&name).filter(|_| name.ends_with("Scheduler")) {
            return Self::read(keys, Self::defaults(class));
        }
        let classes = SchedulerClass::ALL.map(|(_, class)| class.name()).join(", ");
        Err(reader.refuse(
            "_class_name",
            if WITHOUT_SOLVER.contains(&name.as_str()) {
                format!("its noise is known, its solver is not implemented; choose another scheduler for it: {classes}")
            } else {
                format!("a noise process that is not implemented; implemented are {classes}")
            },
        ))
    }
}

impl SchedulerConfig {
    /// What a class takes for the keys that a file leaves out, in diffusers 0.42.
    fn defaults(class: SchedulerClass) -> Self {
        let consistency = class == SchedulerClass::Lcm;
        let by_sigma = class.is_of_sigmas();
        Self {
            class,
            num_train_timesteps: 1000,
            beta_start: if consistency { 0.00085 } else { 0.0001 },
            beta_end: if consistency { 0.012 } else { 0.02 },
            beta_schedule: if consistency { BetaSchedule::ScaledLinear } else { BetaSchedule::Linear },
            trained_betas: None,
            rescale_betas_zero_snr: false,
            prediction_type: PredictionType::Epsilon,
            timestep_spacing: if by_sigma { TimestepSpacing::Linspace } else { TimestepSpacing::Leading },
            steps_offset: 0,
            set_alpha_to_one: class != SchedulerClass::Pndm,
            clip_sample: class == SchedulerClass::Ddim,
            clip_sample_range: 1.0,
            skip_prk_steps: false,
            sigma_spacing: SigmaSpacing::Timesteps,
            sigma_min: None,
            sigma_max: None,
            log_linear: false,
            final_sigma: FinalSigma::Zero,
            solver_order: 2,
            stochastic: false,
            heun: false,
            lower_order_final: true,
            euler_at_final: false,
            lambda_min_clipped: f64::NEG_INFINITY,
            original_inference_steps: 50,
            timestep_scaling: 10.0,
            one_step_timestep: None,
            teacher_timestep_spacing: None,
        }
    }

    /// True if the class of that name in diffusers adds noise as described here. Its solver may be missing: then [`Self::from_json`] refuses it, and
    /// [`Self::from_json_as`] reads it as another class.
    pub fn knows(class: &str) -> bool {
        class.ends_with("Scheduler") && SchedulerClass::from_name(class).is_some() || WITHOUT_SOLVER.contains(&class)
    }

    /// Reads a `scheduler_config.json`.
    ///
    /// # Errors
    /// Text that is no JSON object; a class, or a value of a key that this class has, that is malformed or not implemented.
    pub fn from_json(text: &str) -> Result<Self, ConfigError> {
        object(WHAT, text)?.try_into()
    }

    /// Reads a `scheduler_config.json` of any class as if it were of `class`, as diffusers' `Class.from_config(other.config)` does: keys that the
    /// file has and `class` knows are kept, the others have the defaults of `class`.
    ///
    /// # Errors
    /// See [`Self::from_json`].
    pub fn from_json_as(text: &str, class: SchedulerClass) -> Result<Self, ConfigError> {
        let mut keys = object(WHAT, text)?;
        keys.insert("_class_name".to_owned(), json!(class.name()));
        keys.try_into()
    }

    /// Reads the keys of a file; absent keys have the values of `defaults`. Keys that the class does not have are ignored, as in diffusers.
    fn read(mut keys: Map<String, Value>, defaults: Self) -> Result<Self, ConfigError> {
        let class = defaults.class;
        keys.retain(|key, _| [&SHARED_KEYS[..], &OWN_KEYS, class.keys()].iter().any(|names| names.contains(&key.as_str())));
        let keys = ConfigReader::new(WHAT, &keys);
        for (key, allowed) in [
            ("thresholding", &["false", "null"][..]),
            ("timestep_type", &["\"discrete\""]),
            ("use_beta_sigmas", &["false", "null"]),
            ("use_flow_sigmas", &["false", "null"]),
            ("variance_type", &["null", "\"fixed_small\"", "\"fixed_large\""]),
            ("interpolation_type", &["\"linear\"", "\"log_linear\""]),
            ("algorithm_type", &["\"dpmsolver++\"", "\"sde-dpmsolver++\"", "\"deis\""]),
            ("solver_type", &["\"midpoint\"", "\"heun\"", "\"logrho\"", "\"bh1\"", "\"bh2\""]),
        ] {
            keys.only(key, allowed)?;
        }
        let is = |key: &str, text: &str| keys.read::<Option<String>>(key, None).map(|value| value.as_deref() == Some(text));
        // Python takes null for false.
        let flag = |key: &str, default: bool| keys.read(key, Some(default)).map(Option::unwrap_or_default);
        let mut sigma_spacing = SigmaSpacing::Timesteps;
        for (key, spacing) in
            [("use_karras_sigmas", SigmaSpacing::Karras), ("use_exponential_sigmas", SigmaSpacing::Exponential), ("use_lu_lambdas", SigmaSpacing::Lu)]
        {
            if flag(key, false)? {
                if sigma_spacing != SigmaSpacing::Timesteps {
                    return Err(keys.refuse(key, "only one of use_karras_sigmas, use_exponential_sigmas and use_lu_lambdas can be true"));
                }
                sigma_spacing = spacing;
            }
        }
        let lambda_min_clipped = match keys.read("lambda_min_clipped", Value::Null)? {
            Value::Null => f64::NEG_INFINITY,
            Value::String(word) if word == "-Infinity" => f64::NEG_INFINITY,
            _ => keys.read("lambda_min_clipped", 0.0)?,
        };
        let config = Self {
            class,
            num_train_timesteps: keys.read("num_train_timesteps", defaults.num_train_timesteps)?,
            beta_start: keys.read("beta_start", defaults.beta_start)?,
            beta_end: keys.read("beta_end", defaults.beta_end)?,
            beta_schedule: keys.read("beta_schedule", defaults.beta_schedule)?,
            trained_betas: keys.read("trained_betas", None)?,
            rescale_betas_zero_snr: flag("rescale_betas_zero_snr", false)?,
            prediction_type: keys.read("prediction_type", defaults.prediction_type)?,
            timestep_spacing: keys.read("timestep_spacing", defaults.timestep_spacing)?,
            steps_offset: keys.read("steps_offset", defaults.steps_offset)?,
            set_alpha_to_one: flag("set_alpha_to_one", defaults.set_alpha_to_one)?,
            clip_sample: flag("clip_sample", defaults.clip_sample)?,
            clip_sample_range: keys.read("clip_sample_range", defaults.clip_sample_range)?,
            skip_prk_steps: flag("skip_prk_steps", defaults.skip_prk_steps)?,
            sigma_spacing,
            sigma_min: keys.read("sigma_min", None)?,
            sigma_max: keys.read("sigma_max", None)?,
            log_linear: is("interpolation_type", "log_linear")?,
            final_sigma: keys.read("final_sigmas_type", defaults.final_sigma)?,
            solver_order: keys.read("solver_order", defaults.solver_order)?,
            stochastic: is("algorithm_type", "sde-dpmsolver++")?,
            heun: is("solver_type", "heun")?,
            lower_order_final: flag("lower_order_final", defaults.lower_order_final)?,
            euler_at_final: flag("euler_at_final", defaults.euler_at_final)?,
            lambda_min_clipped,
            original_inference_steps: keys.read("original_inference_steps", defaults.original_inference_steps)?,
            timestep_scaling: keys.read("timestep_scaling", defaults.timestep_scaling)?,
            one_step_timestep: keys.read("one_step_timestep", None)?,
            teacher_timestep_spacing: keys.read("teacher_timestep_spacing", None)?,
        };
        config.validate()?;
        Ok(config)
    }

    /// The scheduler file of a one-step student that is evaluated at `timestep`, with the teacher's noise and prediction.
    ///
    /// diffusers reads it as well: its `DDIMScheduler` with one step then evaluates at `timestep` and returns the predicted clean latent.
    pub fn of_student(&self, timestep: usize) -> Self {
        let last = self.num_train_timesteps.saturating_sub(1);
        let (timestep_spacing, steps_offset) = if timestep == last { (TimestepSpacing::Trailing, 0) } else { (TimestepSpacing::Leading, timestep) };
        Self {
            num_train_timesteps: self.num_train_timesteps,
            beta_start: self.beta_start,
            beta_end: self.beta_end,
            beta_schedule: self.beta_schedule,
            trained_betas: self.trained_betas.clone(),
            rescale_betas_zero_snr: self.rescale_betas_zero_snr,
            prediction_type: self.prediction_type,
            timestep_spacing,
            steps_offset,
            clip_sample: false,
            one_step_timestep: Some(timestep),
            teacher_timestep_spacing: Some(self.timestep_spacing),
            ..Self::defaults(SchedulerClass::Ddim)
        }
    }

    /// A `scheduler_config.json` that diffusers reads, with all keys that the class has and that are implemented.
    pub fn to_json(&self) -> String {
        let mut all = Map::new();
        let mut set = |key: &str, value: Value| {
            if SHARED_KEYS.contains(&key) || self.class.keys().contains(&key) {
                all.insert(key.to_owned(), value);
            }
        };
        set("num_train_timesteps", json!(self.num_train_timesteps));
        set("beta_start", json!(self.beta_start));
        set("beta_end", json!(self.beta_end));
        set("beta_schedule", json!(self.beta_schedule));
        set("trained_betas", json!(self.trained_betas));
        set("rescale_betas_zero_snr", json!(self.rescale_betas_zero_snr));
        set("prediction_type", json!(self.prediction_type));
        set("timestep_spacing", json!(self.timestep_spacing));
        set("steps_offset", json!(self.steps_offset));
        set("set_alpha_to_one", json!(self.set_alpha_to_one));
        set("clip_sample", json!(self.clip_sample));
        set("clip_sample_range", json!(self.clip_sample_range));
        set("thresholding", json!(false));
        set("skip_prk_steps", json!(self.skip_prk_steps));
        set("use_karras_sigmas", json!(self.sigma_spacing == SigmaSpacing::Karras));
        set("use_exponential_sigmas", json!(self.sigma_spacing == SigmaSpacing::Exponential));
        set("use_lu_lambdas", json!(self.sigma_spacing == SigmaSpacing::Lu));
        set("use_beta_sigmas", json!(false));
        set("use_flow_sigmas", json!(false));
        if let Some(sigma) = self.sigma_min {
            set("sigma_min", json!(sigma));
        }
        if let Some(sigma) = self.sigma_max {
            set("sigma_max", json!(sigma));
        }
        set("interpolation_type", json!(if self.log_linear { "log_linear" } else { "linear" }));
        set("timestep_type", json!("discrete"));
        set("final_sigmas_type", json!(self.final_sigma));
        set("solver_order", json!(self.solver_order));
        set("algorithm_type", json!(if self.stochastic { "sde-dpmsolver++" } else { "dpmsolver++" }));
        set("solver_type", json!(if self.heun { "heun" } else { "midpoint" }));
        set("lower_order_final", json!(self.lower_order_final));
        set("euler_at_final", json!(self.euler_at_final));
        set("variance_type", Value::Null);
        // JSON has no infinity, and it is the default.
        if self.lambda_min_clipped.is_finite() {
            set("lambda_min_clipped", json!(self.lambda_min_clipped));
        }
        set("original_inference_steps", json!(self.original_inference_steps));
        set("timestep_scaling", json!(self.timestep_scaling));
        all.insert("_class_name".to_owned(), json!(self.class.name()));
        all.insert("_diffusers_version".to_owned(), json!("0.42.1"));
        if let Some(timestep) = self.one_step_timestep {
            all.insert("one_step_timestep".to_owned(), json!(timestep));
        }
        if let Some(spacing) = self.teacher_timestep_spacing {
            all.insert("teacher_timestep_spacing".to_owned(), json!(spacing));
        }
        all.sort_keys();
        format!("{:#}\n", Value::Object(all))
    }

    /// Whether the values make a schedule; what [`Self::from_json`] returns has passed.
    ///
    /// # Errors
    /// The first key with a value that cannot be used.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let refuse = |key: &str, value: Value, reason: &str| {
            Err(ConfigError::Key { config: WHAT, key: key.to_owned(), value: value.to_string(), reason: reason.to_owned() })
        };
        let count = self.num_train_timesteps;
        if !(1..=100_000).contains(&count) {
            return refuse("num_train_timesteps", json!(count), "must be within 1..=100000");
        }
        let is_variance = |beta: f64| beta > 0.0 && beta < 1.0;
        match &self.trained_betas {
            Some(betas) if betas.len() != count => {
                return refuse("trained_betas", json!(format!("{} numbers", betas.len())), &format!("must be num_train_timesteps = {count} numbers"));
            }
            Some(betas) => {
                if let Some(&beta) = betas.iter().find(|&&beta| !is_variance(beta)) {
                    return refuse("trained_betas", json!(beta), "each must be between 0 and 1");
                }
            }
            None => {
                for (key, beta) in [("beta_start", self.beta_start), ("beta_end", self.beta_end)] {
                    if !is_variance(beta) {
                        return refuse(key, json!(beta), "must be between 0 and 1");
                    }
                }
            }
        }
        if self.steps_offset >= count {
            return refuse("steps_offset", json!(self.steps_offset), "must be below num_train_timesteps");
        }
        if let Some(timestep) = self.one_step_timestep.filter(|&timestep| timestep >= count) {
            return refuse("one_step_timestep", json!(timestep), "must be below num_train_timesteps");
        }
        let without_sample = matches!(self.class, SchedulerClass::Pndm | SchedulerClass::EulerAncestralDiscrete);
        if without_sample && self.prediction_type == PredictionType::Sample {
            return refuse("prediction_type", json!(self.prediction_type), &format!("{} has none of that kind", self.class.name()));
        }
        if !(self.clip_sample_range.is_finite() && self.clip_sample_range > 0.0) {
            return refuse("clip_sample_range", json!(self.clip_sample_range), "must be above 0");
        }
        for (key, sigma) in [("sigma_min", self.sigma_min), ("sigma_max", self.sigma_max)] {
            if let Some(sigma) = sigma.filter(|sigma| !(sigma.is_finite() && *sigma > 0.0 && *sigma < 1e6)) {
                return refuse(key, json!(sigma), "must be between 0 and 1000000");
            }
        }
        // diffusers cuts these timesteps to whole numbers without rounding them, so that rounding errors in f32 decide between two.
        if self.class == SchedulerClass::DpmSolverMultistep {
            let what =
                "its timesteps depend on rounding errors in DPMSolverMultistepScheduler; use_karras_sigmas with another beta_schedule is implemented";
            if self.sigma_spacing == SigmaSpacing::Exponential {
                return refuse("use_exponential_sigmas", json!(true), what);
            }
            if self.sigma_spacing != SigmaSpacing::Timesteps && self.beta_schedule == BetaSchedule::SquaredCosine {
                return refuse("beta_schedule", json!(self.beta_schedule), what);
            }
        }
        if !(1..=3).contains(&self.solver_order) {
            return refuse("solver_order", json!(self.solver_order), "must be 1, 2 or 3");
        }
        if self.lambda_min_clipped.is_nan() || self.lambda_min_clipped == f64::INFINITY {
            return refuse("lambda_min_clipped", json!(self.lambda_min_clipped.to_string()), "must be a number or -Infinity");
        }
        if !(1..=count).contains(&self.original_inference_steps) && self.class == SchedulerClass::Lcm {
            return refuse("original_inference_steps", json!(self.original_inference_steps), "must be within 1..=num_train_timesteps");
        }
        if !(self.timestep_scaling.is_finite() && self.timestep_scaling > 0.0 && self.timestep_scaling < 1e6) {
            return refuse("timestep_scaling", json!(self.timestep_scaling), "must be between 0 and 1000000");
        }
        self.noise_levels().map(|_| ())
    }

    /// α² of every timestep, for values that [`Self::validate`] has checked one by one.
    pub(crate) fn noise_levels(&self) -> Result<Vec<f64>, ConfigError> {
        let count = self.num_train_timesteps;
        let at = |from: f64, to: f64, i: usize| from + (to - from) * i as f64 / (count - 1).max(1) as f64;
        let cosine = |i: usize| ((i as f64 / count as f64 + 0.008) / 1.008 * std::f64::consts::FRAC_PI_2).cos().powi(2);
        let beta = |i: usize| match (&self.trained_betas, self.beta_schedule) {
            (Some(betas), _) => betas[i],
            (None, BetaSchedule::Linear) => at(self.beta_start, self.beta_end, i),
            (None, BetaSchedule::ScaledLinear) => at(self.beta_start.sqrt(), self.beta_end.sqrt(), i).powi(2),
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
            Err(ConfigError::Key { config: WHAT, key: key.to_owned(), value: format!("{:e}", levels[count - 1]), reason })
        };
        if levels[0] > 1.0 - LEAST {
            return refuse("alphas_cumprod", "the first noise level holds no noise; a larger beta_start is needed".to_owned());
        }
        if levels[count - 1] < LEAST {
            return refuse("alphas_cumprod", "the last noise level holds no signal; smaller variances, or fewer timesteps, are needed".to_owned());
        }
        if self.rescale_betas_zero_snr {
            // Algorithm 1 of Lin et al. 2024: α is shifted until the last one is 0, and stretched so that the first one stays.
            let (first, last) = (levels[0].sqrt(), levels[count - 1].sqrt());
            if first - last < LEAST {
                return refuse("rescale_betas_zero_snr", "needs noise levels that differ".to_owned());
            }
            for level in &mut levels {
                *level = ((level.sqrt() - last) * first / (first - last)).powi(2);
            }
            levels[count - 1] = if self.class.is_of_sigmas() { ZERO_SIGNAL } else { 0.0 };
        }
        Ok(levels)
    }
}
