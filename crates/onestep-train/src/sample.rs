//! `sample`: images or latents from prompts, by any teacher or one-step generator.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use onestep_nets::{AddedConditions, AutoencoderKl, Conditioning, ConfigError, NoiseSchedule, OneStep, OneStepRule, UNet2DConditionModel};
use onestep_pipeline::{Family, Part};
use safetensors::{Dtype, SafeTensorError, tensor::TensorView};

use crate::{
    data::pixels_of_size,
    error::{TrainError, TrainErrorKind, check_options},
    image_grid::rgb,
    observer::Observer,
    pipeline_folder::{ModelOptions, PipelineFolder},
    prompt_encoder::PromptEncoder,
    run_folder::model_of,
    sampler::{Evaluation, Sampler, Start, fresh_noise, is_guided, noises, one_step, takes_guidance},
};

/// Steps of a model that needs many, if none are given; diffusers' default.
const STEPS: usize = 50;
/// Guidance scales if none is given; diffusers' defaults for Stable Diffusion, for XL, and for latent consistency models.
const GUIDANCE: [f64; 3] = [7.5, 5.0, 8.5];

/// Number of prompts that are encoded at a time: 120 MB of conditions at Stable Diffusion 1's size.
const PORTION: usize = 512;

/// Options of `sample`.
#[derive(Clone, Debug)]
pub struct SampleOptions {
    /// The model: a run folder, a pipeline folder, or a single file.
    pub model: PathBuf,
    /// How it is opened.
    pub opening: ModelOptions,
    /// A `scheduler_config.json` or the name of a class, in place of the model's scheduler.
    pub scheduler: Option<String>,
    /// How the network is read in one step, where the model's files do not say it.
    pub one_step: Option<OneStep>,
    /// Timestep of that step, in place of the rule's own.
    pub timestep: Option<usize>,
    /// Steps of the solver; 1 for one-step generators and 50 for others if None.
    pub steps: Option<usize>,
    /// Guidance scale; that of diffusers' pipelines if None, and 1 for one-step generators that are not told it.
    pub guidance: Option<f64>,
    /// What the images should not show; the empty prompt if None.
    pub negative: Option<String>,
    /// Images per forward pass.
    pub batch: usize,
    /// An image to begin with instead of noise, a PNG file.
    pub init_image: Option<PathBuf>,
    /// Fraction of the steps that are taken from `init_image`, 0 to 1.
    pub strength: f64,
}

/// An image to be sampled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampleRequest {
    /// The prompt.
    pub prompt: String,
    /// The seed of the noise.
    pub seed: u64,
}

/// An image that was sampled.
#[derive(Clone, Debug)]
pub struct SampledImage {
    /// Height and width in pixels.
    pub size: [usize; 2],
    /// Interleaved RGB bytes, row by row.
    pub rgb: Vec<u8>,
}

/// Tensors by name.
pub type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// How a model is sampled, as resolved from options and files.
pub struct SampleModel {
    folder: PipelineFolder,
    schedule: NoiseSchedule,
    rule: Option<OneStepRule>,
    steps: usize,
    guidance: f64,
    options: SampleOptions,
}

impl SampleModel {
    /// Opens a model and decides how it is sampled. No weights are read.
    ///
    /// # Errors
    /// A model that cannot be opened, parts that do not fit, options that cannot work with it.
    pub fn open(options: &SampleOptions) -> Result<Self, TrainError> {
        let usage = |error: ConfigError| TrainError::new(TrainErrorKind::Usage, error.to_string());
        check_options([
            (format!("--batch {}", options.batch), options.batch > 0, "at least 1"),
            (format!("--strength {}", options.strength), (0.0..=1.0).contains(&options.strength), "a number from 0 to 1"),
            (format!("--guidance {}", options.guidance.unwrap_or(1.0)), options.guidance.is_none_or(f64::is_finite), "a number that is finite"),
        ])?;
        let mut folder = PipelineFolder::open_with(&model_of(&options.model)?, &options.opening)?;
        folder.use_scheduler(options.scheduler.as_deref(), None)?;
        folder.check()?;
        let schedule = folder.schedule()?;
        let kind = options.one_step.or(folder.one_step_kind()?);
        let steps = options.steps.unwrap_or(if kind.is_some() { 1 } else { STEPS });
        let is_told = folder.unet_config()?.time_cond_proj_dim.is_some();
        let guidance = options.guidance.unwrap_or(match folder.pipeline().family()? {
            _ if is_told => GUIDANCE[2],
            _ if kind.is_some() => 1.0,
            Family::StableDiffusionXl => GUIDANCE[1],
            _ => GUIDANCE[0],
        });
        // More steps than one, and guidance, are the scheduler's business, also for networks that can do it in one step.
        let is_plain = steps == 1 && options.init_image.is_none() && (is_told || !is_guided(guidance) || options.one_step.is_some());
        let rule = match kind {
            Some(_) if is_plain => Some(folder.one_step_rule(kind, options.timestep)?),
            _ => None,
        };
        if rule.is_none() {
            if let Some(timestep) = options.timestep {
                let message = format!("--timestep {timestep}: only a single step has a timestep of its own; give --one-step and no --steps");
                return Err(TrainError::new(TrainErrorKind::Usage, message));
            }
            onestep_pipeline::solver::timesteps(&schedule, steps).map_err(usage)?;
        } else if is_guided(guidance) && !is_told {
            let message = format!("--guidance {guidance}: this network is evaluated once, without guidance; leave it out, or give --steps above 1");
            return Err(TrainError::new(TrainErrorKind::Usage, message));
        }
        Ok(Self { folder, schedule, rule, steps, guidance, options: options.clone() })
    }

    /// Height and width of the images in pixels.
    ///
    /// # Errors
    /// The model says no size, and none was given.
    pub fn size(&self) -> Result<[usize; 2], TrainError> {
        Ok(self.folder.image_sizes()?.image)
    }

    /// The parameters of an image in the convention of Stable Diffusion web UIs.
    pub fn parameters(&self, request: &SampleRequest, [height, width]: [usize; 2]) -> String {
        let line = |text: &str| text.chars().map(|sign| if sign.is_control() { ' ' } else { sign }).collect::<String>();
        let negative = self.options.negative.as_deref().map_or_else(String::new, |text| format!("Negative prompt: {}\n", line(text)));
        let sampler = if self.rule.is_some() { "one step" } else { self.schedule.config().class.name() };
        let model = self.folder.pipeline().path().file_stem().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        format!(
            "{}\n{negative}Steps: {}, Sampler: {sampler}, CFG scale: {}, Seed: {}, Size: {width}x{height}, Model: {}, Version: onestep {}",
            line(&request.prompt),
            self.steps,
            self.guidance,
            request.seed,
            line(&model).replace([',', ':'], " "),
            env!("CARGO_PKG_VERSION")
        )
    }

    /// What is done for each image, in words.
    pub fn describe(&self) -> String {
        match &self.rule {
            Some(rule) => format!("one step at t = {}", rule.timestep),
            None => format!("{} steps of {}, guidance {}", self.steps, self.schedule.config().class.name(), self.guidance),
        }
    }

    /// Samples images in batches and hands them to `take` with their position in `requests`.
    ///
    /// # Errors
    /// A part that cannot be read, a prompt that the tokenizer refuses, an image that is not finite, interruption, errors of `take`.
    pub fn images(
        &self,
        requests: &[SampleRequest],
        device: &Device,
        observer: &mut dyn Observer,
        take: &mut dyn FnMut(usize, SampledImage) -> Result<(), TrainError>,
    ) -> Result<(), TrainError> {
        let sizes = self.folder.image_sizes()?;
        let start = match &self.options.init_image {
            Some(path) => Some(self.encode_image(path, sizes.image, device)?),
            None => None,
        };
        let encode = |requests: &[SampleRequest], observer: &mut dyn Observer| self.conditions(requests, device, observer);
        // The text encoders are dropped before the denoiser is read, and opened again for each portion of the requests.
        let portion = PORTION.next_multiple_of(self.options.batch);
        let (mut conditions, negative) = encode(&requests[..portion.min(requests.len())], observer)?;
        let unet = self.folder.unet(device)?;
        let decoder = self.folder.decoder(device)?;
        let per_step = if is_guided(self.guidance) && !takes_guidance(&unet) { 2 } else { 1 };
        let per_image = if self.rule.is_some() { 1 } else { self.sampler(&unet).evaluations().map_err(usage)? };
        let mut done = 0;
        observer.begin("sampling", (requests.len() * per_image) as u64, 0);
        for (number, batch) in requests.chunks(self.options.batch).enumerate() {
            let (first, seeds) = (number * self.options.batch, batch.iter().map(|request| request.seed).collect::<Vec<_>>());
            let at = first % portion;
            if at == 0 && first > 0 {
                conditions = encode(&requests[first..(first + portion).min(requests.len())], observer)?.0;
            }
            let requests = batch;
            let Some(condition) = conditions[at..at + requests.len()].iter().cloned().reduce(Conditioning::cat) else { continue };
            let z = noises(&seeds, sizes.latent, device);
            let latents = match (self.rule, &start) {
                (Some(rule), _) => {
                    done += requests.len() as u64;
                    one_step(&unet, rule, z, condition)
                }
                (None, start) => {
                    let start = match start {
                        None => Start::Noise(z),
                        Some(latents) => {
                            Start::Image { latents: latents.clone().repeat_dim(0, seeds.len()), noise: z, strength: self.options.strength }
                        }
                    };
                    let mut fresh = |index| fresh_noise(&seeds, index, sizes.latent, device);
                    let sampled = self.sampler(&unet).sample(start, &mut fresh, condition, &negative, |_: Evaluation<'_>| -> Result<(), Stop> {
                        done += (per_step * requests.len()) as u64;
                        observer.step(done, "");
                        if observer.stopped() { Err(Stop::Interrupted) } else { Ok(()) }
                    });
                    sampled.map_err(Stop::into_error)?
                }
            };
            let pixels = decoder.forward(latents);
            if pixels.to_data().iter::<f32>().any(|value| !value.is_finite()) {
                let message = format!(
                    "sampling {:?}, seed {}: the image holds NaN or an infinite value; try another --guidance, --steps or --scheduler",
                    requests[0].prompt, requests[0].seed
                );
                return Err(TrainError::new(TrainErrorKind::NonFinite, message));
            }
            for (index, rgb) in rgb(&pixels).into_iter().enumerate() {
                take(first + index, SampledImage { size: sizes.image, rgb })?;
            }
            observer.step(done, "");
            if observer.stopped() {
                return Err(Stop::Interrupted.into_error());
            }
        }
        Ok(())
    }

    /// Samples latents from given tensors, under the names of diffusers' arguments:
    ///
    /// - `latents` [N,C,H,W]: unit Gaussian noise;
    /// - `prompt_embeds` [N,tokens,features]; with guidance `negative_prompt_embeds` of the same shape;
    /// - of Stable Diffusion XL `pooled_prompt_embeds` [N,features], `negative_pooled_prompt_embeds`, and optionally `add_time_ids` [N,6];
    /// - of stochastic solvers optionally `noise` [evaluations,N,C,H,W], in place of that of seed 0, 1, ….
    ///
    /// Returns `latents` [N,C,H,W]; with `trajectory` also `trajectory` [evaluations,N,C,H,W], the latents after each evaluation.
    ///
    /// # Errors
    /// A tensor that is missing or of another shape, named; a part that cannot be read.
    pub fn latents(&self, inputs: &Tensors, trajectory: bool, device: &Device, observer: &mut dyn Observer) -> Result<Tensors, TrainError> {
        let unet_config = self.folder.unet_config()?;
        let latents: Tensor<4> = input(inputs, "latents", &[None, Some(unet_config.in_channels), None, None], device)?;
        let [count, channels, rows, columns] = latents.dims();
        let guided = self.rule.is_none() && is_guided(self.guidance) && unet_config.time_cond_proj_dim.is_none();
        let width = unet_config.cross_attention_dim.expand(unet_config.block_out_channels.len()).and_then(|widths| widths.first().copied());
        let is_xl = unet_config.addition_embed_type.is_some();
        let condition = |prefix: &str| -> Result<Conditioning, TrainError> {
            let states: Tensor<3> = input(inputs, &format!("{prefix}prompt_embeds"), &[Some(count), None, width], device)?;
            let added = if is_xl {
                let pooled = self.folder.pipeline().text_config(Part::TextEncoder2)?.projection_dim;
                let text_embeds: Tensor<2> = input(inputs, &format!("{prefix}pooled_prompt_embeds"), &[Some(count), Some(pooled)], device)?;
                let time_ids = if inputs.contains_key("add_time_ids") {
                    input(inputs, "add_time_ids", &[Some(count), Some(6)], device)?
                } else {
                    let [height, width] = self.folder.image_sizes()?.image.map(|side| side as f32);
                    Tensor::<1>::from_data([height, width, 0.0, 0.0, height, width], device).reshape([1, 6]).repeat_dim(0, count)
                };
                Some(AddedConditions { text_embeds, time_ids })
            } else {
                None
            };
            let guidance =
                unet_config.time_cond_proj_dim.map(|size| onestep_nets::guidance_features(self.guidance, size, device).repeat_dim(0, count));
            Ok(Conditioning { states, added, guidance })
        };
        let conditional = condition("")?;
        let unconditional = if guided { condition("negative_")? } else { conditional.clone() };
        let noise = match inputs.contains_key("noise") {
            true => {
                let axes = [Some(self.timesteps()?), Some(count), Some(channels), Some(rows), Some(columns)];
                Some(input::<5>(inputs, "noise", &axes, device)?)
            }
            false => None,
        };
        let unet = self.folder.unet(device)?;
        let mut steps: Vec<Tensor<4>> = Vec::new();
        let result = match self.rule {
            Some(rule) => one_step(&unet, rule, latents, conditional),
            None => {
                let seeds: Vec<u64> = (0..count as u64).collect();
                let mut fresh = |index: usize| match &noise {
                    Some(noise) => noise.clone().narrow(0, index, 1).reshape([count, channels, rows, columns]),
                    None => fresh_noise(&seeds, index, [channels, rows, columns], device),
                };
                observer.begin("sampling", self.timesteps()? as u64, 0);
                // Guidance is per image here, so the unconditional half is given whole.
                let sampler = self.sampler(&unet);
                let sampled = sampler.sample_with(Start::Noise(latents), &mut fresh, conditional, unconditional, |evaluation| -> Result<(), Stop> {
                    if trajectory {
                        steps.push(evaluation.latents.clone());
                    }
                    observer.step(evaluation.index as u64 + 1, "");
                    if observer.stopped() { Err(Stop::Interrupted) } else { Ok(()) }
                });
                sampled.map_err(Stop::into_error)?
            }
        };
        let mut outputs = Tensors::new();
        if trajectory {
            steps = if steps.is_empty() { vec![result.clone()] } else { steps };
            let shape = [vec![steps.len()], result.dims().to_vec()].concat();
            let values = steps.into_iter().flat_map(|step| step.into_data().iter::<f32>().collect::<Vec<_>>()).collect();
            outputs.insert("trajectory".into(), (shape, values));
        }
        outputs.insert("latents".into(), (result.dims().to_vec(), result.into_data().iter::<f32>().collect()));
        Ok(outputs)
    }

    fn sampler<'a>(&'a self, unet: &'a UNet2DConditionModel) -> Sampler<'a> {
        Sampler { unet, schedule: &self.schedule, steps: self.steps, guidance: self.guidance }
    }

    /// Evaluations of the solver, guidance not counted.
    fn timesteps(&self) -> Result<usize, TrainError> {
        Ok(onestep_pipeline::solver::timesteps(&self.schedule, self.steps).map_err(usage)?.len())
    }

    /// The conditions of each request, and those of the unconditional prediction.
    fn conditions(
        &self,
        requests: &[SampleRequest],
        device: &Device,
        observer: &mut dyn Observer,
    ) -> Result<(Vec<Conditioning>, Conditioning), TrainError> {
        let encoder = PromptEncoder::open(&self.folder, self.guidance, device)?;
        encoder.note_long_captions(requests.iter().map(|request| request.prompt.as_str()), observer)?;
        let negative = match &self.options.negative {
            Some(text) => encoder.encode(&[text], device)?,
            None => encoder.unconditional(device)?,
        };
        // The same prompt with several seeds is encoded once.
        let mut known: BTreeMap<&str, Conditioning> = BTreeMap::new();
        let mut conditions = Vec::with_capacity(requests.len());
        for request in requests {
            let condition = match known.get(request.prompt.as_str()) {
                Some(condition) => condition.clone(),
                None => encoder.encode(&[&request.prompt], device)?,
            };
            known.insert(&request.prompt, condition.clone());
            conditions.push(condition);
        }
        Ok((conditions, negative))
    }

    /// The model-space latents [1,C,H,W] of an image file, fitted to `size` = [height, width]: the mean of the autoencoder's distribution.
    fn encode_image(&self, path: &Path, size: [usize; 2], device: &Device) -> Result<Tensor<4>, TrainError> {
        let pixels = pixels_of_size(&onestep_store::read(path)?, &path.display().to_string(), size)?;
        let vae: AutoencoderKl = self.folder.vae(device)?;
        let image = Tensor::from_data(TensorData::new(pixels, [1, 3, size[0], size[1]]), device);
        Ok(vae.to_model_space(vae.encode(image).mean))
    }
}

/// Tensors as the bytes of a safetensors file.
///
/// # Errors
/// Tensors with as many values as their shape does not say.
pub fn safetensors_bytes(tensors: &Tensors) -> Result<Vec<u8>, TrainError> {
    let failed = |error: SafeTensorError| TrainError::new(TrainErrorKind::Storage, format!("writing tensors: {error}"));
    let bytes: Vec<(&str, &[usize], Vec<u8>)> = tensors
        .iter()
        .map(|(name, (shape, values))| (name.as_str(), shape.as_slice(), values.iter().flat_map(|value| value.to_le_bytes()).collect()))
        .collect();
    let views: Vec<(&str, TensorView<'_>)> = bytes
        .iter()
        .map(|(name, shape, bytes)| Ok((*name, TensorView::new(Dtype::F32, shape.to_vec(), bytes)?)))
        .collect::<Result<_, _>>()
        .map_err(failed)?;
    safetensors::serialize(views, None).map_err(failed)
}

/// Why sampling ended before its end.
enum Stop {
    Config(ConfigError),
    Interrupted,
}

impl From<ConfigError> for Stop {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl Stop {
    fn into_error(self) -> TrainError {
        match self {
            Self::Config(error) => usage(error),
            Self::Interrupted => TrainError::new(TrainErrorKind::Interrupted, "stopped; images that were finished are kept"),
        }
    }
}

fn usage(error: ConfigError) -> TrainError {
    TrainError::new(TrainErrorKind::Usage, error.to_string())
}

/// A tensor of the inputs; `axes` are the lengths that it must have.
fn input<const D: usize>(inputs: &Tensors, name: &str, axes: &[Option<usize>; D], device: &Device) -> Result<Tensor<D>, TrainError> {
    let expected = || axes.iter().map(|axis| axis.map_or_else(|| "any".to_owned(), |axis| axis.to_string())).collect::<Vec<_>>().join(",");
    let Some((shape, values)) = inputs.get(name) else {
        let names = inputs.keys().cloned().collect::<Vec<_>>().join(", ");
        return Err(TrainError::input(format!("the inputs have no tensor {name} [{}]; they have {names}", expected())));
    };
    let fits = shape.len() == D && shape.iter().zip(axes).all(|(length, axis)| *length > 0 && axis.is_none_or(|axis| axis == *length));
    if !fits {
        return Err(TrainError::input(format!("the input {name} has the shape {shape:?}, expected [{}]", expected())));
    }
    if values.iter().any(|value| !value.is_finite()) {
        return Err(TrainError::input(format!("the input {name} holds NaN or an infinite value")));
    }
    let dims: [usize; D] = std::array::from_fn(|axis| shape[axis]);
    Ok(Tensor::from_data(TensorData::new(values.clone(), dims), device))
}
