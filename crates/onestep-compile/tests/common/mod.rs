//! A module computed twice: by burn on flex, and as a program.
#![allow(dead_code, unreachable_pub)]

use burn::{
    module::Module,
    tensor::{Device, Int, Tensor, TensorData},
};
use onestep_compile::{Compiled, Names, Options, Passes, Ports, compile};
use onestep_cpu::CpuProgram;
use onestep_program::{Histogram, TensorRef};

/// Reproducible values between -1 and 1.
pub fn noise(count: usize, seed: u64) -> Vec<f32> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..count).map(|_| random.f32() * 2.0 - 1.0).collect()
}

/// The elements of an input.
#[derive(Clone, Debug)]
pub enum Elements {
    Floats(Vec<f32>),
    Ids(Vec<i32>),
}

/// Stands for [`Ports`] when the module is computed by burn.
pub struct Eager {
    device: Device,
    /// Ids are below this.
    pub vocabulary: i32,
    pub inputs: Vec<(String, Elements)>,
    pub outputs: Vec<(String, Vec<f32>)>,
}

impl Eager {
    pub fn new(vocabulary: i32) -> Self {
        Self { device: Device::flex(), vocabulary, inputs: Vec::new(), outputs: Vec::new() }
    }
    pub fn device(&self) -> &Device {
        &self.device
    }
    pub fn float<const D: usize>(&mut self, name: &str, shape: [usize; D]) -> Tensor<D> {
        let data = noise(shape.iter().product(), self.inputs.len() as u64 + 100);
        self.inputs.push((name.to_owned(), Elements::Floats(data.clone())));
        Tensor::from_data(TensorData::new(data, shape), &self.device)
    }
    pub fn ids<const D: usize>(&mut self, name: &str, shape: [usize; D]) -> Tensor<D, Int> {
        let data: Vec<i32> = noise(shape.iter().product(), self.inputs.len() as u64 + 100)
            .iter()
            .map(|v| ((v.abs() * self.vocabulary as f32) as i32).min(self.vocabulary - 1))
            .collect();
        self.inputs.push((name.to_owned(), Elements::Ids(data.clone())));
        Tensor::from_data(TensorData::new(data, shape), &self.device)
    }
    pub fn output<const D: usize>(&mut self, name: &str, value: Tensor<D>) {
        self.outputs.push((name.to_owned(), value.into_data().try_into_vec::<f32>().unwrap()));
    }
}

/// The distance of two vectors in lengths of the second.
pub fn relative(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let difference: f64 = found.iter().zip(expected).map(|(a, b)| f64::from(a - b).powi(2)).sum();
    let size: f64 = expected.iter().map(|b| f64::from(*b).powi(2)).sum();
    assert!(size > 0.0 && difference.is_finite(), "nothing to compare: {size} {difference}");
    (difference / size).sqrt()
}

pub fn run(compiled: &Compiled, inputs: &[(String, Elements)]) -> Vec<(String, Vec<f32>)> {
    let cpu = CpuProgram::new(compiled.program.clone(), &|name| compiled.weight(name)).unwrap();
    let given: Vec<(&str, TensorRef<'_>)> = inputs
        .iter()
        .map(|(name, data)| match data {
            Elements::Floats(data) => (name.as_str(), TensorRef::F32(data)),
            Elements::Ids(data) => (name.as_str(), TensorRef::I32(data)),
        })
        .collect();
    cpu.run(&given).unwrap()
}

/// Compares burn's result with the program's, with every pass, with none, and without each one; gives the full program.
pub fn check<M: Module>(
    module: &M,
    names: &Names,
    vocabulary: i32,
    bound: f64,
    every_pass: bool,
    forward: impl Fn(&M, &mut Ports),
    eager: impl Fn(&M, &mut Eager),
) -> Compiled {
    let mut expected = Eager::new(vocabulary);
    eager(module, &mut expected);
    let mut variants = vec![("none".to_owned(), Passes::none()), ("all".to_owned(), Passes::all())];
    if every_pass {
        for name in Passes::names() {
            variants.push((format!("without {name}"), Passes::all().without(name).unwrap()));
            variants.push((format!("only {name}"), Passes::only(&[name]).unwrap()));
        }
    }
    let mut full = None;
    for (variant, passes) in variants {
        let options = Options { passes, ..Options::default() };
        let compiled = compile("net", module, names, &options, &forward).unwrap();
        for ((name, found), (_, expected)) in run(&compiled, &expected.inputs).iter().zip(&expected.outputs) {
            let error = relative(found, expected);
            assert!(error <= bound, "{name} with passes {variant}: {error:.2e}\n{}", compiled.histogram());
            if variant == "all" || variant == "none" {
                eprintln!("{name} with passes {variant}: error {error:.2e}, {}", compiled.histogram());
            }
        }
        if variant == "all" {
            full = Some(compiled);
        }
    }
    full.unwrap()
}

/// The same body for capturing and for computing.
#[macro_export]
macro_rules! case {
    ($module:expr, $names:expr, $vocabulary:expr, $bound:expr, $every:expr, |$net:ident, $io:ident| $body:block) => {
        $crate::common::check(
            $module,
            $names,
            $vocabulary,
            $bound,
            $every,
            |$net, $io: &mut onestep_compile::Ports| $body,
            |$net, $io: &mut $crate::common::Eager| $body,
        )
    };
}

/// Asserts how many operations of each kind there are, none of any other kind.
pub fn assert_histogram(found: &Histogram, expected: &[(&'static str, usize)]) {
    let expected = Histogram(expected.iter().copied().collect());
    assert_eq!(found, &expected, "\nfound    {found}\nexpected {expected}");
}
