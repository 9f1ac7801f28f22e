//! What scheduler files say, and which are refused.

use onestep_pipeline::{
    config::{BetaSchedule, PredictionType, SchedulerClass, SchedulerConfig, TimestepSpacing},
    one_step::{OneStep, OneStepRule},
    schedule::NoiseSchedule,
    solver::{first_evaluation, solver, timesteps},
};
use serde_json::{Value, json};

fn read(class: &str, more: &str) -> Result<SchedulerConfig, String> {
    SchedulerConfig::from_json(&format!(r#"{{"_class_name": "{class}"{more}}}"#)).map_err(|error| error.to_string())
}

fn schedule(config: Value) -> NoiseSchedule {
    NoiseSchedule::new(&SchedulerConfig::from_json(&config.to_string()).unwrap()).unwrap()
}

#[test]
fn levels_of_stable_diffusion() {
    let schedule = NoiseSchedule::new(&SchedulerConfig::default()).unwrap();
    for (t, abar) in [(0, 0.999150), (19, 0.982244), (399, 0.426086), (999, 0.004660)] {
        assert!((schedule.alphas_cumprod()[t] - abar).abs() < 1e-6, "{t}");
        assert!((schedule.alpha(t).powi(2) + schedule.sigma(t).powi(2) - 1.0).abs() < 1e-15);
    }
    let fifty = timesteps(&schedule, 50).unwrap();
    assert_eq!((fifty.len(), fifty[0], fifty[49]), (50, 999.0, 19.0));
    for steps in [0, 1001] {
        assert!(timesteps(&schedule, steps).unwrap_err().to_string().contains("num_train_timesteps = 1000"));
    }
    assert!(schedule.check(1000).is_err());
}

/// The numbers of steps at which numpy's `arange` gives diffusers one timestep too many, −1.
#[test]
fn trailing_timesteps_are_as_many_as_asked_for() {
    let schedule = NoiseSchedule::new(&SchedulerConfig::default()).unwrap();
    for steps in [61, 103, 121, 122, 201] {
        let found = timesteps(&schedule, steps).unwrap();
        assert_eq!(found.len(), steps);
        assert!(found.iter().all(|&timestep| timestep >= 0.0) && found.is_sorted_by(|a, b| a > b), "{steps}");
    }
}

/// As published with Stable Diffusion: its first step is taken twice.
#[test]
fn pndm_evaluates_once_more_than_it_steps() {
    let file = r#", "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "skip_prk_steps": true, "steps_offset": 1"#;
    let schedule = NoiseSchedule::new(&read("PNDMScheduler", file).unwrap()).unwrap();
    let found = timesteps(&schedule, 50).unwrap();
    assert_eq!((found.len(), &found[..4], found[50]), (51, &[981.0, 961.0, 961.0, 941.0][..], 1.0));
    let runge_kutta = NoiseSchedule::new(&read("PNDMScheduler", "").unwrap()).unwrap();
    let told = timesteps(&runge_kutta, 3).unwrap_err().to_string();
    assert!(told.contains("at least 4 steps"), "{told}");
}

#[test]
fn a_configuration_survives_writing() {
    for class in SchedulerClass::ALL.map(|(_, class)| class) {
        let config = SchedulerConfig { class, ..SchedulerConfig::default() };
        let written = SchedulerConfig::from_json(&config.to_json()).unwrap();
        assert_eq!(SchedulerConfig::from_json(&written.to_json()).unwrap(), written);
        assert_eq!((written.class, written.beta_end, written.timestep_spacing), (class, 0.012, TimestepSpacing::Trailing));
    }
    assert_eq!(SchedulerConfig::from_json(&SchedulerConfig::default().to_json()).unwrap(), SchedulerConfig::default());
}

/// Every class brings its own defaults for what its file leaves out.
#[test]
fn classes_are_known_with_their_own_defaults_or_refused_by_name() {
    for class in ["FlowMatchEulerDiscreteScheduler", "EDMEulerScheduler", "DDIMInverseScheduler", "ddimscheduler", "ddim", ""] {
        let told = read(class, "").unwrap_err();
        assert!(told.contains(&format!("_class_name = {class:?}: a noise process that is not implemented")), "{told}");
        assert!(!SchedulerConfig::knows(class));
    }
    for class in ["UniPCMultistepScheduler", "DDPMScheduler", "TCDScheduler"] {
        let told = read(class, "").unwrap_err();
        assert!(SchedulerConfig::knows(class) && told.contains(class) && told.contains("DPMSolverMultistepScheduler"), "{told}");
    }
    let ddim = read("DDIMScheduler", "").unwrap();
    assert!(ddim.clip_sample && ddim.set_alpha_to_one && ddim.timestep_spacing == TimestepSpacing::Leading);
    // Without a class, clipping is not the default.
    assert!(!SchedulerConfig::from_json("{}").unwrap().clip_sample);
    let plain = read("PNDMScheduler", "").unwrap();
    assert!(!plain.set_alpha_to_one && plain.timestep_spacing == TimestepSpacing::Leading && plain.beta_start == 0.0001);
    let euler = read("EulerDiscreteScheduler", "").unwrap();
    assert!(euler.timestep_spacing == TimestepSpacing::Linspace && euler.beta_schedule == BetaSchedule::Linear);
    let consistent = read("LCMScheduler", "").unwrap();
    assert!(consistent.beta_end == 0.012 && consistent.beta_schedule == BetaSchedule::ScaledLinear && consistent.original_inference_steps == 50);
    // A key that the class does not have means nothing.
    assert_eq!(read("PNDMScheduler", r#", "use_karras_sigmas": true, "clip_sample": true, "rescale_betas_zero_snr": true"#).unwrap(), plain);
}

#[test]
fn what_is_not_implemented_is_refused_by_key() {
    for (class, key, value) in [
        ("DDIMScheduler", "prediction_type", r#""flow_prediction""#),
        ("DDIMScheduler", "timestep_spacing", r#""log""#),
        ("DDIMScheduler", "thresholding", "true"),
        ("DDIMScheduler", "beta_schedule", r#""sigmoid""#),
        ("DDIMScheduler", "beta_end", "1.5"),
        ("DDIMScheduler", "beta_start", "0"),
        ("DDIMScheduler", "clip_sample_range", "0"),
        ("DDIMScheduler", "num_train_timesteps", "0"),
        ("DDIMScheduler", "num_train_timesteps", "100001"),
        ("DDIMScheduler", "num_train_timesteps", r#""many""#),
        ("DDIMScheduler", "trained_betas", "[0.1, 0.2]"),
        ("DDIMScheduler", "one_step_timestep", "1000"),
        ("DDIMScheduler", "steps_offset", "1000"),
        ("DDIMScheduler", "steps_offset", "-1"),
        ("PNDMScheduler", "prediction_type", r#""sample""#),
        ("EulerAncestralDiscreteScheduler", "prediction_type", r#""sample""#),
        ("EulerDiscreteScheduler", "use_beta_sigmas", "true"),
        ("EulerDiscreteScheduler", "timestep_type", r#""continuous""#),
        ("EulerDiscreteScheduler", "interpolation_type", r#""cubic""#),
        ("EulerDiscreteScheduler", "final_sigmas_type", r#""one""#),
        ("EulerDiscreteScheduler", "sigma_min", "-1"),
        ("DPMSolverMultistepScheduler", "use_flow_sigmas", "true"),
        ("DPMSolverMultistepScheduler", "use_exponential_sigmas", "true"),
        ("DPMSolverMultistepScheduler", "algorithm_type", r#""dpmsolver""#),
        ("DPMSolverMultistepScheduler", "solver_type", r#""cubic""#),
        ("DPMSolverMultistepScheduler", "solver_order", "4"),
        ("DPMSolverMultistepScheduler", "variance_type", r#""learned_range""#),
        ("DPMSolverMultistepScheduler", "lambda_min_clipped", "NaN"),
        ("DPMSolverMultistepScheduler", "lambda_min_clipped", "Infinity"),
        ("LCMScheduler", "original_inference_steps", "0"),
        ("LCMScheduler", "timestep_scaling", "0"),
    ] {
        let told = read(class, &format!(r#", "{key}": {value}"#)).unwrap_err();
        assert!(told.contains(&format!("{key} = ")), "{class}, {key} = {value}: {told}");
    }
    let told = read("EulerDiscreteScheduler", r#", "use_karras_sigmas": true, "use_exponential_sigmas": true"#).unwrap_err();
    assert!(told.contains("only one of"), "{told}");
    // Noise that no number of f32 holds.
    for more in [r#", "num_train_timesteps": 100000"#, r#", "beta_start": 1e-300, "beta_end": 1e-300"#] {
        assert!(read("EulerDiscreteScheduler", more).unwrap_err().contains("alphas_cumprod"), "{more}");
    }
}

/// diffusers saves what Python's json writes; a word that is no number is an error where it is read.
#[test]
fn numbers_that_json_has_not_are_read_where_they_mean_something() {
    let config = read("DPMSolverMultistepScheduler", r#", "lambda_min_clipped": -Infinity, "use_karras_sigmas": null"#).unwrap();
    assert_eq!(config.lambda_min_clipped, f64::NEG_INFINITY);
    for word in ["NaN", "Infinity", "-Infinity"] {
        let told = read("DPMSolverMultistepScheduler", &format!(r#", "beta_start": {word}"#)).unwrap_err();
        assert!(told.contains("beta_start") && told.contains(word), "{told}");
    }
}

#[test]
fn text_that_is_no_configuration_is_told_as_what_it_is() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for (text, part) in [
        ("", "empty"),
        ("[]", "JSON object"),
        ("version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        ("<!DOCTYPE html>", "HTML"),
        (deep.as_str(), "nesting of a JSON file"),
        ("{\"beta_start\": 0.1", "EOF"),
    ] {
        let told = SchedulerConfig::from_json(text).unwrap_err().to_string();
        assert!(told.contains(part), "{told}");
    }
    // As some editors save it.
    SchedulerConfig::from_json("\u{feff}{}").unwrap();
}

/// Another class reads the same file with its own defaults for what the file leaves out.
#[test]
fn a_file_is_read_as_another_class() {
    let file = r#"{"_class_name": "UniPCMultistepScheduler", "beta_end": 0.012, "solver_type": "bh2", "set_alpha_to_one": false}"#;
    for (name, class) in SchedulerClass::ALL {
        assert_eq!((SchedulerClass::from_name(name), SchedulerClass::from_name(class.name())), (Some(class), Some(class)));
        let config = SchedulerConfig::from_json_as(file, class).unwrap();
        assert_eq!((config.class, config.beta_end), (class, 0.012));
    }
    assert!(SchedulerConfig::from_json_as(file, SchedulerClass::Ddim).unwrap().clip_sample);
    assert!(!SchedulerConfig::from_json_as(file, SchedulerClass::Ddim).unwrap().set_alpha_to_one);
    assert_eq!(SchedulerClass::from_name("FlowMatchEulerDiscreteScheduler"), None);
}

/// Where there is no signal, ε says nothing about the image: diffusers divides by zero there.
#[test]
fn noise_without_signal_is_refused_for_epsilon() {
    let config = |prediction: &str| json!({"_class_name": "DDIMScheduler", "clip_sample": false, "timestep_spacing": "trailing", "rescale_betas_zero_snr": true, "prediction_type": prediction});
    let told = timesteps(&schedule(config("epsilon")), 10).unwrap_err().to_string();
    assert!(told.contains("timestep 999") && told.contains("rescale_betas_zero_snr"), "{told}");
    assert!(OneStepRule::at(&schedule(config("epsilon")), 999).is_err() && OneStepRule::at(&schedule(config("epsilon")), 998).is_ok());
    let zero = schedule(config("v_prediction"));
    assert_eq!((zero.alphas_cumprod()[999], timesteps(&zero, 10).unwrap()[0]), (0.0, 999.0));
    assert!(zero.alphas_cumprod()[998] > 0.0 && zero.alphas_cumprod().is_sorted_by(|a, b| a > b));
    assert_eq!(OneStepRule::at(&zero, 999).unwrap(), OneStepRule { timestep: 999.0, input: 1.0, sample: 0.0, output: -1.0, guidance: None });
    let mut euler = config("epsilon");
    euler["_class_name"] = "EulerDiscreteScheduler".into();
    assert_eq!(solver::<Vec<f64>>(&schedule(euler), 10).unwrap().init_noise_sigma(), (f64::from(1 << 24) - 1.0).sqrt());
}

#[test]
fn strength_is_the_fraction_of_the_steps_that_are_taken() {
    for (steps, strength, first) in [(10, 1.0, 0), (10, 0.75, 3), (10, 0.35, 7), (50, 0.8, 10), (10, 0.0, 10), (10, 9.0, 0), (3, f64::NAN, 0)] {
        assert_eq!(first_evaluation(steps, strength), first, "{steps} {strength}");
    }
}

#[test]
fn rules_are_found_in_the_files() {
    let detect = |file: &str, pipeline, size| OneStep::detect(&SchedulerConfig::from_json(file).unwrap(), pipeline, size);
    let (sd, turbo) = (r#"{"_class_name": "PNDMScheduler"}"#, r#"{"_class_name": "EulerDiscreteScheduler", "timestep_spacing": "trailing"}"#);
    assert_eq!(detect(sd, Some("StableDiffusionPipeline"), None), None);
    assert_eq!(detect(r#"{"_class_name": "EulerDiscreteScheduler", "timestep_spacing": "leading"}"#, None, None), None);
    assert_eq!(detect(turbo, Some("StableDiffusionPipeline"), None), Some(OneStep::Turbo));
    assert_eq!(detect(sd, None, Some(256)), Some(OneStep::Lcm));
    assert_eq!(detect(r#"{"_class_name": "LCMScheduler"}"#, None, None), Some(OneStep::Lcm));
    assert_eq!(detect(sd, Some("RectifiedFlowPipeline"), None), Some(OneStep::InstaFlow));
    assert!(OneStep::NAMES.iter().all(|(name, kind)| OneStep::from_name(name) == Some(*kind)) && OneStep::from_name("hyper").is_none());
}

/// z + v at time 1000, as `pipeline_rf.py` of InstaFlow computes it.
#[test]
fn a_rectified_flow_adds_its_velocity() {
    let rule = OneStep::InstaFlow.rule(&NoiseSchedule::new(&SchedulerConfig::default()).unwrap(), None).unwrap();
    assert_eq!(rule, OneStepRule { timestep: 1000.0, input: 1.0, sample: 1.0, output: 1.0, guidance: None });
}

/// σ/√(σ² + 1) = 0.9977 of the noise, and x̂₀ = (0.9977 z − σ ε)/α.
#[test]
fn turbo_scales_its_noise() {
    let schedule = NoiseSchedule::new(&SchedulerConfig { class: SchedulerClass::EulerDiscrete, ..SchedulerConfig::default() }).unwrap();
    let rule = OneStep::Turbo.rule(&schedule, None).unwrap();
    let (alpha, sigma) = (schedule.alpha(999), schedule.sigma(999));
    assert!((rule.input - 0.99767).abs() < 1e-5 && (rule.sample * alpha - rule.input).abs() < 1e-12 && (rule.output * alpha + sigma).abs() < 1e-12);
    assert!((rule.sample - 14.6146).abs() < 1e-3);
    assert!(OneStep::Turbo.rule(&schedule, Some(1000)).is_err());
}

/// diffusers' DDIM in one step evaluates at the same timestep, and returns the same.
#[test]
fn a_students_file_says_where_it_is_evaluated() {
    let teacher = SchedulerConfig { class: SchedulerClass::Pndm, prediction_type: PredictionType::VPrediction, ..SchedulerConfig::default() };
    for timestep in [0, 399, 998, 999] {
        let file = teacher.of_student(timestep).to_json();
        let config = SchedulerConfig::from_json(&file).unwrap();
        assert_eq!((config.class, config.prediction_type), (SchedulerClass::Ddim, PredictionType::VPrediction));
        assert_eq!(config.teacher_timestep_spacing, Some(TimestepSpacing::Trailing), "{file}");
        assert_eq!(OneStep::detect(&config, None, None), Some(OneStep::Student));
        let schedule = NoiseSchedule::new(&config).unwrap();
        let rule = OneStep::Student.rule(&schedule, None).unwrap();
        let mut ddim = solver::<Vec<f64>>(&schedule, 1).unwrap();
        assert_eq!((rule.timestep, ddim.timesteps()), (timestep as f64, &[timestep as f64][..]));
        // Coefficients of noise and output as the two elements of a latent.
        let result = ddim.step(0, vec![1.0, 0.0], vec![0.0, 1.0], &mut || unreachable!("fresh noise"));
        assert!((result[0] - rule.sample).abs() < 1e-9 && (result[1] - rule.output).abs() < 1e-9, "{result:?} {rule:?}");
    }
}
