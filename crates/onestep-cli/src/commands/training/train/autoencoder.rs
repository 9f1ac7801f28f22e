//! `onestep train autoencoder`.

use std::path::Path;

use onestep_train::autoencoder::{AutoencoderOptions, train};

use crate::commands::training::options::{Flags, RunOptions};
use crate::exit::Failure;
use crate::output;
use crate::shared::Shared;

/// Train the autoencoder: images to latents and back.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  onestep train autoencoder --data emoji --out runs/autoencoder")]
pub struct Autoencoder {
    #[command(flatten)]
    flags: Flags<AutoencoderOptions>,
    #[command(flatten)]
    run: RunOptions,
}

impl Autoencoder {
    /// Trains and prints the model folder, or with `--json` the report.
    pub fn run(self, shared: &Shared) -> Result<(), Failure> {
        let mut options = self.run.options(&self.flags)?;
        options.out = self.run.out();
        let entry = self.run.entry();
        let needed: [(&str, &Path); 1] = [("--data", &options.data)];
        let report = self.run.go(shared, &options, &needed, &[], |options, device, name, progress| train(options, entry, device, name, progress))?;
        let Some(report) = report else { return Ok(()) };
        if shared.json {
            return output::json(&report);
        }
        if !shared.quiet {
            output::message(&format!(
                "reconstruction PSNR: {:.1} dB on training images, {:.1} dB on {} held-out images",
                report.psnr_trained, report.psnr_held_out, report.images[1]
            ));
        }
        output::data(&options.out.join("model").display().to_string())
    }
}
