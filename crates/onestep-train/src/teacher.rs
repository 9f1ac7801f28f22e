//! `train teacher`: trains text encoder and denoiser together on the latents of an image folder.
//!
//! The loss is the squared error of the predicted noise, weighted by `w(t) = max(1, min(1/SNR(t), cap))`. A cap of 1 gives the simple loss of Ho et
//! al. 2020, in which the noisiest timesteps hardly count: there even a perfect prediction of the image changes the predicted noise little. But
//! at these timesteps the prompt decides what the image becomes, above all in a set so small that a faint trace identifies an image. The weight is
//! a capped form of the truncated-SNR weight of Salimans and Ho 2022.
//!
//! Timesteps are sampled in proportion to √w, and the loss is multiplied by √w, which has the least variance for the same mean (importance
//! sampling). One caption in ten is replaced by the empty prompt for classifier-free guidance (Ho and Salimans 2022).

use std::path::PathBuf;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use onestep_nets::{
    AutoencoderKl, ClipTextModel, Init, NoiseSchedule, UNet2DConditionModel, add_noise,
    weights::{self, Shard},
};
use onestep_noise::{Philox, Stream, normal};
use serde::{Deserialize, Serialize};

use crate::{
    autoencoder::{batch, epoch_indices},
    data::{CaptionTokenizer, ImageFolder, TokenizerOptions},
    error::{TrainError, check_options},
    image_grid::ImageGrid,
    observer::Observer,
    pipeline_folder::{MODEL, ModelOptions, PipelineFolder, TEXT_WEIGHTS, UNET_WEIGHTS, component_files, in_memory, model_index, write_model},
    presets::{self, Preset},
    run_folder::{Entry, RunFolder, model_of},
    sampler::{Sampler, encode_prompts, id_tensor, noises, note_long_captions},
    store::sha256,
    training_loop::{self, AveragingOptions, LoopOptions, RunOptions, Task},
};

/// Options of `train teacher`.
#[derive(Clone, Debug, clap::Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TeacherOptions {
    /// The image folder.
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// Run or model folder of the autoencoder.
    #[arg(long, value_name = "DIR")]
    pub autoencoder: PathBuf,
    /// How the model is opened.
    #[command(flatten)]
    pub model: ModelOptions,
    /// The run folder.
    #[arg(skip)]
    pub out: PathBuf,
    /// Size of the networks.
    #[arg(long, value_parser = presets::names())]
    pub preset: String,
    /// Tokens per prompt.
    #[arg(long, value_name = "N")]
    pub prompt_tokens: usize,
    /// Probability that a caption is replaced by the empty prompt.
    #[arg(skip)]
    pub empty_prompts: f32,
    /// Largest weight of a timestep relative to the cleanest; 1 weights all equally.
    #[arg(long, value_name = "WEIGHT")]
    pub weight_cap: f64,
    /// Initial weights: a model folder, or `ema/` of a checkpoint; random if none.
    #[arg(long, value_name = "DIR")]
    pub initial: Option<PathBuf>,
    /// Guidance of the sample images.
    #[arg(skip)]
    pub sample_guidance: f64,
    /// Steps and update rule.
    #[command(flatten)]
    pub training: LoopOptions,
    /// Averaged weights and sample images.
    #[command(flatten)]
    pub averaging: AveragingOptions,
}

impl Default for TeacherOptions {
    fn default() -> Self {
        let training = LoopOptions { steps: 20_000, batch: 32, save_every: 500, ..LoopOptions::default() };
        Self {
            data: PathBuf::new(),
            autoencoder: PathBuf::new(),
            model: ModelOptions::default(),
            out: PathBuf::new(),
            preset: "tiny".into(),
            prompt_tokens: 16,
            empty_prompts: 0.1,
            weight_cap: 250.0,
            initial: None,
            sample_guidance: 2.0,
            training,
            averaging: AveragingOptions { sample_every: 1000, ..AveragingOptions::default() },
        }
    }
}

impl RunOptions for TeacherOptions {
    fn fixed_for_resume(&self) -> Self {
        let Self { data, autoencoder, out, initial, sample_guidance, .. } = Self::default();
        Self {
            data,
            autoencoder,
            out,
            initial,
            sample_guidance,
            training: self.training.fixed_for_resume(),
            averaging: self.averaging.fixed_for_resume(),
            ..self.clone()
        }
    }
}

/// The networks that are trained together.
#[derive(Module, Debug)]
pub struct Teacher {
    /// The denoiser.
    pub unet: UNet2DConditionModel,
    /// The text encoder.
    pub text_encoder: ClipTextModel,
}

/// Trains, and writes a pipeline folder to `model/`.
///
/// # Errors
/// Data, storage, a loss that is not finite, interruption.
pub fn train(options: &TeacherOptions, entry: Entry, device: &Device, device_name: &str, observer: &mut dyn Observer) -> Result<(), TrainError> {
    check_options([
        (format!("--prompt-tokens {}", options.prompt_tokens), (3..=1024).contains(&options.prompt_tokens), "a number from 3 to 1024"),
        (format!("--weight-cap {}", options.weight_cap), options.weight_cap.is_finite() && options.weight_cap >= 1.0, "a number of at least 1"),
        (format!("empty_prompts = {}", options.empty_prompts), (0.0..=1.0).contains(&options.empty_prompts), "a fraction from 0 to 1"),
        (format!("sample_guidance = {}", options.sample_guidance), options.sample_guidance.is_finite(), "a number that is finite"),
    ])?;
    options.training.check()?;
    options.averaging.check()?;
    let autoencoder = PipelineFolder::open_with(&model_of(&options.autoencoder)?, &options.model)?;
    let size = autoencoder.image_size()?;
    let images = ImageFolder::open_trained(&options.data, size)?;
    let vae = autoencoder.vae(device)?;
    let tokenizer = CaptionTokenizer::train(images.captions(), &TokenizerOptions { length: options.prompt_tokens, ..TokenizerOptions::default() })?;
    let preset = presets::preset(&options.preset, size, tokenizer.vocabulary_size(), tokenizer.length(), tokenizer.end_id())?;
    let schedule = NoiseSchedule::new(&preset.scheduler).map_err(|error| TrainError::input(error.to_string()))?;
    let mut folder = RunFolder::enter(&options.out, entry, options, device_name, ("model", MODEL))?;

    let autodiff = device.clone().autodiff();
    let mut prompts = Vec::with_capacity(images.len());
    for index in 0..images.len() {
        prompts.push(images.train_prompts(index).iter().map(|prompt| tokenizer.encode(prompt)).collect::<Result<Vec<_>, _>>()?);
    }
    let (latents, shape) = encode_images(&vae, &images, device, observer);
    let side = size / 4;
    if shape != [preset.unet.in_channels, side, side] {
        return Err(TrainError::input(format!(
            "the autoencoder in {} makes latents of {shape:?}, a teacher of the preset {} takes [{}, {side}, {side}]: train one with onestep train autoencoder",
            options.autoencoder.display(),
            preset.name,
            preset.unet.in_channels
        )));
    }
    options.training.check_batch(shape)?;
    let timesteps = TimestepSampler::new(&schedule, options.weight_cap);
    let task = NoisePrediction {
        options,
        preset: &preset,
        schedule,
        images: &images,
        prompts,
        empty: tokenizer.encode("")?,
        timesteps,
        latents,
        shape,
        tokenizer: &tokenizer,
        vae,
        device: autodiff,
    };
    device.seed(options.training.seed);
    let mut net = Teacher { unet: preset.unet.init(&task.device), text_encoder: preset.text_encoder.init(&task.device) };
    if let Some(initial) = &options.initial {
        net = task
            .load(net, &|name| Ok(onestep_store::read(&initial.join(name))?))
            .map_err(|error| TrainError::new(error.kind(), format!("--initial {}: {error}", initial.display())))?;
    }
    let captions = (0..images.len()).flat_map(|index| images.train_prompts(index));
    note_long_captions(&tokenizer, captions.map(String::as_str), observer)?;
    observer.note(&format!("{} images, {} token ids, {} parameters", images.len(), tokenizer.vocabulary_size(), net.num_params()));
    let data = sha256(format!("{} {}", images.content_hash(), autoencoder.hash()?).as_bytes());
    let net = training_loop::train(&task, net, &data, &mut folder, observer)?;

    let mut files = task.files(&net);
    files.push(("scheduler/scheduler_config.json".into(), preset.scheduler.to_json().into_bytes()));
    files.extend(tokenizer.files());
    files.push(model_index(&["vae", "unet", "text_encoder", "scheduler", "tokenizer"]));
    let mut files: Vec<_> = in_memory(files).collect();
    files.extend(autoencoder.component("vae")?);
    write_model(&options.out.join("model"), &files)?;
    crate::report_page::write(&options.out)
}

/// The distribution of timesteps, and the weights of their losses.
struct TimestepSampler {
    /// Probability of this timestep or a smaller one.
    cumulative: Vec<f64>,
    /// Weight of the loss, normalised to a mean of 1 over sampled timesteps.
    weights: Vec<f32>,
}

impl TimestepSampler {
    /// Probability and weight are both √w, normalised.
    fn new(schedule: &NoiseSchedule, cap: f64) -> Self {
        let roots: Vec<f64> = schedule.alphas_cumprod().iter().map(|&alpha| ((1.0 - alpha) / alpha).min(cap).max(1.0).sqrt()).collect();
        let sum: f64 = roots.iter().sum();
        let mean = roots.iter().map(|root| root * root).sum::<f64>() / sum;
        let cumulative = roots.iter().scan(0.0, |total, root| {
            *total += root / sum;
            Some(*total)
        });
        Self { cumulative: cumulative.collect(), weights: roots.iter().map(|root| (root / mean) as f32).collect() }
    }

    /// The timestep for a uniform random number in [0, 1).
    fn sample(&self, uniform: f32) -> usize {
        self.cumulative.partition_point(|&probability| probability <= f64::from(uniform)).min(self.cumulative.len() - 1)
    }
}

/// Model-space latents of all images, flat, and the shape of one: [channels, rows, columns].
fn encode_images(vae: &AutoencoderKl, images: &ImageFolder, device: &Device, observer: &mut dyn Observer) -> (Vec<f32>, [usize; 3]) {
    observer.begin("encoding images", images.len() as u64, 0);
    let all: Vec<usize> = (0..images.len()).collect();
    let (mut latents, mut shape) = (Vec::new(), [0; 3]);
    for chunk in all.chunks(32) {
        let mean = vae.encode(batch(images, chunk, device)).mean;
        let [_, channels, rows, columns] = mean.dims();
        shape = [channels, rows, columns];
        latents.extend(vae.to_model_space(mean).to_data().try_to_vec::<f32>().unwrap_or_default());
        observer.step(chunk[chunk.len() - 1] as u64 + 1, "");
    }
    (latents, shape)
}

struct NoisePrediction<'a> {
    options: &'a TeacherOptions,
    preset: &'a Preset,
    schedule: NoiseSchedule,
    images: &'a ImageFolder,
    /// Token ids of each image's captions.
    prompts: Vec<Vec<Vec<u32>>>,
    empty: Vec<u32>,
    timesteps: TimestepSampler,
    latents: Vec<f32>,
    /// [channels, rows, columns] of a latent.
    shape: [usize; 3],
    tokenizer: &'a CaptionTokenizer,
    vae: AutoencoderKl,
    device: Device,
}

impl Task for NoisePrediction<'_> {
    type Net = Teacher;
    type Options = TeacherOptions;

    fn options(&self) -> &TeacherOptions {
        self.options
    }

    fn training(&self) -> &LoopOptions {
        &self.options.training
    }

    fn averaging(&self) -> &AveragingOptions {
        &self.options.averaging
    }

    fn loss(&self, net: &Teacher, step: u64) -> (Tensor<1>, Vec<(&'static str, Tensor<1>)>) {
        let LoopOptions { seed, batch, .. } = self.options.training;
        let all: Vec<usize> = (0..self.images.len()).collect();
        let indices = epoch_indices(&all, seed, step, batch);
        let mut random = Philox::new(seed, Stream::Prompt, step);
        let ids: Vec<u32> = indices
            .iter()
            .flat_map(|&index| {
                let captions = &self.prompts[index];
                let caption = &captions[random.below(captions.len() as u32) as usize];
                if random.unit() < self.options.empty_prompts { self.empty.clone() } else { caption.clone() }
            })
            .collect();
        let mut random = Philox::new(seed, Stream::Timestep, step);
        let timesteps: Vec<usize> = indices.iter().map(|_| self.timesteps.sample(random.unit())).collect();
        let elements: usize = self.shape.iter().product();
        let [channels, rows, columns] = self.shape;
        let tensor = |data| Tensor::<4>::from_data(TensorData::new(data, [batch, channels, rows, columns]), &self.device);
        let x = tensor(indices.iter().flat_map(|&index| self.latents[index * elements..(index + 1) * elements].iter().copied()).collect());
        let noise = tensor(normal(seed, Stream::Training, step, batch * elements));

        let noisy = add_noise(&self.schedule, x, noise.clone(), &timesteps);
        let time =
            Tensor::<1>::from_data(TensorData::new(timesteps.iter().map(|&timestep| timestep as f32).collect::<Vec<_>>(), [batch]), &self.device);
        let context = net.text_encoder.forward(id_tensor(&ids, self.tokenizer.length(), &self.device)).last_hidden_state;
        let predicted = net.unet.forward(noisy, time, context);
        let error = (predicted - noise).square().mean_dims(&[1, 2, 3]).reshape([batch]);
        let weights: Vec<f32> = timesteps.iter().map(|&timestep| self.timesteps.weights[timestep]).collect();
        let weighted = (error.clone() * Tensor::from_data(TensorData::new(weights, [batch]), &self.device)).mean();
        (weighted, vec![("unweighted", error.mean().inner())])
    }

    fn files(&self, net: &Teacher) -> Vec<(String, Vec<u8>)> {
        let mut files = component_files("unet/config.json", self.preset.unet.to_json(), UNET_WEIGHTS, &net.unet);
        files.extend(component_files("text_encoder/config.json", self.preset.text_encoder.to_json(), TEXT_WEIGHTS, &net.text_encoder));
        files
    }

    fn load(&self, net: Teacher, file: &dyn Fn(&str) -> Result<Vec<u8>, TrainError>) -> Result<Teacher, TrainError> {
        let refuse = |error: onestep_nets::weights::LoadError| TrainError::input(format!("the checkpoint does not fit: {error}"));
        Ok(Teacher {
            unet: weights::load(net.unet, &[Shard::new(UNET_WEIGHTS, &file(UNET_WEIGHTS)?)]).map_err(refuse)?,
            text_encoder: weights::load(net.text_encoder, &[Shard::new(TEXT_WEIGHTS, &file(TEXT_WEIGHTS)?)]).map_err(refuse)?,
        })
    }

    /// Two rows: some images of the folder, and images that the teacher samples for the same captions.
    fn sample(&self, net: &Teacher) -> ImageGrid {
        let mut grid = ImageGrid::new(self.images.size());
        let device = self.device.clone().inner();
        let count = self.images.len().min(16);
        let indices: Vec<usize> = (0..count).map(|i| i * self.images.len() / count).collect();
        let prompts: Vec<&str> = indices.iter().map(|&index| self.images.entries()[index].text.as_str()).collect();
        let seeds: Vec<u64> = (0..count as u64).collect();
        let sampler = Sampler { unet: &net.unet, schedule: &self.schedule, steps: 20, guidance: self.options.sample_guidance };
        let sampled = (|| -> Result<_, TrainError> {
            let condition = encode_prompts(&net.text_encoder, self.tokenizer, &prompts, &device)?;
            let empty = encode_prompts(&net.text_encoder, self.tokenizer, &[""], &device)?;
            sampler.latents(noises(&seeds, self.shape, &device), condition, &empty).map_err(|error| TrainError::input(error.to_string()))
        })();
        if let Ok(latents) = sampled {
            grid.row(&batch(self.images, &indices, &device));
            grid.row(&self.vae.decode(self.vae.from_model_space(latents)));
        }
        grid
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probability_times_weight_is_the_weight_of_the_loss() {
        let preset = presets::preset("test", 32, 10, 4, 1).unwrap();
        let schedule = NoiseSchedule::new(&preset.scheduler).unwrap();
        let timesteps = TimestepSampler::new(&schedule, 250.0);
        let probability = |t: usize| timesteps.cumulative[t] - if t == 0 { 0.0 } else { timesteps.cumulative[t - 1] };
        let weight = |t: usize| probability(t) * f64::from(timesteps.weights[t]);
        let snr = |t: usize| schedule.alphas_cumprod()[t] / (1.0 - schedule.alphas_cumprod()[t]);
        for t in [500, 800, 999] {
            assert!((weight(t) / weight(0) * snr(t) - 1.0).abs() < 1e-4, "{t}");
        }
        assert!((timesteps.cumulative[999] - 1.0).abs() < 1e-9);
        let mean: f64 = (0..1000).map(weight).sum();
        assert!((mean - 1.0).abs() < 1e-5, "{mean}");
        assert_eq!((timesteps.sample(0.0), timesteps.sample(1.0 - f32::EPSILON / 2.0)), (0, 999));
        let even = TimestepSampler::new(&schedule, 1.0);
        assert_eq!((even.sample(0.2505), even.weights[7]), (250, 1.0));
    }
}
