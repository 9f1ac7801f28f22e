//! `onestep train image-classifier`.

use std::path::Path;

use onestep_train::image_classifier::{ImageClassifierOptions, train};

use crate::commands::training::options::{Flags, RunOptions};
use crate::exit::Failure;
use crate::output;
use crate::shared::Shared;

/// Train the image classifier that gives the evaluation its features.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  onestep train image-classifier --data emoji --out runs/classifier")]
pub struct ImageClassifier {
    #[command(flatten)]
    flags: Flags<ImageClassifierOptions>,
    #[command(flatten)]
    run: RunOptions,
}

impl ImageClassifier {
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
