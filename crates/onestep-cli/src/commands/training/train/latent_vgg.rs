//! `onestep train latent-vgg`.

use std::path::Path;

use onestep_train::latent_metric::latent_vgg::{LatentVggOptions, train};

use crate::commands::training::options::{Flags, RunOptions};
use crate::exit::Failure;
use crate::output;
use crate::shared::Shared;

/// Train the features of LatentLPIPS: a VGG that classifies latents.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  onestep train latent-vgg --autoencoder runs/autoencoder --data emoji --out runs/features")]
pub struct LatentVgg {
    #[command(flatten)]
    flags: Flags<LatentVggOptions>,
    #[command(flatten)]
    run: RunOptions,
}

impl LatentVgg {
    /// Trains and prints the metric's folder, or with `--json` the report.
    pub fn run(self, shared: &Shared) -> Result<(), Failure> {
        let mut options = self.run.options(&self.flags)?;
        options.out = self.run.out();
        let entry = self.run.entry();
        let needed: [(&str, &Path); 2] = [("--autoencoder", &options.autoencoder), ("--data", &options.data)];
        let report = self.run.go(shared, &options, &needed, &[], |options, device, name, progress| train(options, entry, device, name, progress))?;
        let Some(report) = report else { return Ok(()) };
        if shared.json {
            return output::json(&report);
        }
        if !shared.quiet {
            output::message(&format!(
                "accuracy on {} latents of {} labels: {:.1} %, with augmentations {:.1} %",
                report.evaluated,
                report.classes,
                report.top_1 * 100.0,
                report.top_1_augmented * 100.0
            ));
        }
        output::data(&options.out.join("metric").display().to_string())
    }
}
