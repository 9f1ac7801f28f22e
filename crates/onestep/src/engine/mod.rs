//! The three programs on either backend, stage by stage.

#[cfg(feature = "cpu")]
pub(crate) mod cpu;
#[cfg(feature = "webgpu")]
pub mod webgpu;

use onestep_program::TensorRef;

use crate::{backend::DeviceInfo, error::Result, outputs::Outputs, profile::KernelCost, text_inputs::TextInputs};

pub(crate) enum Engine {
    #[cfg(feature = "webgpu")]
    WebGpu(Box<webgpu::WebGpu>),
    #[cfg(feature = "cpu")]
    Cpu(Box<cpu::Cpu>),
}

impl Engine {
    pub(crate) fn device(&self) -> DeviceInfo {
        match self {
            #[cfg(feature = "webgpu")]
            Engine::WebGpu(engine) => engine.device(),
            #[cfg(feature = "cpu")]
            Engine::Cpu(engine) => engine.device(),
        }
    }

    /// Runs the text encoder; its result stays where the generator reads it.
    pub(crate) async fn encode(&mut self, text: &TextInputs) -> Result<()> {
        match self {
            #[cfg(feature = "webgpu")]
            Engine::WebGpu(engine) => engine.encode(text).await,
            #[cfg(feature = "cpu")]
            Engine::Cpu(engine) => engine.encode(text),
        }
    }

    /// Runs the generator; its result stays where the decoder reads it.
    pub(crate) async fn generate(&mut self, noise: &[f32]) -> Result<()> {
        match self {
            #[cfg(feature = "webgpu")]
            Engine::WebGpu(engine) => engine.generate(noise).await,
            #[cfg(feature = "cpu")]
            Engine::Cpu(engine) => engine.generate(noise),
        }
    }

    /// Runs the decoder and returns RGBA8 pixels; a GPU returns none if `pixels` is false.
    pub(crate) async fn decode(&mut self, pixels: bool) -> Result<Vec<u8>> {
        #[cfg(not(feature = "webgpu"))]
        let _ = pixels;
        match self {
            #[cfg(feature = "webgpu")]
            Engine::WebGpu(engine) => engine.decode(pixels).await,
            #[cfg(feature = "cpu")]
            Engine::Cpu(engine) => engine.decode(),
        }
    }

    /// Runs all stages, the text encoder only if there is a `text`; on a GPU in one submission.
    pub(crate) async fn run_stages(&mut self, text: Option<&TextInputs>, noise: &[f32], pixels: bool) -> Result<Vec<u8>> {
        match self {
            #[cfg(feature = "webgpu")]
            Engine::WebGpu(engine) => engine.run_stages(text, noise, pixels).await,
            #[cfg(feature = "cpu")]
            Engine::Cpu(_) => {
                if let Some(text) = text {
                    self.encode(text).await?;
                }
                self.generate(noise).await?;
                self.decode(pixels).await
            }
        }
    }

    pub(crate) async fn profile(&mut self, text: &TextInputs, noise: &[f32], clock: fn() -> f64) -> Result<Vec<KernelCost>> {
        #[cfg(not(feature = "cpu"))]
        let _ = (text, noise);
        match self {
            #[cfg(feature = "webgpu")]
            Engine::WebGpu(engine) => engine.profile(clock).await,
            #[cfg(feature = "cpu")]
            Engine::Cpu(engine) => engine.profile(text, noise, clock),
        }
    }

    /// Memory use in bytes.
    pub(crate) fn memory(&self) -> u64 {
        match self {
            #[cfg(feature = "webgpu")]
            Engine::WebGpu(engine) => engine.memory(),
            #[cfg(feature = "cpu")]
            Engine::Cpu(engine) => engine.memory(),
        }
    }

    pub(crate) async fn run(&mut self, component: &str, inputs: &[(&str, TensorRef<'_>)]) -> Result<Outputs> {
        match self {
            #[cfg(feature = "webgpu")]
            Engine::WebGpu(engine) => engine.run(component, inputs).await,
            #[cfg(feature = "cpu")]
            Engine::Cpu(engine) => engine.run(component, inputs),
        }
    }
}
