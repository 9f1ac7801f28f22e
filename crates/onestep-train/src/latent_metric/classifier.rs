//! `train latent-vgg`: the metric's features, learned by naming what a latent shows; then its heads get equal say.
//!
//! The published networks learned ImageNet's classes from latents of its images. Here the labels are a folder's captions: images of the
//! same caption are one class. Latents are encoded once; each step sees them under random changes, with a sample of the encoder's spread.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use burn::tensor::{Device, Int, Tensor, TensorData, activation::log_softmax};
use onestep_nets::{
    FEATURES, LatentClassifier, LatentLpips, LatentLpipsConfig, LatentScaling, MetricSpace, NormKind,
    weights::{self, Shard},
};
use onestep_noise::{Philox, Stream, normal};
use serde::{Deserialize, Serialize};

use super::{
    augmentation::AugmentationOptions,
    metric_file::{METRIC, Metric},
};
use crate::{
    autoencoder::{batch as image_batch, epoch_indices},
    data::ImageFolder,
    error::{TrainError, TrainErrorKind, check_options},
    image_grid::ImageGrid,
    observer::Observer,
    pipeline_folder::PipelineFolder,
    run_folder::{Entry, RunFolder, model_of},
    store::sha256,
    training_loop::{self, LoopOptions, Task},
};

/// Options of `train latent-vgg`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LatentVggOptions {
    /// Run or model folder with the autoencoder.
    pub autoencoder: PathBuf,
    /// The image folder; a caption is a label.
    pub data: PathBuf,
    /// The run folder.
    pub out: PathBuf,
    /// What is named: latents, or the images themselves (the metric is then the pixel LPIPS that latents are compared with).
    pub space: MetricSpace,
    /// Channels of the five stages.
    pub widths: [usize; 5],
    /// What stands behind each convolution; batch norms are trained by the statistics of each batch, and end with those of many latents.
    pub norm: NormKind,
    /// Random changes of the latents.
    pub augmentation: AugmentationOptions,
    /// Share of each label's images, in percent, that are held out where the folder has none for validation; labels with one image are
    /// judged on it under fresh changes.
    pub held_out_percent: u32,
    /// Mass of a target that is spread over all labels.
    pub label_smoothing: f64,
    /// Steps and update rule.
    pub training: LoopOptions,
}

impl Default for LatentVggOptions {
    fn default() -> Self {
        let mut training = LoopOptions { steps: 2000, batch: 32, save_every: 500, sample_every: 1000, ..LoopOptions::default() };
        training.optimizer.learning_rate = 1e-3;
        training.optimizer.decay_fraction = 0.5;
        Self {
            autoencoder: PathBuf::new(),
            data: PathBuf::new(),
            out: PathBuf::new(),
            space: MetricSpace::Latent,
            widths: LatentLpipsConfig::HALF,
            norm: NormKind::default(),
            augmentation: AugmentationOptions { groups: "bgo".into(), scale: 0.15, ..AugmentationOptions::default() },
            held_out_percent: 10,
            label_smoothing: 0.1,
            training,
        }
    }
}

/// What the classifier reached.
#[derive(Clone, Debug, Serialize)]
pub struct LatentVggReport {
    /// Labels.
    pub classes: usize,
    /// Share of latents that were named rightly: as they are, and under random changes that were never trained on.
    pub top_1: f64,
    /// See `top_1`.
    pub top_1_changed: f64,
    /// Images that are judged; none of them was trained on, unless every label has one image.
    pub judged: usize,
}

/// Rows times columns of the latents whose statistics batch norms get in the end: 512 latents of 16x16.
const FITTED: usize = 512 * 16 * 16;
/// Pairs of latents that are compared for the heads' equal say, at most.
const COMPARED: usize = 1024;
/// Latents that are encoded or named together.
const TOGETHER: usize = 64;

/// Trains, and writes `metric/` with the features and heads of equal say, and `report.json`.
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
        (format!("label_smoothing = {smoothing}"), (0.0..1.0).contains(&smoothing), "a share from 0 to below 1"),
        (format!("--widths {:?}", options.widths), options.widths.iter().all(|width| (1..=16384).contains(width)), "five numbers from 1 to 16384"),
    ])?;
    let model = PipelineFolder::open(&model_of(&options.autoencoder)?)?;
    let vae = model.vae(device)?;
    let size = model.image_size()?;
    options.training.check_batch([3, size, size])?;
    let images = ImageFolder::open(&options.data, size)?;

    // Labels.
    let (trained, validation) = images.splits()?;
    let name = |index: usize| images.entries()[index].text.as_str();
    let names: BTreeSet<&str> = trained.iter().map(|&index| name(index)).collect();
    if names.len() < 2 {
        return Err(TrainError::input(format!(
            "all {} images of {} have one label ({:?}); features are learned by telling labels apart: give a folder with at least two",
            trained.len(),
            options.data.display(),
            name(trained[0])
        )));
    }
    let classes = names.len();
    let places: BTreeMap<&str, usize> = names.into_iter().enumerate().map(|(place, name)| (name, place)).collect();
    // A label that only images for validation have is none of the classes.
    let labels: Vec<usize> = (0..images.len()).map(|index| places.get(name(index)).copied().unwrap_or(classes)).collect();
    let known: Vec<usize> = validation.into_iter().filter(|&index| labels[index] < classes).collect();
    let (trained, judged) = if known.is_empty() { split(&trained, &labels, classes, percent) } else { (trained, known) };

    let mut folder = RunFolder::enter(&options.out, entry, options, device_name, ("metric", METRIC))?;

    // Latents, once.
    observer.begin("encoding", images.len() as u64, 0);
    let (mut means, mut deviations) = (Vec::new(), Vec::new());
    let mut shape = [0; 3];
    for chunk in (0..images.len()).collect::<Vec<_>>().chunks(TOGETHER) {
        if options.space == MetricSpace::Pixel {
            shape = [3, size, size];
            means.extend(chunk.iter().flat_map(|&index| images.pixels(index).iter().copied()));
            continue;
        }
        let posterior = vae.encode(image_batch(&images, chunk, device));
        let deviation = posterior.std().mul_scalar(vae.scaling_factor);
        let mean = vae.to_model_space(posterior.mean);
        let [_, channels, rows, columns] = mean.dims();
        shape = [channels, rows, columns];
        means.extend(mean.to_data().try_to_vec::<f32>().unwrap_or_default());
        deviations.extend(deviation.to_data().try_to_vec::<f32>().unwrap_or_default());
        observer.step(means.len() as u64 / shape.iter().product::<usize>() as u64, "");
    }

    let of_pixels = options.space == MetricSpace::Pixel;
    let config = LatentLpipsConfig {
        encoder: if of_pixels { "pixels".into() } else { model.encoder_name()? },
        space: options.space,
        in_channels: shape[0],
        widths: options.widths,
        norm: options.norm,
        scaling: if of_pixels {
            LatentScaling { shift: 0.0, factor: 1.0 }
        } else {
            LatentScaling { shift: vae.shift_factor, factor: vae.scaling_factor }
        },
    };
    let task = Naming { options, means, deviations, shape, labels, trained, classes, device: device.clone().autodiff() };
    device.seed(options.training.seed);
    let net = LatentClassifier::new(&config, classes, &task.device);
    training_loop::check_parameters(&net, &format!("--widths {:?}", options.widths))?;
    let data = sha256(format!("{} {}", images.content_hash(), config.encoder).as_bytes());
    let mut net = training_loop::train(&task, net, &options.training, &data, &mut folder, entry, device, observer)?;
    // Averaged weights need statistics of their own (Izmailov et al. 2018, section 3.2); no batch's are theirs.
    if options.norm == NormKind::Batch {
        net.net = net.net.fitted(task.changed(&task.fitted_to(), 0, device));
    }

    let report = LatentVggReport {
        classes,
        top_1: task.accuracy(&net, &judged, false, device),
        top_1_changed: task.accuracy(&net, &judged, true, device),
        judged: judged.len(),
    };
    let pairs = unrelated(&task.labels, classes);
    let of = |which: usize| task.latents(&pairs.iter().map(|pair| pair[which]).collect::<Vec<_>>(), device);
    let metric = Metric { net: equal_say(LatentLpips { net: net.net, ..config.init(device) }, &of(0), &of(1)), config };
    metric.write(&options.out.join("metric"))?;
    onestep_store::replace_json(&options.out.join("report.json"), &report)?;
    crate::report_page::write(&options.out)?;
    Ok(report)
}

/// Of every label with several images some are held out; where no label has, all are trained on and judged.
fn split(images: &[usize], labels: &[usize], classes: usize, percent: u32) -> (Vec<usize>, Vec<usize>) {
    let mut of_label = vec![Vec::new(); classes];
    for place in Philox::new(0, Stream::Order, u64::MAX).permutation(images.len()) {
        of_label[labels[images[place]]].push(images[place]);
    }
    let (mut trained, mut judged) = (Vec::new(), Vec::new());
    for images in of_label {
        let count = if images.len() < 2 { 0 } else { (images.len() * percent as usize).div_ceil(100) };
        judged.extend_from_slice(&images[..count]);
        trained.extend_from_slice(&images[count..]);
    }
    trained.sort_unstable();
    judged.sort_unstable();
    if judged.is_empty() {
        judged.clone_from(&trained);
    }
    (trained, judged)
}

/// Pairs of images by chance, of two labels each; the same ones in every run.
fn unrelated(labels: &[usize], classes: usize) -> Vec<[usize; 2]> {
    let order = |which: u64| {
        let order = Philox::new(0, Stream::Order, u64::MAX - which).permutation(labels.len());
        order.into_iter().filter(|&index| labels[index] < classes).collect::<Vec<_>>()
    };
    let pairs = order(1).into_iter().zip(order(2)).map(|(one, other)| [one, other]);
    pairs.filter(|&[one, other]| labels[one] != labels[other]).take(COMPARED).collect()
}

/// Heads whose terms are equally large on pairs of unrelated latents [N,C,H,W], their sum about that of the published metrics (0.2).
fn equal_say(metric: LatentLpips, ones: &Tensor<4>, others: &Tensor<4>) -> LatentLpips {
    let [count, ..] = ones.dims();
    let mut terms = [0.0; FEATURES];
    for (one, other) in ones.clone().split(TOGETHER, 0).into_iter().zip(others.clone().split(TOGETHER, 0)) {
        let distances: Vec<f32> = metric.per_layer(one, other).sum_dim(0).to_data().try_to_vec().unwrap_or_default();
        for (term, distance) in terms.iter_mut().zip(distances) {
            *term += distance / count as f32;
        }
    }
    let mut metric = metric;
    let target = 0.2 / FEATURES as f32;
    for (head, term) in [&mut metric.lin0, &mut metric.lin1, &mut metric.lin2, &mut metric.lin3, &mut metric.lin4].into_iter().zip(terms) {
        let factor = if term > 0.0 { target / term } else { 1.0 };
        let weight = head.model.at_1.weight.clone();
        head.model.at_1.weight = weight.map(|weight| weight.mul_scalar(factor));
    }
    metric
}

struct Naming<'a> {
    options: &'a LatentVggOptions,
    means: Vec<f32>,
    /// Of the posteriors; empty where images are named.
    deviations: Vec<f32>,
    shape: [usize; 3],
    labels: Vec<usize>,
    trained: Vec<usize>,
    classes: usize,
    device: Device,
}

impl Naming<'_> {
    /// The latents whose statistics batch norms end with; few where they are large, since a layer's features of all are held at once.
    fn fitted_to(&self) -> Vec<usize> {
        let count = (FITTED / (self.shape[1] * self.shape[2]).max(1)).clamp(16, 512).min(self.trained.len());
        epoch_indices(&self.trained, self.options.training.seed, 0, count)
    }

    fn gather(&self, from: &[f32], indices: &[usize], device: &Device) -> Tensor<4> {
        let [channels, rows, columns] = self.shape;
        let elements = channels * rows * columns;
        let data: Vec<f32> = indices.iter().flat_map(|&index| from[index * elements..][..elements].iter().copied()).collect();
        Tensor::from_data(TensorData::new(data, [indices.len(), channels, rows, columns]), device)
    }

    fn latents(&self, indices: &[usize], device: &Device) -> Tensor<4> {
        self.gather(&self.means, indices, device)
    }

    /// Samples of the encoder's posteriors, or images, under random changes; `index` numbers the draw.
    fn changed(&self, indices: &[usize], index: u64, device: &Device) -> Tensor<4> {
        let seed = self.options.training.seed;
        let mut sample = self.latents(indices, device);
        if !self.deviations.is_empty() {
            let noise = normal(seed, Stream::Posterior, index, sample.shape().num_elements());
            let noise = Tensor::from_data(TensorData::new(noise, sample.dims()), device);
            sample = sample + self.gather(&self.deviations, indices, device) * noise;
        }
        self.options.augmentation.draw(seed, index, indices.len(), [self.shape[1], self.shape[2]], device).apply(sample)
    }

    fn accuracy(&self, net: &LatentClassifier, indices: &[usize], changed: bool, device: &Device) -> f64 {
        let mut right = 0;
        for (chunk, indices) in indices.chunks(TOGETHER).enumerate() {
            // Draws far from those of the training's steps.
            let x = if changed { self.changed(indices, u64::MAX - chunk as u64, device) } else { self.latents(indices, device) };
            let logits: Vec<f32> = net.forward(x).to_data().try_to_vec().unwrap_or_default();
            for (logits, &index) in logits.chunks_exact(self.classes).zip(indices) {
                let best = (0..self.classes).max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
                right += usize::from(best == Some(self.labels[index]));
            }
        }
        right as f64 / indices.len().max(1) as f64
    }
}

/// Cross-entropy of logits [N,classes] with smoothed labels: [1].
pub(crate) fn cross_entropy(logits: Tensor<2>, labels: &[usize], smoothing: f64) -> Tensor<1> {
    let device = logits.device();
    let labels: Vec<i32> = labels.iter().map(|&label| label as i32).collect();
    let labels = Tensor::<2, Int>::from_data(TensorData::new(labels.clone(), [labels.len(), 1]), &device);
    let logarithms = log_softmax(logits, 1);
    let named = logarithms.clone().gather(1, labels).mean();
    named.mul_scalar(smoothing - 1.0) - logarithms.mean().mul_scalar(smoothing)
}

impl Task for Naming<'_> {
    type Net = LatentClassifier;

    fn identity(&self) -> String {
        training_loop::identity(self.options)
    }

    fn loss(&self, net: &LatentClassifier, step: u64) -> (Tensor<1>, Vec<(&'static str, Tensor<1>)>) {
        let LoopOptions { seed, batch, .. } = self.options.training;
        let indices = epoch_indices(&self.trained, seed, step, batch);
        let labels: Vec<usize> = indices.iter().map(|&index| self.labels[index]).collect();
        let logits = net.forward_unfrozen(self.changed(&indices, step, &self.device));
        (cross_entropy(logits, &labels, self.options.label_smoothing), Vec::new())
    }

    fn files(&self, net: &LatentClassifier) -> Vec<(String, Vec<u8>)> {
        vec![("latent_vgg/model.safetensors".into(), weights::save(net, &BTreeMap::new()))]
    }

    fn load(&self, net: LatentClassifier, file: &dyn Fn(&str) -> Result<Vec<u8>, TrainError>) -> Result<LatentClassifier, TrainError> {
        weights::load(net, &[Shard::new("latent_vgg/model.safetensors", &file("latent_vgg/model.safetensors")?)])
            .map_err(|error| TrainError::new(TrainErrorKind::Input, format!("the checkpoint does not fit: {error}")))
    }

    /// The first channels of latents as they are seen in training.
    fn sample(&self, _: &LatentClassifier) -> ImageGrid {
        let device = self.device.clone().inner();
        let mut grid = ImageGrid::new(self.shape[1]);
        let shown: Vec<usize> = self.trained.iter().copied().take(12).collect();
        if self.shape[1] == self.shape[2] && self.shape[0] >= 3 {
            for x in [self.latents(&shown, &device), self.changed(&shown, u64::MAX / 2, &device)] {
                grid.row(&x.narrow(1, 0, 3).mul_scalar(0.4));
            }
        }
        grid
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Neighbours in a folder mostly show the same thing, from which heads would learn that deep features see little.
    #[test]
    fn unrelated_images_have_two_labels_and_come_from_everywhere() {
        // Thirty-two images each of twenty labels, and some of none.
        let labels: Vec<usize> = (0..640).map(|index| index / 32).chain([20; 10]).collect();
        let pairs = unrelated(&labels, 20);
        assert!(pairs.len() > 500, "{}", pairs.len());
        assert!(pairs.iter().all(|pair| labels[pair[0]] != labels[pair[1]] && pair.iter().all(|&index| index < 640)));
        let seen: BTreeSet<usize> = pairs.iter().flatten().copied().collect();
        assert!(seen.len() > 600, "{}", seen.len());
    }
}
