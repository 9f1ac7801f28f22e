//! `overfit`: whether a distance can lead a latent to its target (Diffusion2GAN, section 3.1; the acceptance test of a loss).
//!
//! One latent of noise per target is optimised with Adam under the distance; what is reported is the plain distance, which no random
//! change blurs.

use std::path::{Path, PathBuf};

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use onestep_store::{FolderDestination, FolderKind, recorded_folder_kind, replace_json};
use serde::{Deserialize, Serialize};

use super::{augmentation::AugmentationOptions, ensemble::distance, metric_file::Metric};
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

/// Options of `overfit`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OverfitOptions {
    /// The metric's folder or published file.
    pub weights: PathBuf,
    /// Whose latents, where the metric does not say.
    pub encoder: Option<String>,
    /// The pair set whose first latents are the targets.
    pub pairs: PathBuf,
    /// How many of them.
    pub count: usize,
    /// Where curves and report go.
    pub out: PathBuf,
    /// Updates of each run.
    pub steps: u64,
    /// Step size of Adam.
    pub learning_rate: f64,
    /// Names the noise and the changes.
    pub seed: u64,
    /// One run each: letters of augmentation groups, "" for none.
    pub groups: Vec<String>,
}

impl Default for OverfitOptions {
    fn default() -> Self {
        let groups = ["", "b", "bg", "bgo"].map(String::from).to_vec();
        let empty = PathBuf::new;
        Self { weights: empty(), encoder: None, pairs: empty(), count: 4, out: empty(), steps: 2000, learning_rate: 1e-2, seed: 0, groups }
    }
}

/// One run.
#[derive(Clone, Debug, Serialize)]
pub struct OverfitRun {
    /// Letters of the augmentation groups.
    pub groups: String,
    /// Plain distance to the target before and after.
    pub start: f64,
    /// See `start`.
    pub end: f64,
    /// Root mean square difference of the latents, before and after.
    pub start_difference: f64,
    /// See `start_difference`.
    pub end_difference: f64,
    /// (step, plain distance).
    pub curve: Vec<(u64, f64)>,
}

/// Updates of a run at most.
const MOST_STEPS: u64 = 9_999_999;
/// Points of a curve.
const POINTS: u64 = 100;

/// The latents under optimisation.
#[derive(Module, Debug)]
struct Latents {
    x: Param<Tensor<4>>,
}

/// The first `count` latents of a pair set, [count,C,H,W].
///
/// # Errors
/// A pair set that is not whole or has fewer.
pub fn targets(pairs: &Path, count: usize, device: &Device) -> Result<Tensor<4>, TrainError> {
    let pairs = Pairs::open(pairs)?;
    if count == 0 || count > pairs.seeds.len() {
        return Err(TrainError::new(
            TrainErrorKind::Usage,
            format!("--count {count}: expected a number from 1 to {}, the pairs that there are", pairs.seeds.len()),
        ));
    }
    Ok(pairs.targets(&(0..count).collect::<Vec<_>>(), device))
}

/// A folder with the curves of such runs.
const OVERFIT: FolderKind = recorded_folder_kind!("an overfitting report");

/// Leads noise to the `targets` [N,C,H,W] under each set of groups.
///
/// # Errors
/// A metric that cannot be used, a distance that is not finite, storage, interruption.
pub fn overfit(options: &OverfitOptions, targets: Tensor<4>, device: &Device, observer: &mut dyn Observer) -> Result<Vec<OverfitRun>, TrainError> {
    config_of(options)?;
    let destination = if options.out.as_os_str().is_empty() { None } else { Some(FolderDestination::claim(&options.out, OVERFIT, &[])?) };
    let rate = options.learning_rate;
    check_options([
        (format!("--steps {}", options.steps), (1..=MOST_STEPS).contains(&options.steps), "a number from 1 to 9999999"),
        (format!("--learning-rate {rate}"), rate.is_finite() && rate > 0.0, "a number above 0"),
        (format!("seed = {}", options.seed), options.seed.checked_add(targets.dims()[0] as u64).is_some(), "a number with room for a seed for each"),
    ])?;
    let [count, channels, rows, columns] = targets.dims();
    let on = device.clone().autodiff();
    let metric = Metric::open(&options.weights, options.encoder.as_deref(), &on)?;
    let latents: Vec<f32> = targets.to_data().try_to_vec().unwrap_or_default();
    metric.accept(&latents, channels, "the targets")?;
    let targets = Tensor::<4>::from_data(targets.to_data(), &on);
    let seeds: Vec<u64> = (0..count as u64).map(|index| options.seed + index).collect();
    let mut runs = Vec::new();
    observer.begin("leading noise to its targets", options.steps * options.groups.len() as u64, 0);
    for (number, groups) in options.groups.iter().enumerate() {
        let augmentation = AugmentationOptions { groups: groups.clone(), ..AugmentationOptions::default() };
        augmentation.check()?;
        let mut latents = Latents { x: Param::from_tensor(noises(&seeds, [channels, rows, columns], &on)) };
        let rule = OptimizerOptions {
            learning_rate: options.learning_rate,
            warmup_steps: 1,
            decay_fraction: 0.5,
            weight_decay: 0.0,
            clip_norm: f64::MAX,
            ..OptimizerOptions::default()
        };
        let mut optimizer = Optimizer::new(rule);
        let plain = |latents: &Latents| scalar(&metric.net.forward(latents.x.val(), targets.clone()).mean());
        let difference = |latents: &Latents| scalar(&(latents.x.val() - targets.clone()).square().mean()).sqrt();
        let mut run = OverfitRun {
            groups: groups.clone(),
            start: plain(&latents),
            end: 0.0,
            start_difference: difference(&latents),
            end_difference: 0.0,
            curve: Vec::new(),
        };
        run.curve.push((0, run.start));
        for step in 0..options.steps {
            let draw = augmentation.draw(options.seed, step, count, [rows, columns], &on);
            let loss = distance(&metric.net, &draw, 0.0, latents.x.val(), targets.clone()).mean();
            finite("the distance", scalar(&loss), step)?;
            let gradients = FlatGradients::take(&latents, &mut loss.backward());
            (latents, _) = optimizer.step(latents, gradients, optimizer.rate(step, options.steps));
            if (step + 1) % options.steps.div_ceil(POINTS) == 0 || step + 1 == options.steps {
                run.curve.push((step + 1, plain(&latents)));
            }
            observer.step(number as u64 * options.steps + step + 1, &format!("{groups} {:.5}", run.curve.last().map_or(0.0, |point| point.1)));
            if observer.stopped() {
                return Err(TrainError::new(TrainErrorKind::Interrupted, "stopped; nothing was written"));
            }
        }
        run.end = plain(&latents);
        run.end_difference = difference(&latents);
        runs.push(run);
    }
    if let Some(mut destination) = destination {
        write(destination.begin()?, options, &runs)?;
        destination.publish()?;
    }
    Ok(runs)
}

/// `report.json` and `report.html` with the curves, on a logarithmic scale; `config.toml` and `command.txt`.
fn write(folder: &Path, options: &OverfitOptions, runs: &[OverfitRun]) -> Result<(), TrainError> {
    write_description(folder, &config_of(options)?)?;
    let report = serde_json::json!({ "options": options, "runs": runs });
    replace_json(&folder.join("report.json"), &report)?;
    let curves: Vec<Curve> = runs
        .iter()
        .map(|run| Curve {
            name: if run.groups.is_empty() { "no change".into() } else { run.groups.clone() },
            points: run.curve.iter().map(|&(step, value)| (step as f64, value)).collect(),
        })
        .collect();
    let title = "Overfitting latents under a distance";
    let body = maud::html! {
        h1 { (title) }
        p { "LatentLPIPS without augmentation to the target, while a latent is optimised under LatentLPIPS with each group of augmentations." }
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

    /// Section 3.1's point, with a network that has learned nothing: the plain distance stops far from the target, its ensemble does not.
    #[test]
    fn random_changes_lead_to_the_target_where_the_plain_distance_stops() {
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
            groups: vec![String::new(), "bgo".into()],
            ..OverfitOptions::default()
        };
        // Pixels of one colour two by two: something to see.
        let coarse = Tensor::<4>::from_data(burn::tensor::TensorData::new(normal(2, Stream::Training, 0, 2 * 4 * 16), [2, 4, 4, 4]), &device);
        let targets = coarse.reshape([8, 4, 1, 4]).repeat_dim(2, 2).reshape([8, 8, 4, 1]).repeat_dim(3, 2).reshape([2, 4, 8, 8]);
        let runs = overfit(&options, targets, &device, &mut Silent).unwrap();
        let [plain, ensemble] = runs.as_slice() else { panic!("two runs") };
        let (a, b) = (plain.end_difference, ensemble.end_difference);
        assert!(ensemble.end < 0.01 * ensemble.start, "the plain distance from {} to {} with random changes", ensemble.start, ensemble.end);
        assert!(plain.end > 0.05 * plain.start, "the plain distance from {} to {} without", plain.start, plain.end);
        assert!(b < 0.5 * a, "a root mean square difference of {b} with random changes, {a} without");
    }
}
