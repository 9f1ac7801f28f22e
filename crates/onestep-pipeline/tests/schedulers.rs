//! Schedulers against diffusers, on a small fixed function in place of a network: `tests/fixtures/schedulers`, made by
//! `tests/reference/schedulers.py`.

use std::path::PathBuf;

use onestep_pipeline::{
    config::{SchedulerClass, SchedulerConfig, object},
    one_step::{OneStep, guidance_embedding},
    schedule::NoiseSchedule,
    solver::{Latents, first_evaluation, solver},
};
use serde_json::Value;

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

fn relative_l2(ours: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(ours.len(), expected.len());
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
    norm(&mut ours.iter().zip(expected).map(|(a, b)| a - b)) / norm(&mut expected.iter().copied())
}

/// The inputs of all cases.
struct Inputs {
    file: Value,
    guidance: f64,
    a: Vec<f64>,
    b: Vec<f64>,
    c: Vec<f64>,
    d: Vec<f64>,
    z: Vec<f64>,
    image: Vec<f64>,
    noise: Vec<f64>,
}

impl Inputs {
    fn open() -> Self {
        let here = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
        let text = std::fs::read_to_string(here.join("../../tests/fixtures/schedulers/cases.json")).unwrap();
        // It holds -Infinity, as the files of some schedulers do.
        let file = Value::Object(object("the cases", &text).unwrap());
        let list = |key: &str| numbers(&file[key]);
        Self {
            guidance: file["guidance"].as_f64().unwrap(),
            a: list("a"),
            b: list("b"),
            c: list("c"),
            d: list("d"),
            z: list("z"),
            image: list("image"),
            noise: list("noise"),
            file,
        }
    }

    /// `tanh(A x + b sin(t/150) + c + d)` with guidance.
    fn network(&self, x: &[f64], t: f64) -> Vec<f64> {
        let size = x.len();
        let row = |i: usize| {
            let product: f64 = self.a[i * size..][..size].iter().zip(x).map(|(a, x)| a * x).sum();
            let bias = product + self.b[i] * (t / 150.0).sin() + self.c[i];
            let (without, given) = (bias.tanh(), (bias + self.d[i]).tanh());
            without + self.guidance * (given - without)
        };
        (0..size).map(row).collect()
    }
}

/// A vector of either precision.
trait Vector: Latents + 'static {
    fn from_f64(values: &[f64]) -> Self;
    fn to_f64(&self) -> Vec<f64>;
}

impl Vector for Vec<f64> {
    fn from_f64(values: &[f64]) -> Self {
        values.to_vec()
    }

    fn to_f64(&self) -> Vec<f64> {
        self.clone()
    }
}

impl Vector for Vec<f32> {
    fn from_f64(values: &[f64]) -> Self {
        values.iter().map(|&value| value as f32).collect()
    }

    fn to_f64(&self) -> Vec<f64> {
        self.iter().copied().map(f64::from).collect()
    }
}

/// Timesteps and final latents.
fn sample<L: Vector>(inputs: &Inputs, schedule: &NoiseSchedule, steps: usize, strength: Option<f64>) -> (Vec<f64>, Vec<f64>) {
    let mut solver = solver::<L>(schedule, steps).unwrap();
    let mut rows = inputs.noise.chunks(inputs.z.len());
    let first = strength.map_or(0, |strength| first_evaluation(steps, strength));
    let timesteps = solver.timesteps().to_vec();
    let mut x = match strength {
        None => L::from_f64(&inputs.z).scale(solver.init_noise_sigma()),
        Some(_) => {
            let level = solver.noising(first);
            L::from_f64(&inputs.image).scale(level.alpha).add(L::from_f64(&inputs.z).scale(level.sigma))
        }
    };
    for (index, &timestep) in timesteps.iter().enumerate().skip(first) {
        let input = x.clone().scale(solver.input_scale(index));
        let output = L::from_f64(&inputs.network(&input.to_f64(), timestep));
        let stochastic = solver.is_stochastic();
        x = solver.step(index, x, output, &mut || {
            assert!(stochastic, "fresh noise");
            L::from_f64(rows.next().unwrap())
        });
    }
    (timesteps[first..].to_vec(), x.to_f64())
}

#[test]
fn final_latents_are_those_of_diffusers() {
    let inputs = Inputs::open();
    let cases = inputs.file["cases"].as_array().unwrap();
    assert!(cases.len() > 250, "{}", cases.len());
    let (mut worst, mut failures) = (0.0f64, Vec::new());
    for case in cases {
        let text = case["config"].to_string();
        let config = match case["as"].as_str() {
            Some(name) => SchedulerConfig::from_json_as(&text, SchedulerClass::from_name(name).unwrap()),
            None => SchedulerConfig::from_json(&text),
        }
        .unwrap_or_else(|error| panic!("{text}: {error}"));
        // What is written is what was read.
        assert_eq!(SchedulerConfig::from_json(&config.to_json()).unwrap(), config, "{text}");
        let schedule = NoiseSchedule::new(&config).unwrap();
        let (steps, strength) = (case["steps"].as_u64().unwrap() as usize, case.get("strength").and_then(Value::as_f64));
        let expected = (numbers(&case["timesteps"]), numbers(&case["latents"]));
        for (found, bound) in
            [(sample::<Vec<f64>>(&inputs, &schedule, steps, strength), 2e-5), (sample::<Vec<f32>>(&inputs, &schedule, steps, strength), 1e-4)]
        {
            let same = found.0.len() == expected.0.len() && found.0.iter().zip(&expected.0).all(|(a, b)| (a - b).abs() < 0.05);
            let error = relative_l2(&found.1, &expected.1);
            worst = worst.max(error);
            if !same || error.is_nan() || error > bound {
                failures.push(format!(
                    "{error:.1e} {steps} {strength:?} {:?} {text}{}",
                    case["as"],
                    if same { String::new() } else { format!(" timesteps {:?} {:?}", found.0, expected.0) }
                ));
            }
        }
    }
    assert!(failures.is_empty(), "{} of {}, worst {worst:.1e}\n{}", failures.len(), cases.len(), failures.join("\n"));
}

#[test]
fn one_step_rules_are_single_steps_of_diffusers() {
    let inputs = Inputs::open();
    let cases = inputs.file["one_step"].as_array().unwrap();
    assert!(cases.len() > 15);
    for case in cases {
        let config = SchedulerConfig::from_json(&case["config"].to_string()).unwrap();
        let schedule = NoiseSchedule::new(&config).unwrap();
        let kind = OneStep::from_name(case["rule"].as_str().unwrap()).unwrap();
        let rule = kind.rule(&schedule, case["timestep"].as_u64().map(|timestep| timestep as usize)).unwrap();
        assert_eq!(rule.timestep, case["at"].as_f64().unwrap(), "{case}");
        let output = inputs.network(&inputs.z.clone().scale(rule.input), rule.timestep);
        let latents = inputs.z.clone().scale(rule.sample).add(output.scale(rule.output));
        let error = relative_l2(&latents, &numbers(&case["latents"]));
        assert!(error < 1e-5, "{error:.1e} {case}");
    }
}

#[test]
fn guidance_is_embedded_as_diffusers_embeds_it() {
    let inputs = Inputs::open();
    for case in inputs.file["embeddings"].as_array().unwrap() {
        let embedding = guidance_embedding(case["w"].as_f64().unwrap(), case["size"].as_u64().unwrap() as usize);
        let embedding: Vec<f64> = embedding.into_iter().map(f64::from).collect();
        // Angles of 7500 have an error of 0.0005 in f32, in the library as here.
        let error = relative_l2(&embedding, &numbers(&case["embedding"]));
        assert!(error < 5e-4, "{error:.1e} {case}");
    }
}
