//! `train latent-lpips`: trains the heads of LatentLPIPS, the weights of its feature channels, on two-alternative forced choices (LPIPS, Zhang et
//! al. 2018, section 3): judgements which of two images is more similar to a reference.
//!
//! The features are frozen. Judgements come from BAPPS folders as published, or are synthetic: the same distortion in two strengths, of which the
//! weaker is the more similar.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use burn::module::{Module, Param};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{
    Device, Tensor, TensorData,
    activation::{leaky_relu, softplus},
};
use onestep_nets::{
    AutoencoderKl, FEATURES, MetricSpace,
    weights::{self, Shard},
};
use onestep_noise::{Philox, Stream};
use serde::{Deserialize, Serialize};

use super::metric_file::{METRIC, Metric};
use crate::{
    autoencoder::epoch_indices,
    checkpoint::Checkpoint,
    data::ImageFolder,
    error::{TrainError, TrainErrorKind, check_options},
    image_grid::ImageGrid,
    observer::Observer,
    optimizer::{FlatGradients, Optimizer, OptimizerOptions},
    pipeline_folder::{ModelOptions, PipelineFolder},
    run_folder::{Entry, RunFolder, model_of},
    store::{self, sha256},
    training_loop::{self, LoopOptions, OPTIMIZER, RunIdentity, RunOptions, Trainee, finite, scalar},
};

/// Options of `train latent-lpips`.
#[derive(Clone, Debug, clap::Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CalibrationOptions {
    /// The metric to calibrate.
    #[arg(long, value_name = "DIR")]
    pub metric: PathBuf,
    /// Run or model folder with the autoencoder.
    #[arg(long, value_name = "DIR")]
    pub autoencoder: PathBuf,
    /// How the model is opened.
    #[command(flatten)]
    pub model: ModelOptions,
    /// A BAPPS folder with ref, p0, p1 and judge inside; may be repeated. None for synthetic judgements.
    #[arg(long, value_name = "DIR")]
    pub judgements: Vec<PathBuf>,
    /// A BAPPS folder with held-out judgements, such as one of its val/; may be repeated. None to hold out a random fifth of the others.
    #[arg(long, value_name = "DIR")]
    pub held_out: Vec<PathBuf>,
    /// The image folder for synthetic judgements.
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// The run folder.
    #[arg(skip)]
    pub out: PathBuf,
    /// Number of synthetic judgements.
    #[arg(long)]
    pub count: usize,
    /// Percentage of the judgements that are held out, unless `held_out` has folders.
    #[arg(skip)]
    pub held_out_percent: u32,
    /// Steps and update rule.
    #[command(flatten)]
    pub training: LoopOptions,
}

impl Default for CalibrationOptions {
    fn default() -> Self {
        let optimizer = OptimizerOptions {
            learning_rate: 1e-3,
            warmup_steps: 1,
            decay_fraction: 0.5,
            beta_1: 0.5,
            weight_decay: 0.0,
            ..OptimizerOptions::default()
        };
        let training = LoopOptions { steps: 2000, batch: 50, save_every: 1000, optimizer, ..LoopOptions::default() };
        let empty = PathBuf::new;
        Self {
            metric: empty(),
            autoencoder: empty(),
            model: ModelOptions::default(),
            judgements: Vec::new(),
            held_out: Vec::new(),
            data: empty(),
            out: empty(),
            count: 2000,
            held_out_percent: 20,
            training,
        }
    }
}

impl RunOptions for CalibrationOptions {
    fn fixed_for_resume(&self) -> Self {
        let Self { metric, autoencoder, judgements, held_out, data, out, .. } = Self::default();
        Self { metric, autoencoder, judgements, held_out, data, out, training: self.training.fixed_for_resume(), ..self.clone() }
    }
}

/// Agreement of distances with the held-out judgements: 2AFC scores, as fractions.
#[derive(Clone, Debug, Serialize)]
pub struct CalibrationReport {
    /// Numbers of judgements: trained on, held out.
    pub judgements: [usize; 2],
    /// With the heads of the given metric, which are normalised if they were not calibrated before.
    pub before: f64,
    /// With the calibrated heads.
    pub after: f64,
    /// With the mean squared difference of the latents, or of the images for a metric of images, for comparison.
    pub squared_difference: f64,
}

/// One judgement, with the distances of both images from the reference.
struct Judgement {
    /// Squared differences of the unit features of both images, averaged over positions: [channels of all layers].
    distances: [Vec<f32>; 2],
    squared: [f64; 2],
    /// The fraction of the people who found the second image more similar.
    preferred: f32,
}

/// The images of a judgement, each [3,size,size] in −1…1, and the fraction of the people who found the second more similar.
struct Triplet {
    reference: Vec<f32>,
    images: [Vec<f32>; 2],
    preferred: f32,
}

/// Trains the heads, and writes the metric with them to `metric/`, and `report.json`.
///
/// # Errors
/// A metric of another autoencoder, judgements that cannot be read, storage, interruption.
pub fn train(
    options: &CalibrationOptions,
    entry: Entry,
    device: &Device,
    device_name: &str,
    observer: &mut dyn Observer,
) -> Result<CalibrationReport, TrainError> {
    options.training.check()?;
    let percent = options.held_out_percent;
    check_options([
        (format!("held_out_percent = {percent}"), (1..=50).contains(&percent), "a number from 1 to 50"),
        (format!("--count {}", options.count), options.count <= MOST_JUDGEMENTS, "at most 1000000"),
    ])?;
    let model = PipelineFolder::open_with(&model_of(&options.autoencoder)?, &options.model)?;
    // A metric of latents has to be one of this autoencoder.
    let encoder = if Metric::is_of_images(&options.metric) { None } else { Some(model.encoder_name()?) };
    let metric = Metric::open(&options.metric, encoder.as_deref(), device)?;
    let vae = model.vae(device)?;
    let (source, held_out) = TripletSource::new(options, &model)?;
    let (order, held_out) = if held_out > 0 { ((0..source.len()).collect(), held_out) } else { random_split(source.len(), percent) };
    let mut folder = RunFolder::enter(&options.out, entry, options, device_name, ("metric", METRIC))?;
    observer.begin("measuring", order.len() as u64, 0);
    let mut judgements = Vec::with_capacity(order.len());
    for chunk in order.chunks(CHUNK) {
        let triplets = chunk.iter().map(|&index| source.triplet(index)).collect::<Result<Vec<_>, _>>()?;
        judgements.extend(measure(&triplets, &metric, &vae, device)?);
        observer.step(judgements.len() as u64, "");
        if observer.stopped() {
            return Err(TrainError::new(
                TrainErrorKind::Interrupted,
                "stopped before the training started, nothing was saved; run the same command again with --resume",
            ));
        }
    }
    let (held_out, trained) = judgements.split_at(held_out);

    let answers: Vec<_> = judgements.iter().map(|judgement| (judgement.squared, judgement.preferred)).collect();
    let data = sha256(format!("{} {} {answers:?}", metric.hash(), held_out.len()).as_bytes());
    let autodiff = device.clone().autodiff();
    autodiff.seed(options.training.seed);
    let mut trainee = Calibration {
        options,
        net: Some(RankingNetwork::new(&metric, &autodiff)),
        optimizer: Optimizer::new(options.training.optimizer.clone()),
        trained,
        device: autodiff.clone(),
    };
    let before = agreement(held_out, &trainee.heads());
    training_loop::run(&mut trainee, &options.training, &RunIdentity::new(options, &data), &mut folder, observer)?;
    let heads = trainee.heads();
    let report = CalibrationReport {
        judgements: [trained.len(), held_out.len()],
        before,
        after: agreement(held_out, &heads),
        squared_difference: score_2afc(held_out.iter().map(|judgement| (judgement.squared, judgement.preferred))),
    };
    with_heads(metric, &heads, device).write(&options.out.join("metric"))?;
    onestep_store::replace_json(&options.out.join("report.json"), &report)?;
    crate::report_page::write(&options.out)?;
    Ok(report)
}

/// The metric with these heads.
fn with_heads(metric: Metric, heads: &[f32], device: &Device) -> Metric {
    let mut net = metric.net;
    let mut remaining = heads;
    for head in [&mut net.lin0, &mut net.lin1, &mut net.lin2, &mut net.lin3, &mut net.lin4] {
        let [_, channels, _, _] = head.weight().dims();
        let (weights, others) = remaining.split_at(channels);
        remaining = others;
        head.model.at_1.weight = Param::from_tensor(Tensor::from_data(TensorData::new(weights.to_vec(), [1, channels, 1, 1]), device));
    }
    Metric { net: net.no_grad(), config: metric.config }
}

/// The 2AFC score of the distances by these heads.
fn agreement(judgements: &[Judgement], heads: &[f32]) -> f64 {
    let distance = |terms: &[f32]| terms.iter().zip(heads).map(|(term, weight)| f64::from(term * weight)).sum::<f64>();
    score_2afc(judgements.iter().map(|judgement| ([distance(&judgement.distances[0]), distance(&judgement.distances[1])], judgement.preferred)))
}

/// The 2AFC score `mean([d0 < d1]·(1 − h) + [d1 < d0]·h + ½·[d0 = d1])` of distances (d0, d1) and preferences h.
fn score_2afc(distances: impl Iterator<Item = ([f64; 2], f32)>) -> f64 {
    let scores: Vec<f64> = distances
        .map(|([d0, d1], preferred)| {
            let preferred = f64::from(preferred);
            if d0 < d1 {
                1.0 - preferred
            } else if d1 < d0 {
                preferred
            } else {
                0.5
            }
        })
        .collect();
    scores.iter().sum::<f64>() / scores.len().max(1) as f64
}

/// The heads, with the small network of LPIPS that predicts a judgement from two distances. It serves the training only.
#[derive(Module, Debug)]
struct RankingNetwork {
    /// [channels of all features]
    heads: Param<Tensor<1>>,
    first: Linear,
    second: Linear,
    third: Linear,
}

impl RankingNetwork {
    fn new(metric: &Metric, device: &Device) -> Self {
        let heads = Tensor::cat(metric.net.heads().map(|head| head.weight().flatten::<1>(0, 3)).to_vec(), 0);
        let linear = |input, output| LinearConfig::new(input, output).init(device);
        Self {
            heads: Param::from_tensor(Tensor::from_data(heads.to_data(), device)),
            first: linear(5, 32),
            second: linear(32, 32),
            third: linear(32, 1),
        }
    }

    /// Logits [N,1] that the second image is more similar, from the distances by channel [N,channels] of both.
    fn forward(&self, terms: [Tensor<2>; 2]) -> Tensor<2> {
        let [count, channels] = terms[0].dims();
        let [d0, d1] = terms.map(|terms| (terms * self.heads.val().reshape([1, channels])).sum_dim(1).reshape([count, 1]));
        let ratio = |a: &Tensor<2>, b: &Tensor<2>| a.clone() / b.clone().add_scalar(0.1);
        let input = Tensor::cat(vec![d0.clone(), d1.clone(), d0.clone() - d1.clone(), ratio(&d0, &d1), ratio(&d1, &d0)], 1);
        let x = leaky_relu(self.first.forward(input), 0.2);
        self.third.forward(leaky_relu(self.second.forward(x), 0.2))
    }
}

struct Calibration<'a> {
    options: &'a CalibrationOptions,
    net: Option<RankingNetwork>,
    optimizer: Optimizer,
    trained: &'a [Judgement],
    device: Device,
}

impl Calibration<'_> {
    fn heads(&self) -> Vec<f32> {
        self.net.as_ref().map_or_else(Vec::new, |net| net.heads.val().to_data().try_to_vec().unwrap_or_default())
    }
}

impl Trainee for Calibration<'_> {
    fn update(&mut self, step: u64) -> Result<Vec<(&'static str, f64)>, TrainError> {
        let Some(net) = self.net.take() else { return Err(TrainError::input("nothing is trained")) };
        let LoopOptions { seed, batch, steps, .. } = self.options.training;
        let all: Vec<usize> = (0..self.trained.len()).collect();
        let indices = epoch_indices(&all, seed, step, batch);
        let channels = self.trained[0].distances[0].len();
        // Dropout of half of the channels, as in LPIPS, but for whole channels: their distances are averaged over positions already.
        let mut random = Philox::new(seed, Stream::Distortion, u64::MAX - step);
        let mut side = |side: usize| {
            let terms = indices.iter().flat_map(|&index| self.trained[index].distances[side].iter());
            let terms: Vec<f32> = terms.map(|term| if random.below(2) == 0 { 0.0 } else { 2.0 * term }).collect();
            Tensor::<2>::from_data(TensorData::new(terms, [indices.len(), channels]), &self.device)
        };
        let logits = net.forward([side(0), side(1)]);
        let preferred: Vec<f32> = indices.iter().map(|&index| self.trained[index].preferred).collect();
        let preferred = Tensor::<2>::from_data(TensorData::new(preferred, [indices.len(), 1]), &self.device);
        // Binary cross-entropy with logits.
        let loss = (softplus(logits.clone(), 1.0) - logits * preferred).mean();
        let value = finite("the loss", scalar(&loss), step)?;
        let gradients = FlatGradients::take(&net, &mut loss.backward());
        let (mut net, norm) = self.optimizer.step(net, gradients, self.optimizer.rate(step, steps));
        // Negative weights would give negative distances.
        net.heads = net.heads.map(|heads| {
            let heads = heads.inner().clamp_min(0.0);
            Tensor::from_inner(heads).require_grad()
        });
        self.net = Some(net);
        Ok(vec![("loss", value), ("gradient_norm", finite("the gradient", norm, step)?)])
    }

    fn files(&self) -> Vec<(String, Vec<u8>)> {
        let net = self.net.as_ref().map(|net| (RANKING.to_owned(), weights::save(net, &BTreeMap::new())));
        net.into_iter().chain([(OPTIMIZER.into(), self.optimizer.to_bytes())]).collect()
    }

    fn load(&mut self, checkpoint: &Checkpoint) -> Result<(), TrainError> {
        let file = checkpoint.file(RANKING)?;
        let loaded = self.net.take().map(|net| weights::load(net, &[Shard::new(RANKING, file)])).transpose();
        self.net = loaded.map_err(|error| TrainError::input(format!("the checkpoint does not fit: {error}")))?;
        self.optimizer.load(checkpoint.file(OPTIMIZER)?, &self.device.clone().inner())
    }

    fn sample_every(&self) -> Option<u64> {
        None
    }

    fn sample(&self) -> Option<ImageGrid> {
        None
    }
}

/// The ranking network in a checkpoint.
const RANKING: &str = "ranking/model.safetensors";
/// Triplets per forward pass.
const CHUNK: usize = 16;
/// Most synthetic judgements.
const MOST_JUDGEMENTS: usize = 1_000_000;
/// Fewest judgements to train on.
const FEWEST_JUDGEMENTS: usize = 10;

/// The distances of the images of some triplets, by channel.
fn measure(triplets: &[Triplet], metric: &Metric, vae: &AutoencoderKl, device: &Device) -> Result<Vec<Judgement>, TrainError> {
    let size = image_side(&triplets[0].reference);
    if triplets.iter().any(|triplet| image_side(&triplet.reference) != size) {
        return Err(TrainError::input("the images of the judgements have different sizes; expected one size"));
    }
    let count = triplets.len();
    let images: Vec<f32> = triplets
        .iter()
        .map(|triplet| &triplet.reference)
        .chain(triplets.iter().map(|triplet| &triplet.images[0]))
        .chain(triplets.iter().map(|triplet| &triplet.images[1]))
        .flatten()
        .copied()
        .collect();
    let images = Tensor::<4>::from_data(TensorData::new(images, [3 * count, 3, size, size]), device);
    let compared = match metric.config.space {
        MetricSpace::Latent => vae.to_model_space(vae.encode(images).mean),
        MetricSpace::Pixel => images,
    };
    let side = |x: &Tensor<4>, side: usize| x.clone().narrow(0, side * count, count);
    let squared = [1, 2].map(|which| {
        let difference = (side(&compared, which) - side(&compared, 0)).square();
        difference.mean_dim(1).mean_dim(2).mean_dim(3).to_data().try_to_vec::<f32>().unwrap_or_default()
    });
    let features = metric.net.unit_features(compared);
    let terms = [1, 2].map(|which| {
        let by_layer: Vec<Tensor<2>> = features
            .iter()
            .map(|feature| {
                let [_, channels, _, _] = feature.dims();
                (side(feature, which) - side(feature, 0)).square().mean_dim(2).mean_dim(3).reshape([count, channels])
            })
            .collect();
        debug_assert_eq!(by_layer.len(), FEATURES);
        Tensor::cat(by_layer, 1).to_data().try_to_vec::<f32>().unwrap_or_default()
    });
    let channels = terms[0].len() / count;
    Ok(triplets
        .iter()
        .enumerate()
        .map(|(index, triplet)| Judgement {
            distances: [0, 1].map(|which: usize| terms[which][index * channels..][..channels].to_vec()),
            squared: [0, 1].map(|which: usize| f64::from(squared[which][index])),
            preferred: triplet.preferred,
        })
        .collect())
}

/// The side of an image [3,side,side].
fn image_side(image: &[f32]) -> usize {
    (image.len() / 3).isqrt()
}

/// Distortions of an image [3,size,size], with a strength from 0 to 1.
const DISTORTIONS: [fn(&mut [f32], f32, &mut Philox); 6] = [noise, blur, mosaic, contrast, shift, tint];

/// Where triplets come from. They are generated or read one by one, because those of BAPPS take 22 GB together.
enum TripletSource {
    /// One distortion of an image in two random strengths, of which the weaker is the more similar.
    Synthetic { images: ImageFolder, count: usize, seed: u64 },
    /// Folder and name of each.
    Bapps(Vec<(PathBuf, String)>),
}

impl TripletSource {
    /// The source, and how many of its first triplets are held out; 0 for a random split.
    fn new(options: &CalibrationOptions, model: &PipelineFolder) -> Result<(Self, usize), TrainError> {
        let mut held_out = 0;
        let source = if options.judgements.is_empty() {
            if !options.held_out.is_empty() {
                let message = "--held-out gives judgements to evaluate on; give those to train on with --judgements";
                return Err(TrainError::new(TrainErrorKind::Usage, message));
            }
            let images = ImageFolder::open_trained(&options.data, model.image_size()?)?;
            Self::Synthetic { images, count: options.count, seed: options.training.seed }
        } else {
            let mut names = list_bapps(&options.held_out)?;
            held_out = names.len();
            names.extend(list_bapps(&options.judgements)?);
            Self::Bapps(names)
        };
        let trained = source.len() - held_out;
        if trained < FEWEST_JUDGEMENTS {
            return Err(TrainError::input(format!("{trained} judgements are too few to train on; give at least {FEWEST_JUDGEMENTS}")));
        }
        Ok((source, held_out))
    }

    fn len(&self) -> usize {
        match self {
            Self::Synthetic { count, .. } => *count,
            Self::Bapps(names) => names.len(),
        }
    }

    fn triplet(&self, index: usize) -> Result<Triplet, TrainError> {
        match self {
            Self::Synthetic { images, seed, .. } => Ok(synthetic(images, *seed, index as u64)),
            Self::Bapps(names) => read_bapps(&names[index].0, &names[index].1),
        }
    }
}

/// A random order, and how many of its first triplets are held out; the same in every run. The order mixes the folders, because those of BAPPS are
/// kinds of distortions.
fn random_split(count: usize, percent: u32) -> (Vec<usize>, usize) {
    let held_out = (count * percent as usize).div_ceil(100);
    (Philox::new(0, Stream::Order, u64::MAX).permutation(count), held_out)
}

fn synthetic(images: &ImageFolder, seed: u64, index: u64) -> Triplet {
    let mut random = Philox::new(seed, Stream::Distortion, index);
    let reference = images.pixels(random.below(images.len() as u32) as usize).to_vec();
    let distort = DISTORTIONS[random.below(DISTORTIONS.len() as u32) as usize];
    let weaker = random.unit() * 0.8;
    // The strengths differ by 0.05 at least, and are often close.
    let stronger = weaker + 0.05 + (0.95 - weaker) * random.unit() * random.unit();
    let second_is_weaker = random.below(2) == 1;
    let strengths = if second_is_weaker { [stronger, weaker] } else { [weaker, stronger] };
    let images = strengths.map(|strength| {
        let mut image = reference.clone();
        distort(&mut image, strength, &mut random);
        image
    });
    Triplet { reference, images, preferred: if second_is_weaker { 1.0 } else { 0.0 } }
}

fn noise(image: &mut [f32], strength: f32, random: &mut Philox) {
    for value in image {
        // The sum of four uniform numbers is approximately normal.
        let sum: f32 = (0..4).map(|_| random.unit() - 0.5).sum();
        *value = (*value + sum * 0.9 * strength).clamp(-1.0, 1.0);
    }
}

/// Repeated 3-tap filters along rows and columns; a fractional last repetition makes the strength continuous.
fn blur(image: &mut [f32], strength: f32, _: &mut Philox) {
    let size = image_side(image);
    let mut repetitions = strength * 10.0;
    while repetitions > 0.0 {
        let weight = repetitions.min(1.0) / 3.0;
        for (step, runs) in [(1, size), (size, 1)] {
            for plane in image.chunks_exact_mut(size * size) {
                let before = plane.to_vec();
                for line in 0..size {
                    for index in 0..size {
                        let at = |index: usize| before[line * runs + index.min(size - 1) * step];
                        plane[line * runs + index * step] = at(index) * (1.0 - 2.0 * weight) + weight * (at(index.saturating_sub(1)) + at(index + 1));
                    }
                }
            }
        }
        repetitions -= 1.0;
    }
}

/// Blends with the means of 4×4 blocks.
fn mosaic(image: &mut [f32], strength: f32, _: &mut Philox) {
    let size = image_side(image);
    for plane in image.chunks_exact_mut(size * size) {
        for (row, column) in (0..size).step_by(4).flat_map(|row| (0..size).step_by(4).map(move |column| (row, column))) {
            let block: Vec<usize> =
                (row..(row + 4).min(size)).flat_map(|row| (column..(column + 4).min(size)).map(move |column| row * size + column)).collect();
            let mean = block.iter().map(|&index| plane[index]).sum::<f32>() / block.len() as f32;
            for index in block {
                plane[index] += (mean - plane[index]) * strength;
            }
        }
    }
}

fn contrast(image: &mut [f32], strength: f32, _: &mut Philox) {
    let mean = image.iter().sum::<f32>() / image.len() as f32;
    for value in image {
        *value += (mean - *value) * strength * 0.8;
    }
}

/// Translates by up to six pixels to the left, with linear interpolation.
fn shift(image: &mut [f32], strength: f32, _: &mut Philox) {
    let size = image_side(image);
    let distance = strength * 6.0;
    let (whole, fraction) = (distance as usize, distance.fract());
    for row in image.chunks_exact_mut(size) {
        let before = row.to_vec();
        let at = |index: usize| before[index.min(size - 1)];
        for (index, value) in row.iter_mut().enumerate() {
            *value = at(index + whole) * (1.0 - fraction) + at(index + whole + 1) * fraction;
        }
    }
}

/// Blends red, and half as much green, with the mean of the channels.
fn tint(image: &mut [f32], strength: f32, _: &mut Philox) {
    let plane = image.len() / 3;
    for index in 0..plane {
        let mean = (image[index] + image[plane + index] + image[2 * plane + index]) / 3.0;
        image[index] += (mean - image[index]) * strength;
        image[plane + index] += (mean - image[plane + index]) * strength * 0.5;
    }
}

/// Lists the judgements in BAPPS folders: `ref/NAME.png`, `p0/NAME.png`, `p1/NAME.png`, `judge/NAME.npy`.
fn list_bapps(folders: &[PathBuf]) -> Result<Vec<(PathBuf, String)>, TrainError> {
    let mut all = Vec::new();
    for folder in folders {
        let references = folder.join("ref");
        let entries = fs::read_dir(&references).map_err(|error| TrainError::storage("listing", &references, &error))?;
        let mut names: Vec<String> =
            entries.flatten().filter_map(|entry| Some(entry.file_name().to_string_lossy().strip_suffix(".png")?.to_owned())).collect();
        if names.is_empty() {
            return Err(TrainError::input(format!("{} holds no judgement: expected images NAME.png", references.display())));
        }
        names.sort();
        all.extend(names.into_iter().map(|name| (folder.clone(), name)));
    }
    Ok(all)
}

fn read_bapps(folder: &Path, name: &str) -> Result<Triplet, TrainError> {
    let image = |kind: &str| -> Result<Vec<f32>, TrainError> {
        let path = folder.join(kind).join(format!("{name}.png"));
        Ok(crate::data::square_pixels(&store::read(&path)?, &path.display().to_string())?)
    };
    let (reference, images) = (image("ref")?, [image("p0")?, image("p1")?]);
    if images.iter().any(|image| image.len() != reference.len()) {
        return Err(TrainError::input(format!("{}: the images of {name} have different sizes; expected one size", folder.display())));
    }
    Ok(Triplet { reference, images, preferred: read_preference(&folder.join("judge").join(format!("{name}.npy")))? })
}

/// Reads a NumPy file with one f32 or f64.
fn read_preference(path: &Path) -> Result<f32, TrainError> {
    let bytes = store::read(path)?;
    let refuse = || TrainError::input(format!("{} is not a numpy file with one fraction from 0 to 1", path.display()));
    let header = bytes.strip_prefix(b"\x93NUMPY\x01\x00").ok_or_else(refuse)?;
    let length = header.first_chunk::<2>().map(|length| usize::from(u16::from_le_bytes(*length))).ok_or_else(refuse)?;
    let (header, data) = (header.get(2..2 + length).ok_or_else(refuse)?, header.get(2 + length..).ok_or_else(refuse)?);
    let header = String::from_utf8_lossy(header);
    let value = if header.contains("<f4") {
        data.first_chunk::<4>().map(|bytes| f32::from_le_bytes(*bytes))
    } else if header.contains("<f8") {
        data.first_chunk::<8>().map(|bytes| f64::from_le_bytes(*bytes) as f32)
    } else {
        None
    };
    value.filter(|value| (0.0..=1.0).contains(value)).ok_or_else(refuse)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_2afc_score_counts_ties_half() {
        let distances = [([1.0, 2.0], 0.2), ([2.0, 1.0], 0.2), ([1.0, 1.0], 0.9)];
        assert!((score_2afc(distances.into_iter()) - (0.8 + 0.2 + 0.5) / 3.0).abs() < 1e-6);
    }

    #[test]
    fn stronger_distortions_change_more() {
        let image: Vec<f32> = (0..3 * 32 * 32).map(|index| ((index as f32) * 0.37).sin() * 0.5 + ((index / 32) as f32 * 0.2).cos() * 0.4).collect();
        for (number, distort) in DISTORTIONS.iter().enumerate() {
            let mut last = 0.0;
            for strength in [0.1, 0.4, 0.9] {
                let mut changed = image.clone();
                distort(&mut changed, strength, &mut Philox::new(1, Stream::Distortion, number as u64));
                let error: f32 = changed.iter().zip(&image).map(|(a, b)| (a - b).powi(2)).sum();
                assert!(error > last, "distortion {number} at {strength}");
                last = error;
            }
        }
    }

    #[test]
    fn judgements_are_read_from_numpy_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }\n";
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(0.4f32.to_le_bytes());
        fs::write(&path, &bytes).unwrap();
        assert_eq!(read_preference(&path).unwrap(), 0.4);
        bytes.truncate(bytes.len() - 1);
        fs::write(&path, &bytes).unwrap();
        assert!(read_preference(&path).unwrap_err().to_string().contains("numpy"));
    }
}
