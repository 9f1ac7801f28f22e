//! `onestep bench`: how long a bundle's components take on this machine.

use std::io::{self, BufRead};
use std::path::PathBuf;
use std::time::Instant;

use onestep::{Backend, GenerateOptions, KernelCost, Model};
use onestep_program::{Program, TensorRef};
use onestep_store::{FileDestination, FileFormat, tensor_bytes};
use serde_json::json;

use crate::clock::{self, Clock};
use crate::exit::{Exit, Failure};
use crate::shared::Shared;
use crate::tensors::{self, Tensors};
use crate::{bundle_folder, output};

/// Measure how long a bundle's components and whole images take.
///
/// A component is measured from tensors in main memory to tensors in main memory. The components take turns, after one uncounted round.
/// `cargo xtask bench` compares the times with those of other systems.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  onestep bench models/emoji --device webgpu\n  onestep bench models/emoji --device cpu --repeats 50 --json\n  \
                        onestep bench models/emoji --kernels")]
pub struct Bench {
    /// Folder of the bundle; by default models/emoji or bundle, here or next to the program
    #[arg(value_name = "DIR")]
    bundle: Option<PathBuf>,
    /// Device that runs the model
    #[arg(long, value_enum, default_value_t)]
    device: BenchDevice,
    /// Number of measured rounds
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(..=1_000_000))]
    repeats: usize,
    /// Prompt of the image
    #[arg(long, default_value = "red heart")]
    prompt: String,
    /// Seed of the noise
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write the inputs and outputs of all components to this safetensors file, to compare with another system
    #[arg(long, value_name = "FILE", help_heading = "Comparison with other systems")]
    tensors: Option<PathBuf>,
    /// Print the relative L2 difference of the outputs from a file that --tensors wrote
    #[arg(long, value_name = "FILE", help_heading = "Comparison with other systems")]
    against: Option<PathBuf>,
    /// Print the time of each kernel in one image, slowest first
    #[arg(long)]
    kernels: bool,
    /// Run the component that each line of standard input names and print its time as a line of JSON, so that a benchmark can alternate between
    /// systems
    #[arg(long, help_heading = "Comparison with other systems")]
    on_request: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum BenchDevice {
    /// A GPU, through wgpu
    #[default]
    Webgpu,
    /// The CPU
    Cpu,
}

/// The name of a whole image among the components.
const IMAGE: &str = "image";
const COMPONENTS: [&str; 3] = ["text_encoder", "generator", "decoder"];

/// A model and the inputs of each of its components.
struct Timed {
    model: Model,
    options: GenerateOptions,
    ids: Vec<i32>,
    noise: Vec<f32>,
    states: Vec<f32>,
    latents: Vec<f32>,
    sample: Vec<f32>,
}

impl Bench {
    /// Measures and prints a line for each component.
    pub fn run(self, shared: &Shared) -> Result<(), Failure> {
        let folder = bundle_folder::find(self.bundle.as_deref())?;
        let destination = self.tensors.as_ref().map(|path| FileDestination::acquire(path, FileFormat::SAFETENSORS, &[&folder])).transpose()?;
        let bundle = bundle_folder::open(&folder)?;
        let shapes = self.tensors.as_ref().map(|_| shapes(&bundle)).transpose()?;
        let backend = match self.device {
            BenchDevice::Webgpu => Backend::WebGpu,
            BenchDevice::Cpu => Backend::Cpu,
        };
        let begun = Instant::now();
        let model = bundle_folder::open_model(&folder, bundle, backend, &mut Clock::new())?;
        let opened = milliseconds(begun);
        let mut timed = Timed::new(model, GenerateOptions { prompt: self.prompt.clone(), noise: self.seed.into(), ..GenerateOptions::default() })?;
        if let (Some(destination), Some(shapes)) = (destination, shapes) {
            destination.write(&tensor_bytes(&timed.tensors(shapes)))?;
        }
        let mut facts = json!({ "device": timed.model.device().to_string(), "bundle": timed.model.id(), "opened_ms": opened });
        if let Some(path) = &self.against {
            facts["agreement"] = timed.agreement(&tensors::read(path)?)?;
        }
        if self.on_request { timed.answer(&facts) } else { self.count(timed, facts, shared) }
    }

    fn count(&self, mut timed: Timed, mut facts: serde_json::Value, shared: &Shared) -> Result<(), Failure> {
        let names = [COMPONENTS[0], COMPONENTS[1], COMPONENTS[2], IMAGE];
        let mut times = vec![Vec::with_capacity(self.repeats); names.len()];
        for round in 0..=self.repeats {
            for (name, times) in names.iter().zip(&mut times) {
                let took = timed.once(name)?;
                if round > 0 {
                    times.push(took);
                }
            }
        }
        let mut costs = if self.kernels { pollster::block_on(timed.model.profile(&timed.options, clock::milliseconds))? } else { Vec::new() };
        costs.sort_by(|a, b| b.milliseconds.total_cmp(&a.milliseconds));
        facts["memory_bytes"] = json!(timed.model.memory());
        if shared.json {
            if self.kernels {
                facts["kernels"] = costs.iter().map(kernel_json).collect();
            }
            facts["milliseconds"] = names.iter().zip(&times).map(|(name, times)| ((*name).to_owned(), json!(times))).collect();
            return output::json(&facts);
        }
        if !shared.quiet {
            output::message(&format!("{}, {} rounds, milliseconds", timed.model.device(), self.repeats));
        }
        for (name, mut times) in names.into_iter().zip(times) {
            times.sort_by(f64::total_cmp);
            if let (Some(least), Some(median), Some(most)) = (times.first(), times.get(times.len() / 2), times.last()) {
                output::data(&format!("{name:12} median {median:9.2}  least {least:9.2}  most {most:9.2}"))?;
            }
        }
        for KernelCost { component, kernel, runs, milliseconds } in &costs {
            output::data(&format!("{component:12} {kernel:32} {runs:4} runs {milliseconds:9.3}"))?;
        }
        if !shared.quiet {
            output::message(&format!("{:.1} MB in use", timed.model.memory() as f64 / 1e6));
        }
        Ok(())
    }
}

impl Timed {
    /// Runs every component once, each on what the one before gave.
    fn new(mut model: Model, options: GenerateOptions) -> Result<Self, Failure> {
        let ids = model.prompt(&options.prompt)?.ids;
        let noise = options.noise.values(&model.manifest().generation.latent)?;
        let states = only(&mut model, COMPONENTS[0], &[("input_ids", TensorRef::I32(&ids))])?;
        let latents = only(&mut model, COMPONENTS[1], &[("noise", TensorRef::F32(&noise)), ("encoder_hidden_states", TensorRef::F32(&states))])?;
        let sample = only(&mut model, COMPONENTS[2], &[("latents", TensorRef::F32(&latents))])?;
        Ok(Self { model, options, ids, noise, states, latents, sample })
    }

    /// Milliseconds of one run of a component or of a whole image.
    fn once(&mut self, name: &str) -> Result<f64, Failure> {
        let inputs = match name {
            "text_encoder" => vec![("input_ids", TensorRef::I32(&self.ids))],
            "generator" => vec![("noise", TensorRef::F32(&self.noise)), ("encoder_hidden_states", TensorRef::F32(&self.states))],
            "decoder" => vec![("latents", TensorRef::F32(&self.latents))],
            IMAGE => {
                // So that the prompt is encoded again: a model remembers the last one, but not across this.
                pollster::block_on(self.model.run(COMPONENTS[0], &[("input_ids", TensorRef::I32(&self.ids))]))?;
                let begun = Instant::now();
                pollster::block_on(self.model.generate(&self.options, &mut ()))?;
                return Ok(milliseconds(begun));
            }
            other => return Err(Failure::new(Exit::Usage, format!("{other:?} is neither a component ({}) nor {IMAGE}", COMPONENTS.join(", ")))),
        };
        let begun = Instant::now();
        pollster::block_on(self.model.run(name, &inputs))?;
        Ok(milliseconds(begun))
    }

    /// One line in, one line out, until there are no more.
    fn answer(&mut self, facts: &serde_json::Value) -> Result<(), Failure> {
        output::json(facts)?;
        for line in io::stdin().lock().lines() {
            let line = line.map_err(|error| Failure::new(Exit::Input, format!("reading what to time: {error}")))?;
            let took = self.once(line.trim())?;
            output::json(&json!({ "ms": took }))?;
        }
        Ok(())
    }

    /// For each component the relative L2 difference of its output compared with another system's tensors for the same prompt and seed.
    fn agreement(&self, others: &Tensors) -> Result<serde_json::Value, Failure> {
        let mut found = serde_json::Map::new();
        for (component, name, ours) in [
            (COMPONENTS[0], "encoder_hidden_states", &self.states),
            (COMPONENTS[1], "latents", &self.latents),
            (COMPONENTS[2], "sample", &self.sample),
        ] {
            let other = others.get(name).map(|given| &given.data).filter(|data| data.len() == ours.len());
            let other = other.ok_or_else(|| Failure::new(Exit::Input, format!("the tensors to compare with have no {name} of this size")))?;
            let square = |value: f32| f64::from(value) * f64::from(value);
            let difference: f64 = ours.iter().zip(other).map(|(&a, &b)| square(a - b)).sum();
            let norm: f64 = other.iter().map(|&value| square(value)).sum();
            found.insert(component.into(), json!((difference / norm).sqrt()));
        }
        Ok(found.into())
    }

    fn tensors(&self, shapes: Shapes) -> Vec<(String, Vec<usize>, Vec<f32>)> {
        let ids = self.ids.iter().map(|&id| id as f32).collect();
        let data = [ids, self.noise.clone(), self.states.clone(), self.latents.clone(), self.sample.clone()];
        shapes.into_iter().zip(data).map(|((name, shape), data)| (name, shape, data)).collect()
    }
}

fn kernel_json(KernelCost { component, kernel, runs, milliseconds }: &KernelCost) -> serde_json::Value {
    json!({ "component": component, "kernel": kernel, "runs": runs, "milliseconds": milliseconds })
}

type Shapes = Vec<(String, Vec<usize>)>;

/// Names and shapes of ids, noise, states, latents and sample.
fn shapes(bundle: &onestep_program::Bundle) -> Result<Shapes, Failure> {
    let mut found = Vec::new();
    let mut take = |component: &str, port: &str| -> Result<(), Failure> {
        let program: &Program = bundle.program(component).map_err(onestep::Error::from)?;
        let shape =
            program.inputs.iter().chain(&program.outputs).find(|other| other.name == port).map(|port| program.value(port.value).shape.clone());
        found.push((port.to_owned(), shape.ok_or_else(|| Failure::new(Exit::Input, format!("{component} has no {port}")))?));
        Ok(())
    };
    take("text_encoder", "input_ids")?;
    take("generator", "noise")?;
    take("generator", "encoder_hidden_states")?;
    take("generator", "latents")?;
    take("decoder", "sample")?;
    Ok(found)
}

/// The one output of a component.
fn only(model: &mut Model, component: &str, inputs: &[(&str, TensorRef<'_>)]) -> Result<Vec<f32>, Failure> {
    let outputs = pollster::block_on(model.run(component, inputs))?;
    outputs.into_iter().next().map(|(_, data)| data).ok_or_else(|| Failure::new(Exit::Input, format!("{component} computed nothing")))
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}
