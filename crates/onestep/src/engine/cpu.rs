//! The programs on the CPU.

use onestep_cpu::CpuProgram;
use onestep_program::{Bundle, TensorRef};

use crate::{
    backend::DeviceInfo,
    callbacks::{Callbacks, Stage, enter},
    error::Result,
    image::{finite, rgba},
    outputs::{Outputs, only},
    ports::{COMPONENTS, DECODER, GENERATOR, LATENTS, NOISE, TEXT_ENCODER, no_component, text_ports},
    profile::KernelCost,
    text_inputs::TextInputs,
};

pub(crate) struct Cpu {
    encoder: CpuProgram,
    generator: CpuProgram,
    decoder: CpuProgram,
    text_ports: &'static [(&'static str, &'static str)],
    /// The text encoder's outputs.
    states: Outputs,
    latents: Vec<f32>,
}

impl Cpu {
    pub(crate) fn open(bundle: &Bundle, callbacks: &mut dyn Callbacks) -> Result<Self> {
        let mut open = |done: usize, component: &str| -> Result<CpuProgram> {
            enter(callbacks, Stage::Compile { done, total: COMPONENTS.len() })?;
            Ok(CpuProgram::new(bundle.program(component)?.clone(), &|name| bundle.weight(name))?)
        };
        Ok(Self {
            encoder: open(0, TEXT_ENCODER)?,
            generator: open(1, GENERATOR)?,
            decoder: open(2, DECODER)?,
            text_ports: text_ports(bundle.manifest()),
            states: Vec::new(),
            latents: Vec::new(),
        })
    }

    pub(crate) fn device(&self) -> DeviceInfo {
        DeviceInfo { name: "CPU".into(), interface: "CPU".into(), software: true }
    }

    pub(crate) fn encode(&mut self, text: &TextInputs) -> Result<()> {
        self.states = self.encoder.run(&text.ports())?;
        self.states.iter().try_for_each(|(_, states)| finite(states, "text encoder"))
    }

    pub(crate) fn generate(&mut self, noise: &[f32]) -> Result<()> {
        self.latents = only(self.generator.run(&self.generator_inputs(noise))?)?;
        finite(&self.latents, "generator")
    }

    fn generator_inputs<'a>(&'a self, noise: &'a [f32]) -> Vec<(&'a str, TensorRef<'a>)> {
        let states = self.states.iter().filter_map(|(output, states)| {
            let (_, input) = self.text_ports.iter().find(|(name, _)| name == output)?;
            Some((*input, TensorRef::F32(states)))
        });
        std::iter::once((NOISE, TensorRef::F32(noise))).chain(states).collect()
    }

    pub(crate) fn decode(&mut self) -> Result<Vec<u8>> {
        let sample = only(self.decoder.run(&[(LATENTS, TensorRef::F32(&self.latents))])?)?;
        finite(&sample, "decoder")?;
        rgba(&sample)
    }

    pub(crate) fn profile(&mut self, text: &TextInputs, noise: &[f32], clock: fn() -> f64) -> Result<Vec<KernelCost>> {
        let mut costs = Vec::new();
        self.states = timed(&self.encoder, TEXT_ENCODER, &text.ports(), clock, &mut costs)?;
        self.latents = only(timed(&self.generator, GENERATOR, &self.generator_inputs(noise), clock, &mut costs)?)?;
        timed(&self.decoder, DECODER, &[(LATENTS, TensorRef::F32(&self.latents))], clock, &mut costs)?;
        Ok(costs)
    }

    pub(crate) fn memory(&self) -> u64 {
        [&self.encoder, &self.generator, &self.decoder].map(CpuProgram::bytes).iter().sum::<usize>() as u64
    }

    pub(crate) fn run(&mut self, component: &str, inputs: &[(&str, TensorRef<'_>)]) -> Result<Outputs> {
        let program = match component {
            TEXT_ENCODER => &self.encoder,
            GENERATOR => &self.generator,
            DECODER => &self.decoder,
            other => return Err(no_component(other)),
        };
        Ok(program.run(inputs)?)
    }
}

/// Runs a program and adds the time of its operations to `costs`, by name.
fn timed(
    program: &CpuProgram,
    component: &'static str,
    inputs: &[(&str, TensorRef<'_>)],
    clock: fn() -> f64,
    costs: &mut Vec<KernelCost>,
) -> Result<Outputs> {
    let nodes = &program.program().nodes;
    // The start time of each operation.
    let mut begun = Vec::with_capacity(nodes.len() + 1);
    let outputs = program.run_with_callback(inputs, &mut |_| {
        begun.push(clock());
        true
    })?;
    begun.push(clock());
    let first = costs.len();
    for (node, times) in nodes.iter().zip(begun.windows(2)) {
        let (kernel, milliseconds) = (node.op.name(), times[1] - times[0]);
        match costs[first..].iter_mut().find(|cost| cost.kernel == kernel) {
            Some(cost) => (cost.runs, cost.milliseconds) = (cost.runs + 1, cost.milliseconds + milliseconds),
            None => costs.push(KernelCost { component, kernel, runs: 1, milliseconds }),
        }
    }
    Ok(outputs)
}
