//! `train latent-vgg`: trains the features of LatentLPIPS, a VGG-16 that classifies latents, and normalises its heads.
//!
//! The published networks learned the classes of ImageNet from latents of its images. Here the class label is the caption: images of one caption
//! are one class. Latents are encoded once; each step augments them and adds a sample of the encoder's posterior.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use burn::tensor::{Device, Int, Tensor, TensorData, activation::log_softmax};
use onestep_nets::{
    AutoencoderKl, FEATURES, LatentClassifier, LatentLpips, LatentLpipsConfig, LatentScaling, MetricSpace, NormKind,
    weights::{self, Shard},
};
use onestep_noise::{Philox, Stream, normal};
use serde::{Deserialize, Serialize};

use super::{
    latent_augmentation::LatentAugmentationOptions,
    metric_file::{METRIC, Metric},
};
use crate::{
    autoencoder::{batch as image_batch, epoch_indices},
    data::ImageFolder,
    error::{TrainError, TrainErrorKind, check_options},
    image_grid::ImageGrid,
    observer::Observer,
    pipeline_folder::{ModelOptions, PipelineFolder},
    run_folder::{Entry, RunFolder, model_of},
    store::sha256,
    training_loop::{self, AveragingOptions, LoopOptions, RunOptions, Task},
};

/// Options of `train latent-vgg`.
#[derive(Clone, Debug, clap::Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LatentVggOptions {
    /// Run or model folder with the autoencoder.
    #[arg(long, value_name = "DIR")]
    pub autoencoder: PathBuf,
    /// How the model is opened.
    #[command(flatten)]
    pub model: ModelOptions,
    /// The image folder; the caption is the class label.
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// The run folder.
    #[arg(skip)]
    pub out: PathBuf,
    /// What is classified: latent, or pixel for a pixel LPIPS to compare with.
    #[arg(long, value_parser = named::<MetricSpace>)]
    pub space: MetricSpace,
    /// Channels of the five stages of the VGG, such as 32,64,128,256,256; the full network has 64,128,256,512,512.
    #[arg(long, value_parser = parse_widths)]
    pub widths: [usize; 5],
    /// Norm after each convolution: batch, as in the published metrics, or group, which is insensitive to contrast.
    ///
    /// Batch norms train with the statistics of each batch; at the end they get those of many latents.
    #[arg(long, value_parser = named::<NormKind>)]
    pub norm: NormKind,
    /// Augmentation of the latents.
    #[command(flatten)]
    pub augmentation: LatentAugmentationOptions,
    /// Percentage of each label's images that are held out, if the folder has no validation split. If no label has several images, the training
    /// images are evaluated instead.
    #[arg(skip)]
    pub held_out_percent: u32,
    /// Label smoothing: the probability that a target spreads over all labels.
    #[arg(skip)]
    pub label_smoothing: f64,
    /// Steps and update rule.
    #[command(flatten)]
    pub training: LoopOptions,
    /// Averaged weights and sample images.
    #[command(flatten)]
    pub averaging: AveragingOptions,
}

impl Default for LatentVggOptions {
    fn default() -> Self {
        let mut training = LoopOptions { steps: 2000, batch: 32, save_every: 500, ..LoopOptions::default() };
        training.optimizer.learning_rate = 1e-3;
        training.optimizer.decay_fraction = 0.5;
        Self {
            autoencoder: PathBuf::new(),
            model: ModelOptions::default(),
            data: PathBuf::new(),
            out: PathBuf::new(),
            space: MetricSpace::Latent,
            widths: LatentLpipsConfig::HALF,
            norm: NormKind::default(),
            augmentation: LatentAugmentationOptions { scale_std: 0.15, ..LatentAugmentationOptions::default() },
            held_out_percent: 10,
            label_smoothing: 0.1,
            training,
            averaging: AveragingOptions { sample_every: 1000, ..AveragingOptions::default() },
        }
    }
}

impl RunOptions for LatentVggOptions {
    fn fixed_for_resume(&self) -> Self {
        let Self { autoencoder, data, out, .. } = Self::default();
        Self { autoencoder, data, out, training: self.training.fixed_for_resume(), averaging: self.averaging.fixed_for_resume(), ..self.clone() }
    }
}

/// The value of a serde enum by its name.
fn named<T: serde::de::DeserializeOwned>(name: &str) -> Result<T, String> {
    serde_json::from_value(name.into()).map_err(|error| error.to_string())
}

/// Five widths, such as 32,64,128,256,256.
fn parse_widths(text: &str) -> Result<[usize; 5], String> {
    let widths: Result<Vec<usize>, _> = text.split(',').map(str::parse).collect();
    let widths = widths.ok().and_then(|widths| <[usize; 5]>::try_from(widths).ok()).filter(|widths| !widths.contains(&0));
    widths.ok_or_else(|| "expected five numbers of at least 1, such as 32,64,128,256,256".into())
}

/// Accuracy of the classifier.
#[derive(Clone, Debug, Serialize)]
pub struct LatentVggReport {
    /// Number of labels.
    pub classes: usize,
    /// Top-1 accuracy, as a fraction, on latents without augmentation.
    pub top_1: f64,
    /// Top-1 accuracy, as a fraction, on latents with augmentations that were not seen in training.
    pub top_1_augmented: f64,
    /// Images that both are measured on. They are held out, unless every label has one image only.
    pub evaluated: usize,
}

/// Positions (rows × columns, summed over latents) from which batch norms get their final statistics: those of 512 latents of 16×16.
const FITTED_POSITIONS: usize = 512 * 16 * 16;
/// Pairs of latents from which the heads are normalised, at most.
const HEAD_PAIRS: usize = 1024;
/// Latents per forward pass outside of training.
const CHUNK: usize = 64;

/// Trains, and writes `metric/` with the features and normalised heads, and `report.json`.
///
/// # Errors
/// Data with fewer than two labels, storage, a loss that is not finite, interruption.
pub fn train(
    options: &LatentVggOptions,
    entry: Entry,
    device: &Device,
    device_name: &str,
    observer: &mut dyn Observer,
) -> Result<LatentVggReport, TrainError> {
    options.augmentation.check()?;
    let percent = options.held_out_percent;
    let smoothing = options.label_smoothing;
    check_options([
        (format!("held_out_percent = {percent}"), percent <= 50, "a number from 0 to 50"),
        (format!("label_smoothing = {smoothing}"), (0.0..1.0).contains(&smoothing), "a fraction from 0 to below 1"),
        (format!("--widths {:?}", options.widths), options.widths.iter().all(|width| (1..=16384).contains(width)), "five numbers from 1 to 16384"),
    ])?;
    let model = PipelineFolder::open_with(&model_of(&options.autoencoder)?, &options.model)?;
    let vae = model.vae(device)?;
    let size = model.image_size()?;
    options.training.check()?;
    options.averaging.check()?;
    options.training.check_batch([3, size, size])?;
    let images = ImageFolder::open(&options.data, size)?;
    let Labelled { classes, labels, trained, evaluated } = Labelled::new(&images, options)?;
    let mut folder = RunFolder::enter(&options.out, entry, options, device_name, ("metric", METRIC))?;

    let of_images = options.space == MetricSpace::Pixel;
    let posteriors = if of_images { Posteriors::of_images(&images) } else { Posteriors::of_latents(&vae, &images, device, observer) };
    let config = LatentLpipsConfig {
        encoder: if of_images { "pixels".into() } else { model.encoder_name()? },
        space: options.space,
        in_channels: posteriors.shape[0],
        widths: options.widths,
        norm: options.norm,
        scaling: if of_images {
            LatentScaling { shift: 0.0, factor: 1.0 }
        } else {
            LatentScaling { shift: vae.shift_factor, factor: vae.scaling_factor }
        },
    };
    let task = LatentClassification { options, posteriors, labels, trained, classes, device: device.clone().autodiff() };
    device.seed(options.training.seed);
    let net = LatentClassifier::new(&config, classes, &task.device);
    training_loop::check_parameters(&net, &format!("--widths {:?}", options.widths))?;
    let data = sha256(format!("{} {}", images.content_hash(), config.encoder).as_bytes());
    let mut net = training_loop::train(&task, net, &data, &mut folder, observer)?;
    // The statistics of batch norms have to be computed for the averaged weights (Izmailov et al. 2018, section 3.2).
    if options.norm == NormKind::Batch {
        net.net = net.net.fitted(task.augmented(&task.fitted_to(), 0, device));
    }

    let report = LatentVggReport {
        classes,
        top_1: task.accuracy(&net, &evaluated, false, device),
        top_1_augmented: task.accuracy(&net, &evaluated, true, device),
        evaluated: evaluated.len(),
    };
    let pairs = unrelated_pairs(&task.labels, classes);
    let side = |side: usize| task.latents(&pairs.iter().map(|pair| pair[side]).collect::<Vec<_>>(), device);
    let net = normalise_heads(LatentLpips { net: net.net, ..config.init(device) }, &side(0), &side(1));
    Metric { net, config }.write(&options.out.join("metric"))?;
    onestep_store::replace_json(&options.out.join("report.json"), &report)?;
    crate::report_page::write(&options.out)?;
    Ok(report)
}

/// The images of a folder as a classification problem.
struct Labelled {
    classes: usize,
    /// The class of each image; `classes` if its label has no training image.
    labels: Vec<usize>,
    /// Indices of the images that are trained on, and of those that the accuracy is measured on.
    trained: Vec<usize>,
    evaluated: Vec<usize>,
}

impl Labelled {
    fn new(images: &ImageFolder, options: &LatentVggOptions) -> Result<Self, TrainError> {
        let (trained, validation) = images.splits()?;
        let caption = |index: usize| images.entries()[index].text.as_str();
        let captions: BTreeSet<&str> = trained.iter().map(|&index| caption(index)).collect();
        if captions.len() < 2 {
            return Err(TrainError::input(format!(
                "all {} images of {} have one label ({:?}), and a classifier needs at least two; give a folder with more captions",
                trained.len(),
                options.data.display(),
                caption(trained[0])
            )));
        }
        let classes = captions.len();
        let numbers: BTreeMap<&str, usize> = captions.into_iter().zip(0..).collect();
        let labels: Vec<usize> = (0..images.len()).map(|index| numbers.get(caption(index)).copied().unwrap_or(classes)).collect();
        let known: Vec<usize> = validation.into_iter().filter(|&index| labels[index] < classes).collect();
        let (trained, evaluated) = if known.is_empty() { split(&trained, &labels, classes, options.held_out_percent) } else { (trained, known) };
        Ok(Self { classes, labels, trained, evaluated })
    }
}

/// What is classified: posteriors of all images in model space, or the images themselves.
struct Posteriors {
    /// [images, channels, rows, columns], flat.
    means: Vec<f32>,
    /// Standard deviations, of the same shape; empty for images.
    deviations: Vec<f32>,
    /// Channels, rows, columns.
    shape: [usize; 3],
}

impl Posteriors {
    fn of_images(images: &ImageFolder) -> Self {
        let means = (0..images.len()).flat_map(|index| images.pixels(index).iter().copied()).collect();
        Self { means, deviations: Vec::new(), shape: [3, images.size(), images.size()] }
    }

    fn of_latents(vae: &AutoencoderKl, images: &ImageFolder, device: &Device, observer: &mut dyn Observer) -> Self {
        observer.begin("encoding", images.len() as u64, 0);
        let mut posteriors = Self { means: Vec::new(), deviations: Vec::new(), shape: [0; 3] };
        for chunk in (0..images.len()).collect::<Vec<_>>().chunks(CHUNK) {
            let posterior = vae.encode(image_batch(images, chunk, device));
            let deviation = posterior.std().mul_scalar(vae.scaling_factor);
            let mean = vae.to_model_space(posterior.mean);
            let [_, channels, rows, columns] = mean.dims();
            posteriors.shape = [channels, rows, columns];
            posteriors.means.extend(mean.to_data().try_to_vec::<f32>().unwrap_or_default());
            posteriors.deviations.extend(deviation.to_data().try_to_vec::<f32>().unwrap_or_default());
            observer.step(chunk[chunk.len() - 1] as u64 + 1, "");
        }
        posteriors
    }

    /// Those of some images, out of `values`: [N,C,H,W].
    fn gather(&self, values: &[f32], indices: &[usize], device: &Device) -> Tensor<4> {
        let [channels, rows, columns] = self.shape;
        let elements = channels * rows * columns;
        let data: Vec<f32> = indices.iter().flat_map(|&index| values[index * elements..][..elements].iter().copied()).collect();
        Tensor::from_data(TensorData::new(data, [indices.len(), channels, rows, columns]), device)
    }
}

/// Indices that are trained on, and indices that are evaluated: some of every label with several images, or if there is no such label all of both.
fn split(images: &[usize], labels: &[usize], classes: usize, percent: u32) -> (Vec<usize>, Vec<usize>) {
    let mut of_label = vec![Vec::new(); classes];
    for index in Philox::new(0, Stream::Order, u64::MAX).permutation(images.len()) {
        of_label[labels[images[index]]].push(images[index]);
    }
    let (mut trained, mut evaluated) = (Vec::new(), Vec::new());
    for images in of_label {
        let count = if images.len() < 2 { 0 } else { (images.len() * percent as usize).div_ceil(100) };
        evaluated.extend_from_slice(&images[..count]);
        trained.extend_from_slice(&images[count..]);
    }
    trained.sort_unstable();
    evaluated.sort_unstable();
    if evaluated.is_empty() {
        evaluated.clone_from(&trained);
    }
    (trained, evaluated)
}

/// Random pairs of images with different labels; the same pairs in every run.
fn unrelated_pairs(labels: &[usize], classes: usize) -> Vec<[usize; 2]> {
    let order = |which: u64| {
        let order = Philox::new(0, Stream::Order, u64::MAX - which).permutation(labels.len());
        order.into_iter().filter(|&index| labels[index] < classes).collect::<Vec<_>>()
    };
    let pairs = order(1).into_iter().zip(order(2)).map(|(one, other)| [one, other]);
    pairs.filter(|&[one, other]| labels[one] != labels[other]).take(HEAD_PAIRS).collect()
}

/// Scales the heads so that each layer contributes 0.04 to the mean distance of unrelated latents [N,C,H,W]. The sum is then about 0.2, as with the
/// published metrics.
fn normalise_heads(mut metric: LatentLpips, ones: &Tensor<4>, others: &Tensor<4>) -> LatentLpips {
    let [count, ..] = ones.dims();
    let mut means = [0.0; FEATURES];
    for (one, other) in ones.clone().split(CHUNK, 0).into_iter().zip(others.clone().split(CHUNK, 0)) {
        let distances: Vec<f32> = metric.per_layer(one, other).sum_dim(0).to_data().try_to_vec().unwrap_or_default();
        for (mean, distance) in means.iter_mut().zip(distances) {
            *mean += distance / count as f32;
        }
    }
    let target = 0.2 / FEATURES as f32;
    for (head, mean) in [&mut metric.lin0, &mut metric.lin1, &mut metric.lin2, &mut metric.lin3, &mut metric.lin4].into_iter().zip(means) {
        let factor = if mean > 0.0 { target / mean } else { 1.0 };
        let weight = head.model.at_1.weight.clone();
        head.model.at_1.weight = weight.map(|weight| weight.mul_scalar(factor));
    }
    metric
}

struct LatentClassification<'a> {
    options: &'a LatentVggOptions,
    posteriors: Posteriors,
    labels: Vec<usize>,
    trained: Vec<usize>,
    classes: usize,
    /// The autodiff device.
    device: Device,
}

impl LatentClassification<'_> {
    /// Indices of the latents that batch norms get their final statistics from. Large latents are fewer, because a layer's features of all of them
    /// are in memory at once.
    fn fitted_to(&self) -> Vec<usize> {
        let [_, rows, columns] = self.posteriors.shape;
        let count = (FITTED_POSITIONS / (rows * columns).max(1)).clamp(16, 512).min(self.trained.len());
        epoch_indices(&self.trained, self.options.training.seed, 0, count)
    }

    /// Posterior means, or images: [N,C,H,W].
    fn latents(&self, indices: &[usize], device: &Device) -> Tensor<4> {
        self.posteriors.gather(&self.posteriors.means, indices, device)
    }

    /// Augmented samples of the posteriors, or augmented images: [N,C,H,W]. `sample` numbers the random numbers.
    fn augmented(&self, indices: &[usize], sample: u64, device: &Device) -> Tensor<4> {
        let seed = self.options.training.seed;
        let mut x = self.latents(indices, device);
        if !self.posteriors.deviations.is_empty() {
            let noise = normal(seed, Stream::Posterior, sample, x.shape().num_elements());
            let noise = Tensor::from_data(TensorData::new(noise, x.dims()), device);
            x = x + self.posteriors.gather(&self.posteriors.deviations, indices, device) * noise;
        }
        let [_, rows, columns] = self.posteriors.shape;
        self.options.augmentation.sample(seed, sample, indices.len(), [rows, columns], device).apply(x)
    }

    /// Top-1 accuracy, as a fraction.
    fn accuracy(&self, net: &LatentClassifier, indices: &[usize], augmented: bool, device: &Device) -> f64 {
        let mut hits = 0;
        for (chunk, indices) in indices.chunks(CHUNK).enumerate() {
            // Training numbers its samples from 0 upwards.
            let x = if augmented { self.augmented(indices, u64::MAX - chunk as u64, device) } else { self.latents(indices, device) };
            let logits: Vec<f32> = net.forward(x).to_data().try_to_vec().unwrap_or_default();
            for (logits, &index) in logits.chunks_exact(self.classes).zip(indices) {
                let best = (0..self.classes).max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
                hits += usize::from(best == Some(self.labels[index]));
            }
        }
        hits as f64 / indices.len().max(1) as f64
    }
}

/// Cross-entropy of logits [N,classes] with smoothed labels: [1].
fn cross_entropy(logits: Tensor<2>, labels: &[usize], smoothing: f64) -> Tensor<1> {
    let device = logits.device();
    let labels: Vec<i32> = labels.iter().map(|&label| label as i32).collect();
    let labels = Tensor::<2, Int>::from_data(TensorData::new(labels.clone(), [labels.len(), 1]), &device);
    let log_probabilities = log_softmax(logits, 1);
    let of_label = log_probabilities.clone().gather(1, labels).mean();
    of_label.mul_scalar(smoothing - 1.0) - log_probabilities.mean().mul_scalar(smoothing)
}

impl Task for LatentClassification<'_> {
    type Net = LatentClassifier;
    type Options = LatentVggOptions;

    fn options(&self) -> &LatentVggOptions {
        self.options
    }

    fn training(&self) -> &LoopOptions {
        &self.options.training
    }

    fn averaging(&self) -> &AveragingOptions {
        &self.options.averaging
    }

    fn loss(&self, net: &LatentClassifier, step: u64) -> (Tensor<1>, Vec<(&'static str, Tensor<1>)>) {
        let LoopOptions { seed, batch, .. } = self.options.training;
        let indices = epoch_indices(&self.trained, seed, step, batch);
        let labels: Vec<usize> = indices.iter().map(|&index| self.labels[index]).collect();
        let logits = net.forward_unfrozen(self.augmented(&indices, step, &self.device));
        (cross_entropy(logits, &labels, self.options.label_smoothing), Vec::new())
    }

    fn files(&self, net: &LatentClassifier) -> Vec<(String, Vec<u8>)> {
        vec![("latent_vgg/model.safetensors".into(), weights::save(net, &BTreeMap::new()))]
    }

    fn load(&self, net: LatentClassifier, file: &dyn Fn(&str) -> Result<Vec<u8>, TrainError>) -> Result<LatentClassifier, TrainError> {
        weights::load(net, &[Shard::new("latent_vgg/model.safetensors", &file("latent_vgg/model.safetensors")?)])
            .map_err(|error| TrainError::new(TrainErrorKind::Input, format!("the checkpoint does not fit: {error}")))
    }

    /// Two rows: the first three channels of some latents as colours, and the same augmented.
    fn sample(&self, _: &LatentClassifier) -> ImageGrid {
        let device = self.device.clone().inner();
        let [channels, rows, columns] = self.posteriors.shape;
        let mut grid = ImageGrid::new(rows);
        let indices: Vec<usize> = self.trained.iter().copied().take(12).collect();
        if rows == columns && channels >= 3 {
            for x in [self.latents(&indices, &device), self.augmented(&indices, u64::MAX / 2, &device)] {
                grid.row(&x.narrow(1, 0, 3).mul_scalar(0.4));
            }
        }
        grid
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Neighbours in a folder often show the same object. Heads that were normalised on such pairs would overrate deep features.
    #[test]
    fn unrelated_pairs_have_two_labels_and_come_from_the_whole_folder() {
        // 32 images of each of 20 labels, and ten without a label.
        let labels: Vec<usize> = (0..640).map(|index| index / 32).chain([20; 10]).collect();
        let pairs = unrelated_pairs(&labels, 20);
        assert!(pairs.len() > 500, "{}", pairs.len());
        assert!(pairs.iter().all(|pair| labels[pair[0]] != labels[pair[1]] && pair.iter().all(|&index| index < 640)));
        let indices: BTreeSet<usize> = pairs.iter().flatten().copied().collect();
        assert!(indices.len() > 600, "{}", indices.len());
    }
}
