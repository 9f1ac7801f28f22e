//! `onestep train latent-vgg`.

use std::path::{Path, PathBuf};

use onestep_train::latent_metric::classifier::{LatentVggOptions, train};

use crate::commands::training::options::{AveragingOptions, RunOptions, TrainingOptions};
use crate::exit::{Exit, Failure};
use crate::output;
use crate::shared::Shared;

/// Train the features that latents are compared by, on naming what a latent shows.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  onestep train latent-vgg --autoencoder runs/autoencoder --data emoji --out runs/features")]
pub struct LatentVgg {
    /// Run or model folder of the autoencoder
    #[arg(long, value_name = "DIR")]
    autoencoder: Option<PathBuf>,
    /// Image folder to train on; each caption is a label
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Input to classify: latents, or pixels for a pixel LPIPS to compare with
    #[arg(long, value_parser = ["latent", "pixel"])]
    space: Option<String>,
    /// Channels of the five stages; the full network has 64,128,256,512,512
    #[arg(long, value_delimiter = ',', value_name = "N")]
    widths: Option<Vec<usize>>,
    /// Normalisation after each convolution: batch, as in the published metrics, or group, which is insensitive to contrast
    #[arg(long, value_parser = ["batch", "group"])]
    norm: Option<String>,
    /// Random changes of the latents: letters of b, g, c, o
    #[arg(long, value_name = "LETTERS")]
    groups: Option<String>,
    #[command(flatten)]
    run: RunOptions,
    #[command(flatten)]
    training: TrainingOptions,
    #[command(flatten)]
    averaging: AveragingOptions,
}

impl LatentVgg {
    /// Trains and prints the metric's folder, or with `--json` the report.
    pub fn run(self, shared: &Shared) -> Result<(), Failure> {
        let mut options: LatentVggOptions = self.run.base()?;
        options.out = self.run.out();
        options.autoencoder = self.autoencoder.unwrap_or(options.autoencoder);
        options.data = self.data.unwrap_or(options.data);
        if let Some(space) = self.space {
            options.space = if space == "pixel" { onestep_nets::MetricSpace::Pixel } else { onestep_nets::MetricSpace::Latent };
        }
        match self.norm.as_deref() {
            Some("batch") => options.norm = onestep_nets::NormKind::Batch,
            Some(_) => options.norm = onestep_nets::NormKind::Group,
            None => {}
        }
        if let Some(widths) = self.widths {
            options.widths = <[usize; 5]>::try_from(widths)
                .ok()
                .filter(|widths| !widths.contains(&0))
                .ok_or_else(|| Failure::new(Exit::Usage, "expected --widths to be five numbers of at least 1, as 32,64,128,256,256"))?;
        }
        options.augmentation.groups = self.groups.unwrap_or(options.augmentation.groups);
        self.averaging.apply(&mut options.training);
        self.training.apply(&mut options.training)?;
        let entry = self.run.entry();
        let needed: [(&str, &Path); 2] = [("--autoencoder", &options.autoencoder), ("--data", &options.data)];
        let report = self.run.go(shared, &options, &needed, &[], |options, device, name, progress| train(options, entry, device, name, progress))?;
        let Some(report) = report else { return Ok(()) };
        if shared.json {
            return output::json(&report);
        }
        if !shared.quiet {
            output::message(&format!(
                "of {} latents of {} labels {:.1} % were named rightly as they are, {:.1} % under random changes",
                report.judged,
                report.classes,
                report.top_1 * 100.0,
                report.top_1_changed * 100.0
            ));
        }
        output::data(&options.out.join("metric").display().to_string())
    }
}
