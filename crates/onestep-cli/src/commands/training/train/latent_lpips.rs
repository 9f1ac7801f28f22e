//! `onestep train latent-lpips`.

use std::path::{Path, PathBuf};

use onestep_train::latent_metric::calibration::{CalibrationOptions, train};

use crate::commands::training::options::{RunOptions, TrainingOptions};
use crate::exit::Failure;
use crate::output;
use crate::shared::Shared;

/// Calibrate the heads of LatentLPIPS on judgements of which of two images is more similar to a third.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  onestep train latent-lpips --metric runs/features/metric --autoencoder runs/autoencoder \\\n    --data emoji --out runs/metric"
)]
pub struct LatentLpips {
    /// Metric folder to calibrate, from onestep train latent-vgg
    #[arg(long, value_name = "DIR")]
    metric: Option<PathBuf>,
    /// Run or model folder of the autoencoder
    #[arg(long, value_name = "DIR")]
    autoencoder: Option<PathBuf>,
    /// BAPPS folder with ref, p0, p1 and judge in it; may be repeated
    #[arg(long, value_name = "DIR")]
    judgements: Vec<PathBuf>,
    /// BAPPS folder of held-out judgements, such as one in val/; may be repeated; by default a fifth of the others
    #[arg(long, value_name = "DIR")]
    held_out: Vec<PathBuf>,
    /// Image folder to make judgements from by distortions, without --judgements
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Number of judgements to make
    #[arg(long)]
    count: Option<usize>,
    #[command(flatten)]
    run: RunOptions,
    #[command(flatten)]
    training: TrainingOptions,
}

impl LatentLpips {
    /// Trains and prints the metric's folder, or with `--json` the report.
    pub fn run(self, shared: &Shared) -> Result<(), Failure> {
        let mut options: CalibrationOptions = self.run.base()?;
        options.out = self.run.out();
        options.metric = self.metric.unwrap_or(options.metric);
        options.autoencoder = self.autoencoder.unwrap_or(options.autoencoder);
        if !self.judgements.is_empty() {
            options.judgements = self.judgements;
        }
        if !self.held_out.is_empty() {
            options.held_out = self.held_out;
        }
        options.data = self.data.unwrap_or(options.data);
        options.count = self.count.unwrap_or(options.count);
        self.training.apply(&mut options.training)?;
        let entry = self.run.entry();
        let needed: [(&str, &Path); 2] = [("--metric", &options.metric), ("--autoencoder", &options.autoencoder)];
        let reads = [&options.judgements[..], &options.held_out, std::slice::from_ref(&options.data)].concat();
        let report =
            self.run.go(shared, &options, &needed, &reads, |options, device, name, progress| train(options, entry, device, name, progress))?;
        let Some(report) = report else { return Ok(()) };
        if shared.json {
            return output::json(&report);
        }
        if !shared.quiet {
            output::message(&format!(
                "agreement with {} held-out judgements: {:.1} % before, {:.1} % after; squared error {:.1} %",
                report.judgements[1],
                report.before * 100.0,
                report.after * 100.0,
                report.squared_difference * 100.0
            ));
        }
        output::data(&options.out.join("metric").display().to_string())
    }
}
