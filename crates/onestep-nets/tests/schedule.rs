//! The noise schedule against diffusers' `DDIMScheduler`, which computes in f32.

mod fixture;

use burn::tensor::{Device, Tensor, TensorData};
use onestep_nets::{BetaSchedule, DdimStep, NoiseSchedule, SchedulerConfig, TimestepSpacing, add_noise};
use serde_json::Value;

fn floats(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect()
}

fn latent(value: &Value, batch: usize, device: &Device) -> Tensor<4> {
    Tensor::<4>::from_data(TensorData::new(floats(value), [1, 1, 2, 2]), device).repeat_dim(0, batch)
}

fn close(what: &str, ours: Tensor<4>, expected: &Value, tolerance: f64) {
    let ours: Vec<f32> = ours.into_data().iter::<f32>().collect();
    let error = fixture::relative_l2(&ours, &floats(expected));
    assert!(error <= tolerance, "{what}: {error:.2e}");
}

#[test]
fn numbers_of_diffusers() {
    let device = Device::flex();
    let cases: Vec<Value> = serde_json::from_slice(&fixture::read("schedules.json")).unwrap();
    assert!(!cases.is_empty());
    for case in &cases {
        let config = SchedulerConfig::from_json(&case["config"].to_string()).unwrap();
        let schedule = NoiseSchedule::new(&config).unwrap();
        for pick in case["alphas_cumprod"].as_array().unwrap() {
            let (t, expected) = (pick[0].as_u64().unwrap() as usize, pick[1].as_f64().unwrap());
            let error = (schedule.alphas_cumprod()[t] / expected - 1.0).abs();
            assert!(error < 2e-5, "{config:?} at {t}: {error:.2e}");
        }
        for (steps, expected) in case["timesteps"].as_object().unwrap() {
            let ours: Vec<usize> = schedule.timesteps(steps.parse().unwrap()).unwrap().iter().map(|step| step.timestep).collect();
            let expected: Vec<usize> = expected.as_array().unwrap().iter().map(|t| t.as_u64().unwrap() as usize).collect();
            assert_eq!(ours, expected, "{config:?} in {steps} steps");
        }
        let noisy = add_noise(&schedule, latent(&case["sample"], 2, &device), latent(&case["eps"], 2, &device), &[17, 399]);
        close(&format!("{config:?} noise"), noisy, &case["noisy_17_399"], 1e-5);
    }
}

#[test]
fn levels_of_stable_diffusion() {
    let schedule = NoiseSchedule::new(&SchedulerConfig::default()).unwrap();
    for (t, abar) in [(0, 0.999150), (19, 0.982244), (399, 0.426086), (999, 0.004660)] {
        assert!((schedule.alphas_cumprod()[t] - abar).abs() < 1e-6, "{t}");
        assert!((schedule.alpha(t).powi(2) + schedule.sigma(t).powi(2) - 1.0).abs() < 1e-15);
    }
    let fifty = schedule.timesteps(50).unwrap();
    assert_eq!(fifty[0], DdimStep { timestep: 999, previous: Some(979) });
    assert_eq!(fifty[49], DdimStep { timestep: 19, previous: None });
    assert!(schedule.timesteps(0).is_err());
    assert!(schedule.timesteps(1001).is_err());
    assert!(schedule.check(1000).is_err());
}

#[test]
fn a_configuration_survives_writing() {
    let config = SchedulerConfig::default();
    assert_eq!(SchedulerConfig::from_json(&config.to_json()).unwrap(), config);
}

#[test]
fn what_is_not_implemented_is_refused_by_key() {
    for (json, key) in [
        (r#"{"prediction_type": "v_prediction"}"#, "prediction_type"),
        (r#"{"_class_name": "DDIMScheduler"}"#, "clip_sample"),
        (r#"{"timestep_spacing": "linspace"}"#, "timestep_spacing"),
        (r#"{"beta_schedule": "squaredcos_cap_v2"}"#, "beta_schedule"),
        (r#"{"beta_end": 1.5}"#, "beta_end"),
        (r#"{"num_train_timesteps": 0}"#, "num_train_timesteps"),
        (r#"{"num_train_timesteps": "many"}"#, "num_train_timesteps"),
        ("[]", "JSON object"),
    ] {
        let error = SchedulerConfig::from_json(json).unwrap_err().to_string();
        assert!(error.contains(key), "{json}: {error}");
    }
}

/// Every class brings its own defaults for what its file leaves out.
#[test]
fn classes_are_known_with_their_own_defaults_or_refused_by_name() {
    let read = |class: &str, more: &str| SchedulerConfig::from_json(&format!(r#"{{"_class_name": "{class}"{more}}}"#));
    let told = |class: &str, more: &str| read(class, more).unwrap_err().to_string();
    for class in ["FlowMatchEulerDiscreteScheduler", "EDMEulerScheduler", "DDIMInverseScheduler", "ddimscheduler", ""] {
        assert!(told(class, "").contains(&format!("_class_name = {class:?}: a noise process that is not implemented")), "{class}");
        assert!(!SchedulerConfig::knows(class));
    }
    for class in ["EulerDiscreteScheduler", "UniPCMultistepScheduler", "DPMSolverSinglestepScheduler", "LMSDiscreteScheduler"] {
        assert!(told(class, "").contains(&format!("timestep_spacing = (absent): means \"linspace\" in {class}")), "{}", told(class, ""));
        assert!(SchedulerConfig::knows(class) && read(class, r#", "timestep_spacing": "trailing""#).is_ok());
    }
    for class in ["DDIMScheduler", "DDPMScheduler"] {
        assert!(told(class, "").contains("clip_sample = (absent): means true"), "{class}");
        assert!(read(class, r#", "clip_sample": false"#).unwrap().set_alpha_to_one);
    }
    let plain = read("PNDMScheduler", "").unwrap();
    assert!(!plain.set_alpha_to_one && plain.timestep_spacing == TimestepSpacing::Leading && plain.beta_start == 0.0001);
    let consistent = read("LCMScheduler", "").unwrap();
    assert!(consistent.beta_end == 0.012 && consistent.beta_schedule == BetaSchedule::ScaledLinear && consistent.set_alpha_to_one);
    assert!(told("DPMSolverMultistepScheduler", r#", "timestep_spacing": "trailing", "use_flow_sigmas": true"#).contains("use_flow_sigmas"));
}

/// diffusers saves what Python's json writes; a word that is no number is an error where it is read.
#[test]
fn numbers_that_json_has_not_are_read_where_nobody_asks_for_them() {
    let file = |key: &str, value: &str| {
        format!(
            r#"{{"_class_name": "DPMSolverMultistepScheduler", "beta_end": 0.012, "beta_schedule": "scaled_linear", "lambda_min_clipped": -Infinity,
            "timestep_spacing": "trailing", "{key}": {value}}}"#
        )
    };
    let config = SchedulerConfig::from_json(&file("beta_start", "0.00085")).unwrap();
    assert_eq!(config, SchedulerConfig { steps_offset: 0, set_alpha_to_one: true, ..SchedulerConfig::default() });
    for (value, part) in [("NaN", "\"NaN\""), ("Infinity", "\"Infinity\""), ("-Infinity", "\"-Infinity\"")] {
        let told = SchedulerConfig::from_json(&file("beta_start", value)).unwrap_err().to_string();
        assert!(told.contains("beta_start") && told.contains(part), "{told}");
    }
}

#[test]
fn text_that_is_no_configuration_is_told_as_what_it_is() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for (text, part) in [
        ("", "empty"),
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
