//! The programs on a GPU, where tensors stay between the stages.

use onestep_program::{Outline, TensorRef};
use onestep_runtime::{
    Batch, Executor, GpuOptions, Image, Loading, Plan,
    plan::{KernelVariants, PlanOptions},
};

#[cfg(target_arch = "wasm32")]
pub use onestep_runtime::wgpu::webgpu::{GpuBuffer, GpuDevice};
pub use onestep_runtime::{
    Canvas, Gpu,
    plan::CARRIED_BYTES,
    shaders::{Access, Kernel},
    wgpu::{self, SurfaceTarget},
};

use crate::{
    backend::DeviceInfo,
    callbacks::{Callbacks, Stage, enter},
    error::{Error, ErrorKind, Result},
    image::finite,
    outputs::Outputs,
    ports::{COMPONENTS, DECODER, ENCODER_HIDDEN_STATES, GENERATOR, LATENTS, NOISE, SAMPLE, TEXT_EMBEDS, TEXT_ENCODER, no_component, text_ports},
    profile::KernelCost,
    text_inputs::TextInputs,
};

pub(crate) struct WebGpu {
    gpu: Gpu,
    encoder: Executor,
    generator: Executor,
    decoder: Executor,
    image: Image,
    text_ports: &'static [(&'static str, &'static str)],
}

/// Requests the default device.
pub(crate) async fn request() -> Result<Gpu> {
    Ok(Gpu::request(&GpuOptions::default()).await?)
}

/// The GPU that [`Model::open`](crate::Model::open) would use.
///
/// # Errors
/// [`ErrorKind::Unsupported`] if there is no adapter.
pub async fn probe() -> Result<DeviceInfo> {
    Ok(info(&request().await?))
}

/// Runs all kernel test cases on this machine's GPU and compares their results with an f64 reference.
///
/// # Errors
/// Those of [`probe`].
#[cfg(feature = "selftest")]
pub async fn selftest() -> Result<Vec<onestep_runtime::selftest::CaseResult>> {
    Ok(onestep_runtime::selftest::run_all(&request().await?).await)
}

fn info(gpu: &Gpu) -> DeviceInfo {
    let adapter = gpu.adapter();
    DeviceInfo { name: adapter.name.clone(), interface: adapter.backend.clone(), software: adapter.software }
}

/// Selects the fastest kernel variants: loaded if they were measured before, else measured. Software adapters have fixed ones.
async fn tuned(gpu: Gpu, callbacks: &mut dyn Callbacks) -> Result<Gpu> {
    if gpu.adapter().software {
        return Ok(gpu);
    }
    let key = gpu.adapter().key();
    let stored = callbacks.load_tuning().and_then(|line| KernelVariants::parse(line.strip_prefix(&key)?.trim_start()));
    if let Some(variants) = stored {
        return Ok(gpu.with_variants(variants));
    }
    enter(callbacks, Stage::Measure)?;
    let variants = gpu.fastest_variants(&|| callbacks.now()).await?;
    callbacks.save_tuning(&format!("{key} {variants}"));
    Ok(gpu.with_variants(variants))
}

impl WebGpu {
    /// Selects kernel variants and plans the programs; their weights are loaded afterwards.
    pub(crate) async fn prepare(bundle: &Outline, gpu: Gpu, callbacks: &mut dyn Callbacks) -> Result<(Gpu, Loading)> {
        let gpu = tuned(gpu, callbacks).await?;
        let mut plans = Vec::with_capacity(COMPONENTS.len());
        for component in COMPONENTS {
            // What the generator computes from the prompt alone stays in persistent buffers while only the noise changes.
            let options = PlanOptions { persistent_inputs: &[ENCODER_HIDDEN_STATES, TEXT_EMBEDS], ..PlanOptions::default() };
            plans.push(Plan::fitting(bundle.program(component)?, gpu.capabilities(), options)?);
        }
        let manifest = bundle.manifest();
        let largest = manifest.weights.iter().filter_map(|name| manifest.file(name)).map(|file| file.size).max();
        let loading = Loading::new(&gpu, plans, largest.unwrap_or(0)).await?;
        Ok((gpu, loading))
    }

    /// Compiles the programs after their weights were loaded.
    pub(crate) async fn finish(bundle: &Outline, gpu: Gpu, mut loading: Loading, callbacks: &mut dyn Callbacks) -> Result<Self> {
        let mut ready = Vec::with_capacity(COMPONENTS.len());
        for _ in COMPONENTS {
            enter(callbacks, Stage::Compile { done: ready.len(), total: COMPONENTS.len() })?;
            ready.push(loading.executor().await?);
        }
        let Ok([encoder, generator, decoder]) = <[Executor; 3]>::try_from(ready) else {
            return Err(Error::new(ErrorKind::Internal, "expected three programs"));
        };
        let image = Image::new(&gpu, &decoder, SAMPLE).await?;
        Ok(Self { gpu, encoder, generator, decoder, image, text_ports: text_ports(bundle.manifest()) })
    }

    pub(crate) fn device(&self) -> DeviceInfo {
        info(&self.gpu)
    }

    pub(crate) async fn encode(&mut self, text: &TextInputs) -> Result<()> {
        let mut batch = Batch::new(&self.gpu).map_err(Error::while_running)?;
        self.add_prompt(&mut batch, text)?;
        batch.submit().map_err(Error::while_running)?;
        self.check_prompt().await
    }

    pub(crate) async fn generate(&mut self, noise: &[f32]) -> Result<()> {
        let mut batch = Batch::new(&self.gpu).map_err(Error::while_running)?;
        self.add_step(&mut batch, noise)?;
        batch.submit().map_err(Error::while_running)?;
        self.check_latents().await
    }

    pub(crate) async fn decode(&mut self, pixels: bool) -> Result<Vec<u8>> {
        let mut batch = Batch::new(&self.gpu).map_err(Error::while_running)?;
        self.add_image(&mut batch)?;
        batch.submit().map_err(Error::while_running)?;
        self.finished(pixels).await
    }

    /// Runs all stages in one submission, the text encoder only if there is a `text`.
    pub(crate) async fn run_stages(&mut self, text: Option<&TextInputs>, noise: &[f32], pixels: bool) -> Result<Vec<u8>> {
        let mut batch = Batch::new(&self.gpu).map_err(Error::while_running)?;
        if let Some(text) = text {
            self.add_prompt(&mut batch, text)?;
        }
        self.add_step(&mut batch, noise)?;
        self.add_image(&mut batch)?;
        batch.submit().map_err(Error::while_running)?;
        self.finished(pixels).await
    }

    fn add_prompt(&self, batch: &mut Batch, text: &TextInputs) -> Result<()> {
        for (name, elements) in text.ports() {
            self.encoder.write_input(name, elements).map_err(Error::while_running)?;
        }
        batch.run(&self.encoder).map_err(Error::while_running)?;
        let mut copy = |(output, input): &(&str, &str)| batch.copy(&self.encoder, output, &self.generator, input).map_err(Error::while_running);
        self.text_ports.iter().try_for_each(&mut copy)
    }

    fn add_step(&self, batch: &mut Batch, noise: &[f32]) -> Result<()> {
        self.generator.write_input(NOISE, TensorRef::F32(noise)).map_err(Error::while_running)?;
        batch.run(&self.generator).map_err(Error::while_running)?;
        batch.copy(&self.generator, LATENTS, &self.decoder, LATENTS).map_err(Error::while_running)
    }

    fn add_image(&self, batch: &mut Batch) -> Result<()> {
        batch.run(&self.decoder).map_err(Error::while_running)?;
        batch.image(&self.image).map_err(Error::while_running)
    }

    async fn check_prompt(&self) -> Result<()> {
        for (output, _) in self.text_ports {
            finite(&self.encoder.read_output(output).await.map_err(Error::while_running)?, "text encoder")?;
        }
        Ok(())
    }

    async fn check_latents(&self) -> Result<()> {
        finite(&self.generator.read_output(LATENTS).await.map_err(Error::while_running)?, "generator")
    }

    /// Waits for the image, and reads its pixels if `pixels` is true.
    async fn finished(&self, pixels: bool) -> Result<Vec<u8>> {
        let read = async { if pixels { self.image.read_rgba8().await } else { Ok((self.image.wait().await?, Vec::new())) } };
        let (broken, rgba) = read.await.map_err(Error::while_running)?;
        if broken > 0 {
            // The first network with such values is named.
            self.check_prompt().await?;
            self.check_latents().await?;
            finite(&self.decoder.read_output(SAMPLE).await.map_err(Error::while_running)?, "decoder")?;
        }
        Ok(rgba)
    }

    pub(crate) async fn run(&mut self, component: &str, inputs: &[(&str, TensorRef<'_>)]) -> Result<Outputs> {
        let executor = match component {
            TEXT_ENCODER => &self.encoder,
            GENERATOR => &self.generator,
            DECODER => &self.decoder,
            other => return Err(no_component(other)),
        };
        Ok(executor.run(inputs).await?)
    }

    pub(crate) async fn profile(&mut self, clock: fn() -> f64) -> Result<Vec<KernelCost>> {
        let mut costs = Vec::new();
        for (component, executor) in COMPONENTS.into_iter().zip([&self.encoder, &self.generator, &self.decoder]) {
            let found = executor.costs(&clock).await.map_err(Error::while_running)?;
            costs.extend(found.into_iter().map(|(kernel, runs, milliseconds)| KernelCost { component, kernel, runs, milliseconds }));
        }
        Ok(costs)
    }

    pub(crate) fn memory(&self) -> u64 {
        [&self.encoder, &self.generator, &self.decoder].map(Executor::bytes).iter().sum::<u64>() + self.image.pixels().size()
    }

    pub(crate) fn pixels(&self) -> &wgpu::Buffer {
        self.image.pixels()
    }

    pub(crate) async fn canvas(&self, target: SurfaceTarget<'static>, width: u32, height: u32) -> Result<Canvas> {
        Ok(Canvas::new(&self.gpu, target, width, height).await?)
    }

    pub(crate) async fn show(&self, canvas: &Canvas) -> Result<()> {
        canvas.show(&self.image).await.map_err(Error::while_running)
    }
}
