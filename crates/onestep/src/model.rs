//! A model that is ready to make images.

use onestep_program::{Bundle, Manifest, Outline, TensorRef};

#[cfg(feature = "cpu")]
use crate::engine::cpu::Cpu;
#[cfg(feature = "webgpu")]
use crate::engine::webgpu;
use crate::{
    backend::{Backend, DeviceInfo},
    engine::Engine,
    error::{Error, ErrorKind, Result},
    image::{Image, StageTimes, Timings},
    noise::Noise,
    outputs::Outputs,
    png, ports,
    profile::KernelCost,
    prompt::{Prompt, PromptReader},
    watch::{Stage, Watch, enter},
};

/// What to make an image from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GenerateOptions {
    /// What it shall show.
    pub prompt: String,
    /// Which of the images that fit the prompt. The same bundle, prompt and seed give the same noise everywhere, and the same image
    /// up to the last bits of a device's arithmetic.
    pub noise: Noise,
    /// The device is waited for after each stage: the times of stages are known and a cancelled call stops between them, for a few
    /// waits more. Else a GPU gets everything in one submission.
    pub staged: bool,
    /// The pixels stay on the GPU, for [`show`](Model::show): [`Image::rgba`] is empty. The processor gives them all the same.
    pub keep_pixels: bool,
}

/// A bundle on a backend.
pub struct Model {
    id: String,
    manifest: Manifest,
    card: String,
    backend: Backend,
    reader: PromptReader,
    engine: Engine,
    /// The ids whose text states the generator holds.
    encoded: Option<Vec<i32>>,
}

/// Checks that a bundle is a text-to-image model that [`Model::open`] takes: its programs' ports, its tokenizer, and that both fit the manifest.
/// Nothing is run and no weight is looked at.
///
/// # Errors
/// [`ErrorKind::InvalidBundle`], naming the file or component at fault.
pub fn check(bundle: &Outline) -> Result<()> {
    read(bundle).map(drop)
}

/// Checks that a bundle is a text-to-image model; gives what reads its prompts.
pub(crate) fn read(bundle: &Outline) -> Result<PromptReader> {
    let rows = ports::check(bundle)?;
    let manifest = bundle.manifest();
    PromptReader::new(bundle.tokenizer(), &manifest.tokenizer, manifest.generation.prompt_tokens, rows)
}

impl Model {
    /// Checks that the bundle is a text-to-image model, then uploads its weights and compiles its programs.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidBundle`] when the parts do not fit, [`ErrorKind::Unsupported`] where the backend is missing or too small.
    pub async fn open(bundle: Bundle, backend: Backend, watch: &mut dyn Watch) -> Result<Self> {
        match backend {
            #[cfg(feature = "webgpu")]
            Backend::WebGpu => {
                // Before a device is asked for: a bundle that is none is refused on every machine.
                read(bundle.outline())?;
                Self::open_on(bundle, webgpu::request().await?, watch).await
            }
            #[cfg(feature = "cpu")]
            Backend::Cpu => {
                let reader = read(bundle.outline())?;
                let engine = Cpu::open(&bundle, watch)?;
                Ok(Self::of(bundle.outline(), reader, backend, Engine::Cpu(Box::new(engine))))
            }
        }
    }

    /// As [`open`](Self::open), on a device that is there already: one of the caller's ([`Gpu::shared`](webgpu::Gpu::shared)), or that of
    /// another model.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    #[cfg(feature = "webgpu")]
    pub async fn open_on(bundle: Bundle, gpu: webgpu::Gpu, watch: &mut dyn Watch) -> Result<Self> {
        let reader = read(bundle.outline())?;
        let (gpu, mut loading) = webgpu::WebGpu::prepare(bundle.outline(), gpu, watch).await?;
        loading.fill(&|name| bundle.weight(name)).await?;
        let engine = webgpu::WebGpu::finish(gpu, loading, watch).await?;
        Ok(Self::of(bundle.outline(), reader, Backend::WebGpu, Engine::WebGpu(Box::new(engine))))
    }

    pub(crate) fn of(bundle: &Outline, reader: PromptReader, backend: Backend, engine: Engine) -> Self {
        let (id, manifest, card) = (bundle.id().to_owned(), bundle.manifest().clone(), bundle.card().to_owned());
        Self { id, manifest, card, backend, reader, engine, encoded: None }
    }

    /// The SHA-256 of the bundle's manifest, which pins every byte of the model.
    pub fn id(&self) -> &str {
        &self.id
    }
    /// What the bundle says of itself: title, licence, sizes.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }
    /// The model card, Markdown.
    pub fn card(&self) -> &str {
        &self.card
    }
    /// Where the model runs.
    pub fn backend(&self) -> Backend {
        self.backend
    }
    /// What it runs on.
    pub fn device(&self) -> DeviceInfo {
        self.engine.device()
    }

    /// Bytes that the model takes: all of its buffers on a GPU, its weights and what its runs have needed so far on the processor.
    pub fn memory(&self) -> u64 {
        self.engine.memory()
    }

    /// The pixels of the image that was made last, on the GPU: row by row without gaps, four bytes each, red, green, blue and 255. `None`
    /// where the model runs on the processor. For callers who share a device with the model.
    #[cfg(feature = "webgpu")]
    pub fn pixels(&self) -> Option<&webgpu::wgpu::Buffer> {
        match &self.engine {
            Engine::WebGpu(engine) => Some(engine.pixels()),
            #[cfg(feature = "cpu")]
            Engine::Cpu(_) => None,
        }
    }

    /// Reads a prompt as [`generate`](Self::generate) would, and runs nothing.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] for a prompt that is empty, above 64 KiB or wholly unknown.
    pub fn prompt(&self, text: &str) -> Result<Prompt> {
        self.reader.read(text)
    }

    /// Makes an image.
    ///
    /// # Errors
    /// Those of [`prompt`](Self::prompt) and of [`Noise::numbers`]; [`ErrorKind::Cancelled`], [`ErrorKind::DeviceLost`], [`ErrorKind::NonFinite`] and
    /// [`ErrorKind::OutOfMemory`].
    pub async fn generate(&mut self, options: &GenerateOptions, watch: &mut dyn Watch) -> Result<Image> {
        let start = watch.now();
        enter(watch, Stage::Tokenize)?;
        let prompt = self.reader.read(&options.prompt)?;
        let [width, height] = self.manifest.generation.image;
        let size = |side: usize| {
            u32::try_from(side).map_err(|_| Error::new(ErrorKind::InvalidBundle, format!("an image of {width} x {height} pixels is too large")))
        };
        let (width, height) = (size(width)?, size(height)?);
        let noise = options.noise.numbers(&self.manifest.generation.latent)?;
        // Forgotten until the image is there: what failed half way is done again.
        let known = self.encoded.take().is_some_and(|ids| ids == prompt.ids);
        let mut stages = None;
        let rgba = if options.staged {
            let mut times = StageTimes::default();
            if !known {
                enter(watch, Stage::TextEncoder)?;
                let before = watch.now();
                self.engine.encode(&prompt.ids).await?;
                times.text = watch.now() - before;
            }
            enter(watch, Stage::Generator)?;
            let before = watch.now();
            self.engine.generate(&noise).await?;
            times.generator = watch.now() - before;
            enter(watch, Stage::Decoder)?;
            let before = watch.now();
            let rgba = self.engine.decode(!options.keep_pixels).await?;
            times.decoder = watch.now() - before;
            stages = Some(times);
            rgba
        } else {
            enter(watch, Stage::Generator)?;
            self.engine.draw((!known).then_some(prompt.ids.as_slice()), &noise, !options.keep_pixels).await?
        };
        self.encoded = Some(prompt.ids.clone());
        Ok(Image { width, height, rgba, prompt, noise: options.noise.clone(), timings: Timings { stages, total: watch.now() - start } })
    }

    /// What each kernel costs in an image of these options, by `clock`, which gives milliseconds. On a GPU each kernel's runs are measured by
    /// themselves, since few adapters tell times within a run; their sum is not exactly the time of an image. It takes as long as some images.
    ///
    /// # Errors
    /// As [`generate`](Self::generate).
    pub async fn profile(&mut self, options: &GenerateOptions, clock: fn() -> f64) -> Result<Vec<KernelCost>> {
        let ids = self.reader.read(&options.prompt)?.ids;
        let noise = options.noise.numbers(&self.manifest.generation.latent)?;
        self.encoded = None;
        self.engine.profile(&ids, &noise, clock).await
    }

    /// Runs one of the programs on tensors of the caller's: for evaluation and tests.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] for a name that is no program; what the backend refuses.
    pub async fn run(&mut self, component: &str, inputs: &[(&str, TensorRef<'_>)]) -> Result<Outputs> {
        self.encoded = None;
        self.engine.run(component, inputs).await
    }

    /// An image as a PNG file that says how it was made.
    ///
    /// # Errors
    /// An image whose bytes are not its size.
    pub fn png(&self, image: &Image, prompt: &str) -> Result<Vec<u8>> {
        png::encode(image, Some(&png::Facts { prompt, title: &self.manifest.title, bundle: &self.id, backend: self.backend.name() }))
    }

    #[cfg(feature = "webgpu")]
    /// A canvas that shows this model's images straight from the GPU.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where the model does not run on a GPU or the canvas is of another kind.
    pub async fn canvas(&self, target: impl Into<webgpu::SurfaceTarget<'static>>, width: u32, height: u32) -> Result<webgpu::Canvas> {
        match &self.engine {
            Engine::WebGpu(engine) => engine.canvas(target.into(), width, height).await,
            #[cfg(feature = "cpu")]
            Engine::Cpu(_) => Err(Error::new(ErrorKind::Unsupported, "the processor shows no images; draw the pixels")),
        }
    }

    #[cfg(feature = "webgpu")]
    /// Shows the image that was made last.
    ///
    /// # Errors
    /// [`ErrorKind::DeviceLost`].
    pub async fn show(&self, canvas: &webgpu::Canvas) -> Result<()> {
        match &self.engine {
            Engine::WebGpu(engine) => engine.show(canvas).await,
            #[cfg(feature = "cpu")]
            Engine::Cpu(_) => Err(Error::new(ErrorKind::Unsupported, "the processor shows no images; draw the pixels")),
        }
    }
}
