//! `onestep debug overfit`: whether noise can be optimised towards a latent by the metric alone.

use std::path::{Path, PathBuf};

use onestep_train::latent_metric::latent_augmentation::AugmentationKinds;
use onestep_train::latent_metric::overfit::{OverfitOptions, overfit, targets};
use serde_json::json;

use crate::commands::training::options::RunOptions;
use crate::exit::Failure;
use crate::output;
use crate::shared::Shared;

/// Optimise noise towards some latents by the metric alone, with each set of augmentations, and plot the curves.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  onestep debug overfit --weights runs/metric/metric --pairs runs/pairs --out runs/overfit")]
pub struct Overfit {
    /// Metric: a folder that onestep wrote, or a published file
    #[arg(long, value_name = "PATH")]
    weights: Option<PathBuf>,
    /// Model family of the latents, if neither the metric nor its file name states it
    #[arg(long, value_name = "sd15|sd21|sdxl|sd3|flux")]
    encoder: Option<String>,
    /// Folder of pairs; its first latents are the targets
    #[arg(long, value_name = "DIR")]
    pairs: Option<PathBuf>,
    /// Number of targets
    #[arg(long)]
    count: Option<usize>,
    /// Steps per run
    #[arg(long)]
    steps: Option<u64>,
    /// Learning rate of Adam
    #[arg(long)]
    learning_rate: Option<f64>,
    /// Sets of augmentations, one run for each, such as none,blit,blit+geom+cutout
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    augmentations: Vec<AugmentationKinds>,
    #[command(flatten)]
    run: RunOptions,
}

impl Overfit {
    /// Optimises and prints the first and last distance of each run.
    pub fn run(self, shared: &Shared) -> Result<(), Failure> {
        self.run.at_once("debug overfit")?;
        let mut options: OverfitOptions = self.run.base()?;
        options.out = self.run.out();
        options.weights = self.weights.unwrap_or(options.weights);
        options.encoder = self.encoder.or(options.encoder);
        options.pairs = self.pairs.unwrap_or(options.pairs);
        options.count = self.count.unwrap_or(options.count);
        options.steps = self.steps.unwrap_or(options.steps);
        options.learning_rate = self.learning_rate.unwrap_or(options.learning_rate);
        if !self.augmentations.is_empty() {
            options.augmentations = self.augmentations;
        }
        let needed: [(&str, &Path); 2] = [("--weights", &options.weights), ("--pairs", &options.pairs)];
        let runs = self.run.go(shared, &options, &needed, &[], |options, device, _, progress| {
            overfit(options, targets(&options.pairs, options.count, device)?, device, progress)
        })?;
        let Some(runs) = runs else { return Ok(()) };
        if shared.json {
            return output::json(&json!({ "runs": runs }));
        }
        for run in &runs {
            let name = run.augmentations.to_string();
            output::data(&format!(
                "{name:16} distance {:.5} to {:.5} ({:.2} %), difference of latents {:.3} to {:.3}",
                run.start,
                run.end,
                run.end / run.start * 100.0,
                run.start_difference,
                run.end_difference
            ))?;
        }
        output::data(&options.out.join("report.html").display().to_string())
    }
}
