//! `train image-classifier`: classifies the folder's images by their names, as feature network and alignment scorer of `eval`.
//!
//! Use it if no pretrained network (Inception-v3, CLIP) is available. It learns one class per name by cross-entropy with label smoothing
//! (Szegedy et al. 2016), on strongly [augmented](crate::image_augmentation) images.

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData, activation::log_softmax};
use onestep_nets::{
    ImageClassifier, ImageClassifierConfig,
    weights::{self, Shard},
};
use onestep_noise::{Philox, Stream};
use onestep_program::limits;
use onestep_store::{FolderKind, recorded_folder_kind};
use serde::{Deserialize, Serialize};

use crate::{
    autoencoder::{LARGEST_SIDE, batch, epoch_indices},
    data::ImageFolder,
    error::{TrainError, TrainErrorKind, check_options},
    image_augmentation::augmented,
    image_grid::ImageGrid,
    observer::Observer,
    pipeline_folder::component_files,
    run_folder::{Entry, RunFolder, in_run},
    store,
    training_loop::{self, AveragingOptions, LoopOptions, RunOptions, Task},
};

/// Configuration file of the classifier's folder.
const CONFIG: &str = "config.json";
/// A folder with an image classifier.
const CLASSIFIER: FolderKind = recorded_folder_kind!("a classifier");
/// Weight file of the classifier's folder.
const WEIGHTS: &str = "model.safetensors";
/// Augmented copies of each image on which the accuracy is measured.
const MEASURED_COPIES: u64 = 4;
/// Images per batch of the measurement.
const BATCH: usize = 32;

/// Options of `train image-classifier`.
#[derive(Clone, Debug, clap::Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImageClassifierOptions {
    /// The image folder.
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// Side of the images in pixels.
    #[arg(long, value_name = "PIXELS")]
    pub size: usize,
    /// The run folder.
    #[arg(skip)]
    pub out: PathBuf,
    /// Channels of each level.
    #[arg(long, value_name = "CHANNELS,…", value_delimiter = ',')]
    pub channels: Vec<usize>,
    /// Convolutions per level.
    #[arg(long)]
    pub layers: usize,
    /// Label smoothing: fraction of a target that is spread over all classes.
    #[arg(skip)]
    pub label_smoothing: f32,
    /// Training loop and optimizer.
    #[command(flatten)]
    pub training: LoopOptions,
    /// Averaged weights and sample images.
    #[command(flatten)]
    pub averaging: AveragingOptions,
}

impl Default for ImageClassifierOptions {
    fn default() -> Self {
        let config = ImageClassifierConfig::default();
        let mut training = LoopOptions { steps: 2400, batch: 32, save_every: 400, ..LoopOptions::default() };
        training.optimizer.learning_rate = 3e-3;
        training.optimizer.warmup_steps = 50;
        training.optimizer.decay_fraction = 0.6;
        Self {
            data: PathBuf::new(),
            size: config.sample_size,
            out: PathBuf::new(),
            channels: config.block_out_channels,
            layers: config.layers_per_block,
            label_smoothing: 0.1,
            training,
            averaging: AveragingOptions { ema_decay: 0.99, sample_every: 400 },
        }
    }
}

impl RunOptions for ImageClassifierOptions {
    fn fixed_for_resume(&self) -> Self {
        let Self { data, out, .. } = Self::default();
        Self { data, out, training: self.training.fixed_for_resume(), averaging: self.averaging.fixed_for_resume(), ..self.clone() }
    }
}

/// The accuracy after training.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ImageClassifierReport {
    /// Number of classes: distinct names.
    pub classes: usize,
    /// Fraction of the folder's images that are classified correctly.
    pub top_1: f64,
    /// Accuracy on augmented copies that were not trained on.
    pub top_1_augmented: f64,
    /// Number of augmented copies.
    pub augmented: usize,
}

/// Trains a classifier and writes `model/` with `config.json` and `model.safetensors`, and `report.json`.
///
/// # Errors
/// Fewer than two names, data, storage, a loss that is not finite, interruption.
pub fn train(
    options: &ImageClassifierOptions,
    entry: Entry,
    device: &Device,
    device_name: &str,
    observer: &mut dyn Observer,
) -> Result<ImageClassifierReport, TrainError> {
    let smoothing = options.label_smoothing;
    check_options([
        (format!("--size {}", options.size), (1..=LARGEST_SIDE).contains(&options.size), "a number of pixels from 1 to 4096"),
        (format!("label_smoothing = {smoothing}"), (0.0..1.0).contains(&smoothing), "a fraction from 0 to below 1"),
    ])?;
    options.training.check()?;
    options.averaging.check()?;
    options.training.check_batch([3, options.size, options.size])?;
    let images = ImageFolder::open_trained(&options.data, options.size)?;
    let (names, classes) = images.names();
    if names.len() < 2 {
        return Err(TrainError::input(format!(
            "training a classifier on {}: expected images with at least 2 names, found {} image(s) with {} name(s); add images with other names",
            options.data.display(),
            images.len(),
            names.len()
        )));
    }
    let config = ImageClassifierConfig {
        sample_size: options.size,
        block_out_channels: options.channels.clone(),
        layers_per_block: options.layers,
        names: names.into_iter().map(str::to_owned).collect(),
        ..ImageClassifierConfig::default()
    };
    let given = format!("--channels {:?} with --layers {}", options.channels, options.layers);
    config.validate().map_err(|error| TrainError::new(TrainErrorKind::Usage, format!("{given}: {error}")))?;
    training_loop::check_parameters(&config.init(device), &given)?;
    let mut folder = RunFolder::enter(&options.out, entry, options, device_name, ("model", CLASSIFIER))?;
    let task = Classifying { options, config: config.clone(), images: &images, classes: &classes, device: device.clone().autodiff() };
    device.seed(options.training.seed);
    let net = config.init(&task.device);
    let net = training_loop::train(&task, net, images.content_hash(), &mut folder, observer)?;

    // Streams from the top of the range: no training step uses them.
    let all: Vec<usize> = (0..images.len()).collect();
    observer.begin("measuring", MEASURED_COPIES + 1, 0);
    // Correct predictions: of the images, of the augmented copies.
    let mut hits = [0usize; 2];
    for copy in 0..=MEASURED_COPIES {
        let mut random = Philox::new(options.training.seed, Stream::Augmentation, u64::MAX - copy);
        for chunk in all.chunks(BATCH) {
            let shown = if copy == 0 { batch(&images, chunk, device) } else { augmented_batch(&images, chunk, &mut random, device) };
            let found = most_likely(&net.logits(net.features(shown)));
            hits[usize::from(copy > 0)] += chunk.iter().zip(found).filter(|&(&index, found)| classes[index] == found).count();
        }
        observer.step(copy + 1, "");
    }
    let augmented = all.len() * MEASURED_COPIES as usize;
    let report = ImageClassifierReport {
        classes: config.names.len(),
        top_1: hits[0] as f64 / all.len() as f64,
        top_1_augmented: hits[1] as f64 / augmented as f64,
        augmented,
    };
    store::write_folder(&options.out.join("model"), CLASSIFIER, &task.files(&net))?;
    onestep_store::replace_json(&options.out.join("report.json"), &report)?;
    crate::report_page::write(&options.out)?;
    Ok(report)
}

/// Loads the classifier from a run folder, or from a folder with `config.json` and `model.safetensors`.
///
/// # Errors
/// Names the file that is missing or does not fit.
pub fn load(path: &Path, device: &Device) -> Result<(ImageClassifier, ImageClassifierConfig), TrainError> {
    let folder = in_run(path, "model", CONFIG);
    if !folder.join(CONFIG).exists() {
        return Err(TrainError::input(format!(
            "no image classifier in {}: expected {CONFIG} and {WEIGHTS}, there or in model/; make one with onestep train image-classifier",
            path.display()
        )));
    }
    let refuse = |name: &str, error: &dyn std::fmt::Display| TrainError::input(format!("{}: {error}", folder.join(name).display()));
    let text = onestep_store::read_at_most(&folder.join(CONFIG), limits::CONFIG_BYTES.max)?;
    let config = ImageClassifierConfig::from_json(&String::from_utf8_lossy(&text)).map_err(|error| refuse(CONFIG, &error))?;
    let path = folder.join(WEIGHTS);
    let bytes = onestep_store::read(&path)?;
    let net = weights::load(config.init(device), &[Shard::new(&path.display().to_string(), &bytes)])
        .map_err(|error| TrainError::input(error.to_string()))?;
    Ok((net, config))
}

/// The class with the largest logit, for each row of the logits [images, classes].
pub fn most_likely(logits: &Tensor<2>) -> Vec<usize> {
    let [_, classes] = logits.dims();
    let values = logits.to_data().try_to_vec::<f32>().unwrap_or_default();
    let largest = |row: &[f32]| (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap_or(0);
    values.chunks(classes).map(largest).collect()
}

/// Augmented copies of images as [N,3,H,W].
fn augmented_batch(images: &ImageFolder, indices: &[usize], random: &mut Philox, device: &Device) -> Tensor<4> {
    let size = images.size();
    let data: Vec<f32> = indices.iter().flat_map(|&index| augmented(images.pixels(index), size, random)).collect();
    Tensor::from_data(TensorData::new(data, [indices.len(), 3, size, size]), device)
}

struct Classifying<'a> {
    options: &'a ImageClassifierOptions,
    config: ImageClassifierConfig,
    images: &'a ImageFolder,
    /// The class of each image.
    classes: &'a [usize],
    device: Device,
}

impl Task for Classifying<'_> {
    type Net = ImageClassifier;
    type Options = ImageClassifierOptions;

    fn options(&self) -> &ImageClassifierOptions {
        self.options
    }

    fn training(&self) -> &LoopOptions {
        &self.options.training
    }

    fn averaging(&self) -> &AveragingOptions {
        &self.options.averaging
    }

    fn loss(&self, net: &ImageClassifier, step: u64) -> (Tensor<1>, Vec<(&'static str, Tensor<1>)>) {
        let LoopOptions { seed, batch, .. } = self.options.training;
        let all: Vec<usize> = (0..self.images.len()).collect();
        let indices = epoch_indices(&all, seed, step, batch);
        let shown = augmented_batch(self.images, &indices, &mut Philox::new(seed, Stream::Augmentation, step), &self.device);
        let logits = net.logits(net.features(shown));

        let count = self.config.names.len();
        let spread = self.options.label_smoothing / count as f32;
        let mut targets = vec![spread; batch * count];
        for (row, &index) in indices.iter().enumerate() {
            targets[row * count + self.classes[index]] += 1.0 - self.options.label_smoothing;
        }
        let targets = Tensor::<2>::from_data(TensorData::new(targets, [batch, count]), &self.device);
        let loss = (log_softmax(logits.clone(), 1) * targets).sum().div_scalar(-(batch as f64));
        let found = most_likely(&logits.inner());
        let hits = indices.iter().zip(found).filter(|&(&index, found)| self.classes[index] == found).count();
        let top_1 = Tensor::from_data(TensorData::new(vec![hits as f32 / batch as f32], [1]), &self.device.clone().inner());
        (loss, vec![("top_1", top_1)])
    }

    fn files(&self, net: &ImageClassifier) -> Vec<(String, Vec<u8>)> {
        component_files(CONFIG, self.config.to_json(), WEIGHTS, net)
    }

    fn load(&self, net: ImageClassifier, file: &dyn Fn(&str) -> Result<Vec<u8>, TrainError>) -> Result<ImageClassifier, TrainError> {
        weights::load(net, &[Shard::new(WEIGHTS, &file(WEIGHTS)?)])
            .map_err(|error| TrainError::input(format!("the checkpoint does not fit: {error}")))
    }

    /// Rows: images, augmented copies, and an image of the class predicted for each copy.
    fn sample(&self, net: &ImageClassifier) -> ImageGrid {
        let device = self.device.clone().inner();
        let count = self.images.len().min(16);
        let chosen: Vec<usize> = (0..count).map(|i| i * self.images.len() / count).collect();
        let shown = augmented_batch(self.images, &chosen, &mut Philox::new(self.options.training.seed, Stream::Augmentation, u64::MAX), &device);
        let found = most_likely(&net.logits(net.features(shown.clone())));
        let of_class = |class: usize| self.classes.iter().position(|&other| other == class).unwrap_or_default();
        let predicted: Vec<usize> = found.into_iter().map(of_class).collect();
        let mut grid = ImageGrid::new(self.images.size());
        grid.row(&batch(self.images, &chosen, &device));
        grid.row(&shown);
        grid.row(&batch(self.images, &predicted, &device));
        grid
    }
}
