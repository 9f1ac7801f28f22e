//! The programs on a GPU. Tensors stay there between the stages.

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
    error::{Error, ErrorKind, Result},
    image::finite,
    outputs::Outputs,
    ports::{
        COMPONENTS, DECODER, ENCODER_HIDDEN_STATES, GENERATOR, INPUT_IDS, LAST_HIDDEN_STATE, LATENTS, NOISE, SAMPLE, TEXT_ENCODER, no_component,
    },
    profile::KernelCost,
    watch::{Stage, Watch, enter},
};

pub(crate) struct WebGpu {
    gpu: Gpu,
    encoder: Executor,
    generator: Executor,
    decoder: Executor,
    image: Image,
}

/// The device for a model that is given none.
pub(crate) async fn request() -> Result<Gpu> {
    Ok(Gpu::request(&GpuOptions::default()).await?)
}

/// What a model would run on here.
///
/// # Errors
/// [`ErrorKind::Unsupported`] with a sentence where there is no adapter.
pub async fn probe() -> Result<DeviceInfo> {
    Ok(info(&request().await?))
}

/// Runs the kernel cases on this machine's GPU: what is computed here is compared with an f64 reference.
///
/// # Errors
/// As [`probe`].
#[cfg(feature = "selftest")]
pub async fn selftest() -> Result<Vec<onestep_runtime::selftest::CaseResult>> {
    Ok(onestep_runtime::selftest::run_all(&request().await?).await)
}

fn info(gpu: &Gpu) -> DeviceInfo {
    let adapter = gpu.adapter();
    DeviceInfo { name: adapter.name.clone(), interface: adapter.backend.clone(), software: adapter.software }
}

/// The device with the kernel variants that are fastest on it: remembered, otherwise measured. For a software adapter they are known.
async fn fastest(gpu: Gpu, watch: &mut dyn Watch) -> Result<Gpu> {
    if gpu.adapter().software {
        return Ok(gpu);
    }
    let key = gpu.adapter().key();
    let remembered = watch.recall().and_then(|line| KernelVariants::parse(line.strip_prefix(&key)?.trim_start()));
    if let Some(variants) = remembered {
        return Ok(gpu.with_variants(variants));
    }
    enter(watch, Stage::Measure)?;
    let variants = gpu.fastest_variants(&|| watch.now()).await?;
    watch.remember(&format!("{key} {variants}"));
    Ok(gpu.with_variants(variants))
}

impl WebGpu {
    /// The device with its fastest kernel variants, and the programs planned for it, whose weights are to come.
    pub(crate) async fn prepare(bundle: &Outline, gpu: Gpu, watch: &mut dyn Watch) -> Result<(Gpu, Loading)> {
        let gpu = fastest(gpu, watch).await?;
        let mut plans = Vec::with_capacity(COMPONENTS.len());
        for component in COMPONENTS {
            // From image to image the noise changes; what the generator makes of the prompt alone is kept.
            let options = PlanOptions { persistent_inputs: &[ENCODER_HIDDEN_STATES], ..PlanOptions::default() };
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
        let image = Image::new(&gpu, &decoder, SAMPLE).await?;
        Ok(Self { gpu, encoder, generator, decoder, image })
    }

    pub(crate) fn device(&self) -> DeviceInfo {
        info(&self.gpu)
    }

    pub(crate) async fn encode(&mut self, ids: &[i32]) -> Result<()> {
        let mut batch = Batch::new(&self.gpu).map_err(Error::while_running)?;
        self.add_prompt(&mut batch, ids)?;
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
        self.drawn(pixels).await
    }

    /// All stages in one submission; what of them a new image needs.
    pub(crate) async fn draw(&mut self, ids: Option<&[i32]>, noise: &[f32], pixels: bool) -> Result<Vec<u8>> {
        let mut batch = Batch::new(&self.gpu).map_err(Error::while_running)?;
        if let Some(ids) = ids {
            self.add_prompt(&mut batch, ids)?;
        }
        self.add_step(&mut batch, noise)?;
        self.add_image(&mut batch)?;
        batch.submit().map_err(Error::while_running)?;
        self.drawn(pixels).await
    }

    fn add_prompt(&self, batch: &mut Batch, ids: &[i32]) -> Result<()> {
        self.encoder.write_input(INPUT_IDS, TensorRef::I32(ids)).map_err(Error::while_running)?;
        batch.run(&self.encoder).map_err(Error::while_running)?;
        batch.copy(&self.encoder, LAST_HIDDEN_STATE, &self.generator, ENCODER_HIDDEN_STATES).map_err(Error::while_running)
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
        finite(&self.encoder.read_output(LAST_HIDDEN_STATE).await.map_err(Error::while_running)?, "text encoder")
    }

    async fn check_latents(&self) -> Result<()> {
        finite(&self.generator.read_output(LATENTS).await.map_err(Error::while_running)?, "generator")
    }

    /// Waits for the image; its pixels, if they are wanted.
    async fn drawn(&self, pixels: bool) -> Result<Vec<u8>> {
        let read = async { if pixels { self.image.read_rgba8().await } else { Ok((self.image.wait().await?, Vec::new())) } };
        let (broken, rgba) = read.await.map_err(Error::while_running)?;
        if broken > 0 {
            // Which network began it is looked for only now.
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
