//! `train autoencoder`: trains the autoencoder (VAE), from images to latents of a quarter of their size and back.
//!
//! The loss is the mean absolute error plus the mean squared error of the reconstruction plus `kl_weight` times the KL divergence of the posterior
//! from a standard normal, per latent element. After training, `scaling_factor` is set to 1/std of the training latents, so that the denoiser
//! trains on latents of unit variance.

use std::path::PathBuf;

use burn::tensor::{Device, Tensor, TensorData};
use onestep_nets::{
    AutoencoderKl, AutoencoderKlConfig, Init,
    weights::{self, Shard},
};
use onestep_noise::{Philox, Stream, normal};
use serde::{Deserialize, Serialize};

use crate::{
    data::ImageFolder,
    error::{TrainError, check_options},
    image_grid::ImageGrid,
    observer::Observer,
    pipeline_folder::{MODEL, VAE_WEIGHTS, component_files, model_index},
    presets,
    run_folder::{Entry, RunFolder},
    training_loop::{self, AveragingOptions, LoopOptions, RunOptions, Task},
};

/// Largest side of an image, in pixels.
pub const LARGEST_SIDE: usize = 4096;

/// Options of `train autoencoder`.
#[derive(Clone, Debug, clap::Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AutoencoderOptions {
    /// The image folder.
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// Side of the images in pixels.
    #[arg(long, value_name = "PIXELS")]
    pub size: usize,
    /// The run folder.
    #[arg(skip)]
    pub out: PathBuf,
    /// Size of the network.
    #[arg(long, value_parser = presets::names())]
    pub preset: String,
    /// Weight of the KL divergence.
    #[arg(skip)]
    pub kl_weight: f64,
    /// Percentage of the images that are held out, if the folder has no validation split.
    #[arg(skip)]
    pub held_out_percent: u32,
    /// Steps and update rule.
    #[command(flatten)]
    pub training: LoopOptions,
    /// Averaged weights and sample images.
    #[command(flatten)]
    pub averaging: AveragingOptions,
}

impl Default for AutoencoderOptions {
    fn default() -> Self {
        let training = LoopOptions { steps: 3000, batch: 16, ..LoopOptions::default() };
        Self {
            data: PathBuf::new(),
            size: 64,
            out: PathBuf::new(),
            preset: "tiny".into(),
            kl_weight: 1e-6,
            held_out_percent: 5,
            training,
            averaging: AveragingOptions::default(),
        }
    }
}

impl RunOptions for AutoencoderOptions {
    fn fixed_for_resume(&self) -> Self {
        let Self { data, out, .. } = Self::default();
        Self { data, out, training: self.training.fixed_for_resume(), averaging: self.averaging.fixed_for_resume(), ..self.clone() }
    }
}

/// Reconstruction quality.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AutoencoderReport {
    /// Peak signal-to-noise ratio (PSNR) on the training images, dB.
    pub psnr_trained: f64,
    /// PSNR on the held-out images, dB.
    pub psnr_held_out: f64,
    /// Numbers of training and held-out images.
    pub images: [usize; 2],
    /// 1/std of the training latents.
    pub scaling_factor: f64,
}

/// Trains and writes `model/` with the autoencoder, and `report.json`.
///
/// # Errors
/// Data, storage, a loss that is not finite, interruption.
pub fn train(
    options: &AutoencoderOptions,
    entry: Entry,
    device: &Device,
    device_name: &str,
    observer: &mut dyn Observer,
) -> Result<AutoencoderReport, TrainError> {
    let percent = options.held_out_percent;
    let kl_weight = options.kl_weight;
    check_options([
        (format!("--size {}", options.size), (1..=LARGEST_SIDE).contains(&options.size), "a number of pixels from 1 to 4096"),
        (format!("held_out_percent = {percent}"), percent <= 50, "a number from 0 to 50"),
        (format!("kl_weight = {kl_weight}"), kl_weight.is_finite() && kl_weight >= 0.0, "a number of at least 0"),
    ])?;
    options.training.check()?;
    options.averaging.check()?;
    options.training.check_batch([3, options.size, options.size])?;
    let images = ImageFolder::open(&options.data, options.size)?;
    let config = presets::preset(&options.preset, options.size, 1, 1, 0)?.vae;
    let (trained, held_out) = split(&images, percent)?;
    let mut folder = RunFolder::enter(&options.out, entry, options, device_name, ("model", MODEL))?;
    let task = Reconstruction {
        options,
        config: config.clone(),
        images: &images,
        trained: &trained,
        held_out: &held_out,
        device: device.clone().autodiff(),
    };
    device.seed(options.training.seed);
    let net = config.init(&task.device);
    let net = training_loop::train(&task, net, images.content_hash(), &mut folder, observer)?;

    // Scale the latents to unit variance.
    let latents = encode_all(&net, &images, &trained, device);
    let count = latents.len() as f64;
    let mean = latents.iter().map(|&value| f64::from(value)).sum::<f64>() / count;
    let variance = latents.iter().map(|&value| (f64::from(value) - mean).powi(2)).sum::<f64>() / count;
    let config = AutoencoderKlConfig { scaling_factor: 1.0 / variance.sqrt(), ..config };
    let report = AutoencoderReport {
        psnr_trained: psnr(&net, &images, &trained, device),
        psnr_held_out: psnr(&net, &images, &held_out, device),
        images: [trained.len(), held_out.len()],
        scaling_factor: config.scaling_factor,
    };
    let mut files = component_files("vae/config.json", config.to_json(), VAE_WEIGHTS, &net);
    files.push(model_index(&["vae"]));
    crate::store::write_folder(&options.out.join("model"), MODEL, &files)?;
    onestep_store::replace_json(&options.out.join("report.json"), &report)?;
    crate::report_page::write(&options.out)?;
    Ok(report)
}

/// Training and held-out images: the splits of the folder, or a random split that is the same in every run.
fn split(images: &ImageFolder, percent: u32) -> Result<(Vec<usize>, Vec<usize>), TrainError> {
    let (trained, validation) = images.splits()?;
    if !validation.is_empty() {
        return Ok((trained, validation));
    }
    let order = Philox::new(0, Stream::Order, u64::MAX).permutation(images.len());
    let count = (images.len() * percent as usize).div_ceil(100).min(images.len().saturating_sub(1));
    let (mut held_out, mut trained) = (order[..count].to_vec(), order[count..].to_vec());
    held_out.sort_unstable();
    trained.sort_unstable();
    Ok((trained, held_out))
}

/// Images of the folder as [N,3,H,W].
pub fn batch(images: &ImageFolder, indices: &[usize], device: &Device) -> Tensor<4> {
    let data: Vec<f32> = indices.iter().flat_map(|&index| images.pixels(index).iter().copied()).collect();
    Tensor::from_data(TensorData::new(data, [indices.len(), 3, images.size(), images.size()]), device)
}

fn encode_all(net: &AutoencoderKl, images: &ImageFolder, indices: &[usize], device: &Device) -> Vec<f32> {
    indices.chunks(32).flat_map(|chunk| net.encode(batch(images, chunk, device)).mean.to_data().try_to_vec::<f32>().unwrap_or_default()).collect()
}

/// PSNR = 10·log₁₀(4/MSE) of images in −1…1, with the MSE over all images.
fn psnr(net: &AutoencoderKl, images: &ImageFolder, indices: &[usize], device: &Device) -> f64 {
    let mut sum = 0.0;
    for chunk in indices.chunks(32) {
        let target = batch(images, chunk, device);
        let output = net.decode(net.encode(target.clone()).mean).clamp(-1.0, 1.0);
        sum += f64::from((output - target).square().mean().into_scalar::<f32>()) * chunk.len() as f64;
    }
    10.0 * (4.0 * indices.len() as f64 / sum).log10()
}

struct Reconstruction<'a> {
    options: &'a AutoencoderOptions,
    config: AutoencoderKlConfig,
    images: &'a ImageFolder,
    trained: &'a [usize],
    held_out: &'a [usize],
    device: Device,
}

impl Task for Reconstruction<'_> {
    type Net = AutoencoderKl;
    type Options = AutoencoderOptions;

    fn options(&self) -> &AutoencoderOptions {
        self.options
    }

    fn training(&self) -> &LoopOptions {
        &self.options.training
    }

    fn averaging(&self) -> &AveragingOptions {
        &self.options.averaging
    }

    fn loss(&self, net: &AutoencoderKl, step: u64) -> (Tensor<1>, Vec<(&'static str, Tensor<1>)>) {
        let training = &self.options.training;
        let indices = epoch_indices(self.trained, training.seed, step, training.batch);
        let target = batch(self.images, &indices, &self.device);
        let posterior = net.encode(target.clone());
        let shape = posterior.mean.dims();
        let noise = normal(training.seed, Stream::Posterior, step, shape.iter().product());
        let noise = Tensor::from_data(TensorData::new(noise, shape), &self.device);
        let output = net.decode(posterior.sample(noise));
        let difference = output - target;
        let absolute = difference.clone().abs().mean();
        let squared = difference.square().mean();
        let kl = posterior.kl().mean().div_scalar((shape[1] * shape[2] * shape[3]) as f64);
        let loss = absolute.clone() + squared.clone() + kl.clone().mul_scalar(self.options.kl_weight);
        (loss, vec![("absolute", absolute.inner()), ("squared", squared.inner()), ("kl", kl.inner())])
    }

    fn files(&self, net: &AutoencoderKl) -> Vec<(String, Vec<u8>)> {
        component_files("vae/config.json", self.config.to_json(), VAE_WEIGHTS, net)
    }

    fn load(&self, net: AutoencoderKl, file: &dyn Fn(&str) -> Result<Vec<u8>, TrainError>) -> Result<AutoencoderKl, TrainError> {
        weights::load(net, &[Shard::new(VAE_WEIGHTS, &file(VAE_WEIGHTS)?)])
            .map_err(|error| TrainError::input(format!("the checkpoint does not fit: {error}")))
    }

    /// Four rows: training images and their reconstructions, held-out images and their reconstructions.
    fn sample(&self, net: &AutoencoderKl) -> ImageGrid {
        let mut grid = ImageGrid::new(self.images.size());
        for indices in [self.trained, self.held_out] {
            let device = self.device.clone().inner();
            let target = batch(self.images, &indices[..indices.len().min(12)], &device);
            grid.row(&target);
            grid.row(&net.decode(net.encode(target).mean));
        }
        grid
    }
}

/// The samples of a step: random permutations of `all`, one per epoch, concatenated and cut into batches.
pub fn epoch_indices(all: &[usize], seed: u64, step: u64, batch: usize) -> Vec<usize> {
    let count = all.len() as u64;
    let (mut epoch, mut order) = (u64::MAX, Vec::new());
    (step * batch as u64..(step + 1) * batch as u64)
        .map(|position| {
            if position / count != epoch {
                epoch = position / count;
                order = Philox::new(seed, Stream::Order, epoch).permutation(all.len());
            }
            all[order[(position % count) as usize]]
        })
        .collect()
}
