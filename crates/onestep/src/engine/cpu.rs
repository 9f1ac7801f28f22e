//! The programs on the processor.

use onestep_cpu::CpuProgram;
use onestep_program::{Bundle, TensorRef};

use crate::{
    backend::DeviceInfo,
    engine::{Outputs, enter, no_component, only},
    error::Result,
    picture::{finite, rgba},
    ports::{COMPONENTS, DECODER, ENCODER_HIDDEN_STATES, GENERATOR, INPUT_IDS, LATENTS, NOISE, TEXT_ENCODER},
    watch::{Stage, Watch},
};

pub(crate) struct Cpu {
    encoder: CpuProgram,
    generator: CpuProgram,
    decoder: CpuProgram,
    states: Vec<f32>,
    latents: Vec<f32>,
}

impl Cpu {
    pub(crate) fn open(bundle: &Bundle, watch: &mut dyn Watch) -> Result<Self> {
        let mut open = |done: usize, component: &str| -> Result<CpuProgram> {
            enter(watch, Stage::Compile { done, total: COMPONENTS.len() })?;
            Ok(CpuProgram::new(bundle.program(component)?.clone(), &|name| bundle.weight(name))?)
        };
        Ok(Self {
            encoder: open(0, TEXT_ENCODER)?,
            generator: open(1, GENERATOR)?,
            decoder: open(2, DECODER)?,
            states: Vec::new(),
            latents: Vec::new(),
        })
    }

    pub(crate) fn device(&self) -> DeviceInfo {
        DeviceInfo { name: "processor".into(), interface: "CPU".into(), software: true }
    }

    pub(crate) fn encode(&mut self, ids: &[i32]) -> Result<()> {
        self.states = only(self.encoder.run(&[(INPUT_IDS, TensorRef::I32(ids))])?)?;
        finite(&self.states, "text encoder")
    }

    pub(crate) fn generate(&mut self, noise: &[f32]) -> Result<()> {
        self.latents = only(self.generator.run(&[(NOISE, TensorRef::F32(noise)), (ENCODER_HIDDEN_STATES, TensorRef::F32(&self.states))])?)?;
        finite(&self.latents, "generator")
    }

    pub(crate) fn decode(&mut self) -> Result<Vec<u8>> {
        let sample = only(self.decoder.run(&[(LATENTS, TensorRef::F32(&self.latents))])?)?;
        finite(&sample, "decoder")?;
        rgba(&sample)
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
