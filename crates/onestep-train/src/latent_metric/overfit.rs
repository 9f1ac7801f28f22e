//! `debug overfit`: optimises noise toward target latents with the distance as the loss (Diffusion2GAN, section 3.1). A loss is suitable if the
//! latents converge to the targets.
//!
//! Each set of augmentations is one run of Adam under E-LatentLPIPS. The report has the distance without augmentation.

use std::path::{Path, PathBuf};

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use onestep_store::{FolderDestination, FolderKind, recorded_folder_kind, replace_json};
use serde::{Deserialize, Serialize};

use super::{
    e_latent_lpips::distance,
    latent_augmentation::{AugmentationKinds, LatentAugmentationOptions},
    metric_file::Metric,
};
use crate::{
    chart::{Curve, chart},
    error::{TrainError, TrainErrorKind, check_options},
    html_page,
    observer::Observer,
    optimizer::{FlatGradients, Optimizer, OptimizerOptions},
    pairs::Pairs,
    run_folder::{config_of, write_description},
    sampler::noises,
    training_loop::{finite, scalar},
};

/// Options of `debug overfit`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OverfitOptions {
    /// The metric's folder or published file.
    pub weights: PathBuf,
    /// Encoder of a published metric, if its file name does not tell.
    pub encoder: Option<String>,
    /// The pair set; its first latents are the targets.
    pub pairs: PathBuf,
    /// Number of targets.
    pub count: usize,
    /// The folder of the report.
    pub out: PathBuf,
    /// Steps of each run.
    pub steps: u64,
    /// Learning rate of Adam.
    pub learning_rate: f64,
    /// Seed of noise and augmentations.
    pub seed: u64,
    /// Sets of augmentations, one run for each.
    pub augmentations: Vec<AugmentationKinds>,
}

impl Default for OverfitOptions {
    fn default() -> Self {
        let augmentations = ["none", "blit", "blit+geom", "blit+geom+cutout"].iter().filter_map(|kinds| kinds.parse().ok()).collect();
        let empty = PathBuf::new;
        Self { weights: empty(), encoder: None, pairs: empty(), count: 4, out: empty(), steps: 2000, learning_rate: 1e-2, seed: 0, augmentations }
    }
}

/// One run.
#[derive(Clone, Debug, Serialize)]
pub struct OverfitRun {
    /// The augmentations of the loss.
    pub augmentations: AugmentationKinds,
    /// Mean LatentLPIPS to the targets, without augmentation, before and after.
    pub start: f64,
    /// See `start`.
    pub end: f64,
    /// Root mean square difference from the targets, before and after.
    pub start_difference: f64,
    /// See `start_difference`.
    pub end_difference: f64,
    /// (step, mean LatentLPIPS).
    pub curve: Vec<(u64, f64)>,
}

/// Most steps of a run.
const MOST_STEPS: u64 = 9_999_999;
/// Points per curve.
const POINTS: u64 = 100;

/// The latents that are optimised.
#[derive(Module, Debug)]
struct Latents {
    x: Param<Tensor<4>>,
}

/// The first `count` latents of a pair set, [count,C,H,W].
///
/// # Errors
/// A pair set that is incomplete or smaller.
pub fn targets(pairs: &Path, count: usize, device: &Device) -> Result<Tensor<4>, TrainError> {
    let pairs = Pairs::open(pairs)?;
    if count == 0 || count > pairs.seeds.len() {
        return Err(TrainError::new(
            TrainErrorKind::Usage,
            format!("--count {count}: expected a number from 1 to {}, the number of pairs", pairs.seeds.len()),
        ));
    }
    Ok(pairs.targets(&(0..count).collect::<Vec<_>>(), device))
}

/// The version of `report.json`.
const SCHEMA: u32 = 2;
/// The kind of the report folder.
const OVERFIT: FolderKind = recorded_folder_kind!("an overfitting report");

/// Optimises noise toward `targets` [N,C,H,W] under each set of augmentations.
///
/// # Errors
/// A metric that cannot be used, a distance that is not finite, storage, interruption.
pub fn overfit(options: &OverfitOptions, targets: Tensor<4>, device: &Device, observer: &mut dyn Observer) -> Result<Vec<OverfitRun>, TrainError> {
    config_of(options)?;
    let destination = if options.out.as_os_str().is_empty() { None } else { Some(FolderDestination::acquire(&options.out, OVERFIT, &[])?) };
    let rate = options.learning_rate;
    check_options([
        (format!("--steps {}", options.steps), (1..=MOST_STEPS).contains(&options.steps), "a number from 1 to 9999999"),
        (format!("--learning-rate {rate}"), rate.is_finite() && rate > 0.0, "a number above 0"),
        (
            format!("seed = {}", options.seed),
            options.seed.checked_add(targets.dims()[0] as u64).is_some(),
            "a smaller number, because each target has a seed of its own above it",
        ),
    ])?;
    let [count, channels, rows, columns] = targets.dims();
    let autodiff = device.clone().autodiff();
    let metric = Metric::open(&options.weights, options.encoder.as_deref(), &autodiff)?;
    let latents: Vec<f32> = targets.to_data().try_to_vec().unwrap_or_default();
    metric.accept(&latents, channels, "the targets")?;
    let targets = Tensor::<4>::from_data(targets.to_data(), &autodiff);
    let seeds: Vec<u64> = (0..count as u64).map(|index| options.seed + index).collect();
    let mut runs = Vec::new();
    observer.begin("optimising latents", options.steps * options.augmentations.len() as u64, 0);
    for (number, kinds) in options.augmentations.iter().enumerate() {
        let augmentation = LatentAugmentationOptions::of(kinds.clone());
        let mut latents = Latents { x: Param::from_tensor(noises(&seeds, [channels, rows, columns], &autodiff)) };
        let rule = OptimizerOptions {
            learning_rate: options.learning_rate,
            warmup_steps: 1,
            decay_fraction: 0.5,
            weight_decay: 0.0,
            clip_norm: f64::MAX,
            ..OptimizerOptions::default()
        };
        let mut optimizer = Optimizer::new(rule);
        let lpips = |latents: &Latents| scalar(&metric.net.forward(latents.x.val(), targets.clone()).mean());
        let difference = |latents: &Latents| scalar(&(latents.x.val() - targets.clone()).square().mean()).sqrt();
        let mut run = OverfitRun {
            augmentations: kinds.clone(),
            start: lpips(&latents),
            end: 0.0,
            start_difference: difference(&latents),
            end_difference: 0.0,
            curve: Vec::new(),
        };
        run.curve.push((0, run.start));
        for step in 0..options.steps {
            let sample = (!kinds.is_empty()).then(|| augmentation.sample(options.seed, step, count, [rows, columns], &autodiff));
            let loss = distance(&metric.net, sample.as_ref(), 0.0, latents.x.val(), targets.clone()).mean();
            finite("the distance", scalar(&loss), step)?;
            let gradients = FlatGradients::take(&latents, &mut loss.backward());
            (latents, _) = optimizer.step(latents, gradients, optimizer.rate(step, options.steps));
            if (step + 1) % options.steps.div_ceil(POINTS) == 0 || step + 1 == options.steps {
                run.curve.push((step + 1, lpips(&latents)));
            }
            observer.step(number as u64 * options.steps + step + 1, &format!("{kinds} {:.5}", run.curve.last().map_or(0.0, |point| point.1)));
            if observer.stopped() {
                return Err(TrainError::new(TrainErrorKind::Interrupted, "stopped; nothing was written"));
            }
        }
        run.end = lpips(&latents);
        run.end_difference = difference(&latents);
        runs.push(run);
    }
    if let Some(mut destination) = destination {
        write(destination.begin()?, options, &runs)?;
        destination.publish()?;
    }
    Ok(runs)
}

/// Writes `report.json`, `report.html` with the curves on a logarithmic scale, `config.toml` and `command.txt`.
fn write(folder: &Path, options: &OverfitOptions, runs: &[OverfitRun]) -> Result<(), TrainError> {
    write_description(folder, &config_of(options)?)?;
    let report = serde_json::json!({ "schema": SCHEMA, "options": options, "runs": runs });
    replace_json(&folder.join("report.json"), &report)?;
    let curves: Vec<Curve> = runs
        .iter()
        .map(|run| Curve { name: run.augmentations.to_string(), points: run.curve.iter().map(|&(step, value)| (step as f64, value)).collect() })
        .collect();
    let title = "Overfitting latents";
    let body = maud::html! {
        h1 { (title) }
        p { "LatentLPIPS to the targets while noise is optimised under E-LatentLPIPS, by its augmentations." }
        (chart("LatentLPIPS", &curves, true))
    };
    html_page::write(&folder.join("report.html"), title, &body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observer::Silent;
    use onestep_nets::{LatentLpipsConfig, LatentScaling, MetricSpace, NormKind};
    use onestep_noise::{Stream, normal};

    /// The claim of section 3.1 with an untrained network: LatentLPIPS stops far from the target, E-LatentLPIPS converges to it.
    #[test]
    fn e_latent_lpips_converges_to_the_target_where_latent_lpips_stops() {
        let device = Device::flex();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metric");
        let config = LatentLpipsConfig {
            encoder: "test".into(),
            space: MetricSpace::Latent,
            in_channels: 4,
            widths: [16, 16, 16, 16, 16],
            norm: NormKind::Group,
            scaling: LatentScaling { shift: 0.0, factor: 1.0 },
        };
        device.seed(3);
        Metric { net: config.init(&device), config }.write(&path).unwrap();
        let options = OverfitOptions {
            weights: path,
            steps: 1500,
            learning_rate: 3e-2,
            augmentations: vec![AugmentationKinds::NONE, AugmentationKinds::blit_geom_cutout()],
            ..OverfitOptions::default()
        };
        // Blocks of 2×2 equal elements, because white noise has no structure that a VGG responds to.
        let coarse = Tensor::<4>::from_data(burn::tensor::TensorData::new(normal(2, Stream::Training, 0, 2 * 4 * 16), [2, 4, 4, 4]), &device);
        let targets = coarse.reshape([8, 4, 1, 4]).repeat_dim(2, 2).reshape([8, 8, 4, 1]).repeat_dim(3, 2).reshape([2, 4, 8, 8]);
        let runs = overfit(&options, targets, &device, &mut Silent).unwrap();
        let [without, with] = runs.as_slice() else { panic!("two runs") };
        let (a, b) = (without.end_difference, with.end_difference);
        assert!(with.end < 0.01 * with.start, "from {} to {} with augmentations", with.start, with.end);
        assert!(without.end > 0.05 * without.start, "from {} to {} without augmentations", without.start, without.end);
        assert!(b < 0.5 * a, "a root mean square difference of {b} with augmentations, {a} without");
    }
}
