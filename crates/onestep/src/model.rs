//! A model that is ready to generate images.

use onestep_program::{Bundle, Manifest, Outline, TensorRef};

#[cfg(feature = "cpu")]
use crate::engine::cpu::Cpu;
#[cfg(feature = "webgpu")]
use crate::engine::webgpu;
use crate::{
    backend::{Backend, DeviceInfo},
    callbacks::{Callbacks, Stage, enter},
    engine::Engine,
    error::{Error, ErrorKind, Result},
    image::{Image, StageTimes, Timings},
    noise::Noise,
    outputs::Outputs,
    png,
    profile::KernelCost,
    prompt::Prompt,
    text_inputs::{TextInputs, TextReader},
};

/// The inputs of [`Model::generate`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GenerateOptions {
    /// A description of the image; at most 64 KiB, and longer than the text encoder reads is truncated.
    pub prompt: String,
    /// The noise to start from; default: seed 0. The same bundle, prompt and seed give the same noise everywhere, and the same image up to
    /// rounding differences between devices.
    pub noise: Noise,
    /// If true, waits for the device after each stage: [`Timings::stages`] is filled in and the call can be cancelled between stages. If
    /// false (the default), a GPU gets all stages in one submission, which is faster.
    pub staged: bool,
    /// If true, leaves the pixels on the GPU for [`show`](Model::show) and returns an empty [`Image::rgba`]; default: false. Ignored on the
    /// CPU.
    pub skip_readback: bool,
}

/// A bundle that is loaded on a backend.
pub struct Model {
    id: String,
    manifest: Manifest,
    card: String,
    backend: Backend,
    reader: TextReader,
    engine: Engine,
    /// The prompt of the text embeddings that the generator holds.
    encoded: Option<TextInputs>,
}

/// Checks that [`Model::open`] accepts a bundle: the ports of its programs, its tokenizer, and that both fit the manifest. It runs nothing and
/// reads no weights.
///
/// # Errors
/// [`ErrorKind::InvalidBundle`], naming the file or component at fault.
pub fn check_bundle(bundle: &Outline) -> Result<()> {
    TextReader::new(bundle).map(drop)
}

impl Model {
    /// Checks that the bundle is a text-to-image model, then uploads its weights and compiles its programs.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidBundle`] if its parts do not fit each other; [`ErrorKind::Unsupported`] if there is no GPU or its limits are too
    /// small; [`ErrorKind::OutOfMemory`], [`ErrorKind::DeviceLost`] and [`ErrorKind::Cancelled`].
    pub async fn open(bundle: Bundle, backend: Backend, callbacks: &mut dyn Callbacks) -> Result<Self> {
        match backend {
            #[cfg(feature = "webgpu")]
            Backend::WebGpu => {
                // Before a device is requested, so that an invalid bundle is refused on machines without a GPU, too.
                TextReader::new(bundle.outline())?;
                Self::open_on(bundle, webgpu::request().await?, callbacks).await
            }
            #[cfg(feature = "cpu")]
            Backend::Cpu => {
                let reader = TextReader::new(bundle.outline())?;
                let engine = Cpu::open(&bundle, callbacks)?;
                Ok(Self::of(bundle.outline(), reader, backend, Engine::Cpu(Box::new(engine))))
            }
        }
    }

    /// Like [`open`](Self::open), but on an existing device: the caller's ([`Gpu::shared`](webgpu::Gpu::shared)) or that of another model.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    #[cfg(feature = "webgpu")]
    pub async fn open_on(bundle: Bundle, gpu: webgpu::Gpu, callbacks: &mut dyn Callbacks) -> Result<Self> {
        let reader = TextReader::new(bundle.outline())?;
        let (gpu, mut loading) = webgpu::WebGpu::prepare(bundle.outline(), gpu, callbacks).await?;
        loading.fill(&|name| bundle.weight(name)).await?;
        let engine = webgpu::WebGpu::finish(bundle.outline(), gpu, loading, callbacks).await?;
        Ok(Self::of(bundle.outline(), reader, Backend::WebGpu, Engine::WebGpu(Box::new(engine))))
    }

    pub(crate) fn of(bundle: &Outline, reader: TextReader, backend: Backend, engine: Engine) -> Self {
        let (id, manifest, card) = (bundle.id().to_owned(), bundle.manifest().clone(), bundle.card().to_owned());
        Self { id, manifest, card, backend, reader, engine, encoded: None }
    }

    /// The SHA-256 of the bundle's manifest in hexadecimal; it identifies every byte of the model.
    pub fn id(&self) -> &str {
        &self.id
    }
    /// The bundle's manifest: title, licence, sizes.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }
    /// The model card in Markdown.
    pub fn card(&self) -> &str {
        &self.card
    }
    /// The backend that the model runs on.
    pub fn backend(&self) -> Backend {
        self.backend
    }
    /// The device that the model runs on.
    pub fn device(&self) -> DeviceInfo {
        self.engine.device()
    }

    /// Memory use in bytes: all buffers on a GPU; on the CPU, the weights and the working memory of the runs so far.
    pub fn memory(&self) -> u64 {
        self.engine.memory()
    }

    /// The GPU buffer with the pixels of the latest image, for callers that share the model's device. `None` on the CPU.
    ///
    /// RGBA8, rows from the top without padding, alpha 255.
    #[cfg(feature = "webgpu")]
    pub fn pixels(&self) -> Option<&webgpu::wgpu::Buffer> {
        match &self.engine {
            Engine::WebGpu(engine) => Some(engine.pixels()),
            #[cfg(feature = "cpu")]
            Engine::Cpu(_) => None,
        }
    }

    /// Tokenizes a prompt as [`generate`](Self::generate) does, without running the model.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] for a prompt that is empty, longer than 64 KiB, or without any token that the model knows.
    pub fn prompt(&self, text: &str) -> Result<Prompt> {
        self.reader.read(text)
    }

    /// Generates an image.
    ///
    /// # Errors
    /// Those of [`prompt`](Self::prompt) and of [`Noise::values`]; [`ErrorKind::Cancelled`], [`ErrorKind::DeviceLost`], [`ErrorKind::NonFinite`] and
    /// [`ErrorKind::OutOfMemory`].
    pub async fn generate(&mut self, options: &GenerateOptions, callbacks: &mut dyn Callbacks) -> Result<Image> {
        let start = callbacks.now();
        enter(callbacks, Stage::Tokenize)?;
        let prompt = self.reader.read(&options.prompt)?;
        let [width, height] = self.manifest.generation.image;
        let size = |side: usize| {
            u32::try_from(side).map_err(|_| Error::new(ErrorKind::InvalidBundle, format!("an image of {width} x {height} pixels is too large")))
        };
        let (width, height) = (size(width)?, size(height)?);
        let noise = options.noise.values(&self.manifest.generation.latent)?;
        // Taken until the image is complete, so that the next call encodes the prompt again if this one fails.
        let text = self.reader.inputs(&prompt);
        let is_encoded = self.encoded.take().is_some_and(|encoded| encoded == text);
        let mut stages = None;
        let rgba = if options.staged {
            let mut times = StageTimes::default();
            if !is_encoded {
                enter(callbacks, Stage::TextEncoder)?;
                let before = callbacks.now();
                self.engine.encode(&text).await?;
                times.text = callbacks.now() - before;
            }
            enter(callbacks, Stage::Generator)?;
            let before = callbacks.now();
            self.engine.generate(&noise).await?;
            times.generator = callbacks.now() - before;
            enter(callbacks, Stage::Decoder)?;
            let before = callbacks.now();
            let rgba = self.engine.decode(!options.skip_readback).await?;
            times.decoder = callbacks.now() - before;
            stages = Some(times);
            rgba
        } else {
            enter(callbacks, Stage::Generator)?;
            self.engine.run_stages((!is_encoded).then_some(&text), &noise, !options.skip_readback).await?
        };
        self.encoded = Some(text);
        Ok(Image { width, height, rgba, prompt, noise: options.noise.clone(), timings: Timings { stages, total: callbacks.now() - start } })
    }

    /// Measures the time of each kernel for an image with these options. `clock` returns milliseconds.
    ///
    /// On a GPU, each kernel is run on its own, because few adapters support timestamps within a pass; the sum therefore differs from the time
    /// of an image. Takes as long as a few images.
    ///
    /// # Errors
    /// As [`generate`](Self::generate).
    pub async fn profile(&mut self, options: &GenerateOptions, clock: fn() -> f64) -> Result<Vec<KernelCost>> {
        let text = self.reader.inputs(&self.reader.read(&options.prompt)?);
        let noise = options.noise.values(&self.manifest.generation.latent)?;
        self.encoded = None;
        self.engine.profile(&text, &noise, clock).await
    }

    /// Runs one component (`text_encoder`, `generator` or `decoder`) on the caller's tensors, for evaluation and tests.
    ///
    /// Returns the output tensors: name, elements in row-major order.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] for an unknown component; errors of the backend for inputs that do not fit.
    pub async fn run(&mut self, component: &str, inputs: &[(&str, TensorRef<'_>)]) -> Result<Outputs> {
        self.encoded = None;
        self.engine.run(component, inputs).await
    }

    /// Encodes an image as a PNG file with the prompt, the noise and the model as metadata.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] if the image has no pixels, as with [`GenerateOptions::skip_readback`].
    pub fn png(&self, image: &Image, prompt: &str) -> Result<Vec<u8>> {
        png::encode(image, Some(&png::Metadata { prompt, title: &self.manifest.title, bundle: &self.id, backend: self.backend.name() }))
    }

    #[cfg(feature = "webgpu")]
    /// Prepares a canvas or window of `width` x `height` pixels to show this model's images without reading them back.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if the model runs on the CPU or the GPU cannot present to the target.
    pub async fn canvas(&self, target: impl Into<webgpu::SurfaceTarget<'static>>, width: u32, height: u32) -> Result<webgpu::Canvas> {
        match &self.engine {
            Engine::WebGpu(engine) => engine.canvas(target.into(), width, height).await,
            #[cfg(feature = "cpu")]
            Engine::Cpu(_) => Err(Error::new(
                ErrorKind::Unsupported,
                "a model on the CPU cannot show images on a canvas; generate with the pixels and render those instead",
            )),
        }
    }

    #[cfg(feature = "webgpu")]
    /// Shows the latest image.
    ///
    /// # Errors
    /// [`ErrorKind::DeviceLost`].
    pub async fn show(&self, canvas: &webgpu::Canvas) -> Result<()> {
        match &self.engine {
            Engine::WebGpu(engine) => engine.show(canvas).await,
            #[cfg(feature = "cpu")]
            Engine::Cpu(_) => Err(Error::new(
                ErrorKind::Unsupported,
                "a model on the CPU cannot show images on a canvas; generate with the pixels and render those instead",
            )),
        }
    }
}
