//! `onestep train image-classifier`.

use std::path::Path;

use onestep_train::image_classifier::{ImageClassifierOptions, train};

use crate::arguments::Shared;
use crate::commands::training::{Flags, Run};
use crate::exit::Failure;
use crate::output;

/// Train the classifier whose features the evaluation compares: which of the folder's images is this?
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  onestep train image-classifier --data emoji --out runs/classifier")]
pub struct ImageClassifier {
    #[command(flatten)]
    flags: Flags<ImageClassifierOptions>,
    #[command(flatten)]
    run: Run,
}

impl ImageClassifier {
    /// Trains; prints the model folder, or with `--json` the report.
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
                "{} names; right for {:.1} % of the images as they are, for {:.1} % of {} changed copies",
                report.classes,
                report.top_1 * 100.0,
                report.top_1_augmented * 100.0,
                report.augmented
            ));
        }
        output::data(&options.out.join("model").display().to_string())
    }
}
