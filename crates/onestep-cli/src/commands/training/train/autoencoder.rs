//! `onestep train autoencoder`.

use std::path::{Path, PathBuf};

use onestep_train::autoencoder::{AutoencoderOptions, train};

use crate::commands::training::options::{AveragingOptions, RunOptions, TrainingOptions};
use crate::exit::Failure;
use crate::output;
use crate::shared::Shared;

/// Train the autoencoder: images to latents and back.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  onestep train autoencoder --data emoji --out runs/autoencoder")]
pub struct Autoencoder {
    /// Image folder to train on
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Width and height of the images, in pixels
    #[arg(long, value_name = "PIXELS")]
    size: Option<usize>,
    /// Size of the network
    #[arg(long, value_parser = onestep_train::presets::names())]
    preset: Option<String>,
    #[command(flatten)]
    run: RunOptions,
    #[command(flatten)]
    training: TrainingOptions,
    #[command(flatten)]
    averaging: AveragingOptions,
}

impl Autoencoder {
    /// Trains and prints the model folder, or with `--json` the report.
    pub fn run(self, shared: &Shared) -> Result<(), Failure> {
        let mut options: AutoencoderOptions = self.run.base()?;
        options.out = self.run.out();
        options.data = self.data.unwrap_or(options.data);
        options.size = self.size.unwrap_or(options.size);
        options.preset = self.preset.unwrap_or(options.preset);
        self.averaging.apply(&mut options.training);
        self.training.apply(&mut options.training)?;
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
