//! The programs on a GPU. Tensors stay there between the stages.

use onestep_program::{Outline, TensorRef};
use onestep_runtime::{Executor, Gpu, GpuOptions, Loading, Picture, Plan, plan::PlanOptions};

#[cfg(target_arch = "wasm32")]
pub use onestep_runtime::wgpu::webgpu::{GpuBuffer, GpuDevice};
pub use onestep_runtime::{
    Canvas,
    plan::CARRIED_BYTES,
    shaders::{Access, Kernel},
    wgpu::SurfaceTarget,
};

use crate::{
    backend::DeviceInfo,
    engine::{Outputs, enter, no_component},
    error::{Error, ErrorKind, Result},
    picture::finite,
    ports::{COMPONENTS, DECODER, ENCODER_HIDDEN_STATES, GENERATOR, INPUT_IDS, LAST_HIDDEN_STATE, LATENTS, NOISE, SAMPLE, TEXT_ENCODER},
    watch::{Stage, Watch},
};

pub(crate) struct WebGpu {
    gpu: Gpu,
    encoder: Executor,
    generator: Executor,
    decoder: Executor,
    picture: Picture,
    /// The prompt that the generator holds.
    encoded: Vec<i32>,
}

/// What a model would run on here.
///
/// # Errors
/// [`ErrorKind::Unsupported`] with a sentence where there is no adapter.
pub async fn probe() -> Result<DeviceInfo> {
    Ok(info(&Gpu::request(&GpuOptions::default()).await?))
}

/// Runs the kernel cases on this machine's GPU: what is computed here is compared with an f64 reference.
///
/// # Errors
/// As [`probe`].
#[cfg(feature = "selftest")]
pub async fn selftest() -> Result<Vec<onestep_runtime::selftest::CaseResult>> {
    Ok(onestep_runtime::selftest::run_all(&Gpu::request(&GpuOptions::default()).await?).await)
}

fn info(gpu: &Gpu) -> DeviceInfo {
    let adapter = gpu.adapter();
    DeviceInfo { name: adapter.name.clone(), interface: adapter.backend.clone(), software: adapter.software }
}

impl WebGpu {
    /// A device, and the programs planned for it, whose weights are to come.
    pub(crate) async fn prepare(bundle: &Outline) -> Result<(Gpu, Loading)> {
        let gpu = Gpu::request(&GpuOptions::default()).await?;
        let mut plans = Vec::with_capacity(COMPONENTS.len());
        for component in COMPONENTS {
            // From picture to picture the noise changes; what the generator makes of the prompt alone is kept.
            let options = PlanOptions { kept: &[ENCODER_HIDDEN_STATES], ..PlanOptions::default() };
            plans.push(Plan::fitting(bundle.program(component)?, gpu.capabilities(), options)?);
        }
        let manifest = bundle.manifest();
        let largest = manifest.weights.iter().filter_map(|name| manifest.file(name)).map(|file| file.size).max();
        let loading = Loading::new(&gpu, plans, largest.unwrap_or(0)).await?;
        Ok((gpu, loading))
    }

    /// The programs, once their weights have come.
    pub(crate) async fn finish(gpu: Gpu, mut loading: Loading, watch: &mut dyn Watch) -> Result<Self> {
        let mut ready = Vec::with_capacity(COMPONENTS.len());
        for _ in COMPONENTS {
            enter(watch, Stage::Compile { done: ready.len(), total: COMPONENTS.len() })?;
            ready.push(loading.executor().await?);
        }
        let Ok([encoder, generator, decoder]) = <[Executor; 3]>::try_from(ready) else {
            return Err(Error::new(ErrorKind::Internal, "a model is three programs"));
        };
        let picture = Picture::new(&gpu, &decoder, SAMPLE).await?;
        Ok(Self { gpu, encoder, generator, decoder, picture, encoded: Vec::new() })
    }

    pub(crate) fn device(&self) -> DeviceInfo {
        info(&self.gpu)
    }

    pub(crate) async fn encode(&mut self, ids: &[i32]) -> Result<()> {
        if self.encoded == ids {
            return Ok(());
        }
        self.encoded.clear();
        self.encoder.write_input(INPUT_IDS, TensorRef::I32(ids)).map_err(Error::while_running)?;
        self.encoder.submit().map_err(Error::while_running)?;
        self.encoder.copy_output(LAST_HIDDEN_STATE, &self.generator, ENCODER_HIDDEN_STATES).map_err(Error::while_running)?;
        finite(&self.encoder.read_output(LAST_HIDDEN_STATE).await.map_err(Error::while_running)?, "text encoder")?;
        self.encoded = ids.to_vec();
        Ok(())
    }

    pub(crate) async fn generate(&mut self, noise: &[f32]) -> Result<()> {
        self.generator.write_input(NOISE, TensorRef::F32(noise)).map_err(Error::while_running)?;
        self.generator.submit().map_err(Error::while_running)?;
        self.generator.copy_output(LATENTS, &self.decoder, LATENTS).map_err(Error::while_running)?;
        finite(&self.generator.read_output(LATENTS).await.map_err(Error::while_running)?, "generator")
    }

    pub(crate) async fn decode(&mut self) -> Result<Vec<f32>> {
        self.decoder.submit().map_err(Error::while_running)?;
        self.picture.submit().map_err(Error::while_running)?;
        let sample = self.decoder.read_output(SAMPLE).await.map_err(Error::while_running)?;
        finite(&sample, "decoder")?;
        Ok(sample)
    }

    pub(crate) async fn run(&mut self, component: &str, inputs: &[(&str, TensorRef<'_>)]) -> Result<Outputs> {
        let executor = match component {
            TEXT_ENCODER => &self.encoder,
            GENERATOR => {
                // Its inputs are the caller's now.
                self.encoded.clear();
                &self.generator
            }
            DECODER => &self.decoder,
            other => return Err(no_component(other)),
        };
        Ok(executor.run(inputs).await?)
    }

    pub(crate) async fn canvas(&self, target: SurfaceTarget<'static>, width: u32, height: u32) -> Result<Canvas> {
        Ok(Canvas::new(&self.gpu, target, width, height).await?)
    }

    pub(crate) async fn show(&self, canvas: &Canvas) -> Result<()> {
        canvas.show(&self.picture).await.map_err(Error::while_running)
    }
}
