//! The three programs on a backend, one stage at a time.

#[cfg(feature = "cpu")]
pub(crate) mod cpu;
#[cfg(feature = "webgpu")]
pub mod webgpu;

use onestep_program::TensorRef;

use crate::{
    backend::DeviceInfo,
    error::{Error, ErrorKind, Result},
    profile::KernelCost,
    watch::{Stage, Watch},
};

/// Named tensors that a program computed.
pub(crate) type Outputs = Vec<(String, Vec<f32>)>;

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

    /// Token ids to text states, which stay where the generator reads them.
    pub(crate) async fn encode(&mut self, ids: &[i32]) -> Result<()> {
        match self {
            #[cfg(feature = "webgpu")]
            Engine::WebGpu(engine) => engine.encode(ids).await,
            #[cfg(feature = "cpu")]
            Engine::Cpu(engine) => engine.encode(ids),
        }
    }

    /// Noise to a latent image, which stays where the decoder reads it.
    pub(crate) async fn generate(&mut self, noise: &[f32]) -> Result<()> {
        match self {
            #[cfg(feature = "webgpu")]
            Engine::WebGpu(engine) => engine.generate(noise).await,
            #[cfg(feature = "cpu")]
            Engine::Cpu(engine) => engine.generate(noise),
        }
    }

    /// The latent image to pixels, four bytes each; without `pixels` a GPU keeps them for its canvas.
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

    /// All stages at once, the text encoder only for ids.
    pub(crate) async fn draw(&mut self, ids: Option<&[i32]>, noise: &[f32], pixels: bool) -> Result<Vec<u8>> {
        match self {
            #[cfg(feature = "webgpu")]
            Engine::WebGpu(engine) => engine.draw(ids, noise, pixels).await,
            #[cfg(feature = "cpu")]
            Engine::Cpu(_) => {
                if let Some(ids) = ids {
                    self.encode(ids).await?;
                }
                self.generate(noise).await?;
                self.decode(pixels).await
            }
        }
    }

    pub(crate) async fn profile(&mut self, ids: &[i32], noise: &[f32], clock: fn() -> f64) -> Result<Vec<KernelCost>> {
        #[cfg(not(feature = "cpu"))]
        let _ = (ids, noise);
        match self {
            #[cfg(feature = "webgpu")]
            Engine::WebGpu(engine) => engine.profile(clock).await,
            #[cfg(feature = "cpu")]
            Engine::Cpu(engine) => engine.profile(ids, noise, clock),
        }
    }

    /// Bytes.
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

/// Announces a stage; an error when the caller does not want it.
pub(crate) fn enter(watch: &mut dyn Watch, stage: Stage) -> Result<()> {
    if watch.stage(stage) { Ok(()) } else { Err(Error::new(ErrorKind::Cancelled, format!("cancelled before the stage {}", stage.name()))) }
}

/// What every engine says to a name that is not a program.
pub(crate) fn no_component(component: &str) -> Error {
    Error::new(ErrorKind::InvalidOption, format!("{component:?} is no program of a model; there are {}", crate::ports::COMPONENTS.join(", ")))
}

/// The only output, whatever its name.
#[cfg(feature = "cpu")]
pub(crate) fn only(outputs: Outputs) -> Result<Vec<f32>> {
    outputs.into_iter().next().map(|(_, values)| values).ok_or_else(|| Error::new(ErrorKind::Internal, "a program computed nothing"))
}
