//! `onestep train latent-lpips`.

use std::path::Path;

use onestep_train::latent_metric::calibration::{CalibrationOptions, train};

use crate::commands::training::options::{Flags, RunOptions};
use crate::exit::Failure;
use crate::output;
use crate::shared::Shared;

/// Calibrate the heads of LatentLPIPS on judgements of which of two images is more similar to a third.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  onestep train latent-lpips --metric runs/features/metric --autoencoder runs/autoencoder \\\n    --data emoji --out runs/metric"
)]
pub struct LatentLpips {
    #[command(flatten)]
    flags: Flags<CalibrationOptions>,
    #[command(flatten)]
    run: RunOptions,
}

impl LatentLpips {
    /// Trains and prints the metric's folder, or with `--json` the report.
    pub fn run(self, shared: &Shared) -> Result<(), Failure> {
        let mut options = self.run.options(&self.flags)?;
        options.out = self.run.out();
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
