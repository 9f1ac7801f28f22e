//! `onestep train image-classifier`.

use std::path::{Path, PathBuf};

use onestep_train::image_classifier::{ImageClassifierOptions, train};

use crate::commands::training::options::{AveragingOptions, RunOptions, TrainingOptions};
use crate::exit::Failure;
use crate::output;
use crate::shared::Shared;

/// Train the image classifier that gives the evaluation its features.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  onestep train image-classifier --data emoji --out runs/classifier")]
pub struct ImageClassifier {
    /// Image folder to train on
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Width and height of the images, in pixels
    #[arg(long, value_name = "PIXELS")]
    size: Option<usize>,
    /// Channels of the network's levels, multiples of 8; each level halves the resolution
    #[arg(long, value_name = "CHANNELS,…", value_delimiter = ',')]
    channels: Vec<usize>,
    /// Convolutions per level
    #[arg(long)]
    layers: Option<usize>,
    #[command(flatten)]
    run: RunOptions,
    #[command(flatten)]
    training: TrainingOptions,
    #[command(flatten)]
    averaging: AveragingOptions,
}

impl ImageClassifier {
    /// Trains and prints the model folder, or with `--json` the report.
    pub fn run(self, shared: &Shared) -> Result<(), Failure> {
        let mut options: ImageClassifierOptions = self.run.base()?;
        options.out = self.run.out();
        options.data = self.data.unwrap_or(options.data);
        options.size = self.size.unwrap_or(options.size);
        options.layers = self.layers.unwrap_or(options.layers);
        if !self.channels.is_empty() {
            options.channels = self.channels;
        }
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
                "{} labels; accuracy {:.1} % on the images, {:.1} % on {} augmented copies",
                report.classes,
                report.top_1 * 100.0,
                report.top_1_augmented * 100.0,
                report.augmented
            ));
        }
        output::data(&options.out.join("model").display().to_string())
    }
}
