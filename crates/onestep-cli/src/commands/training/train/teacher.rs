//! `onestep train teacher`.

use std::path::{Path, PathBuf};

use onestep_train::teacher::{TeacherOptions, train};

use crate::commands::training::options::{AveragingOptions, RunOptions, TrainingOptions};
use crate::exit::Failure;
use crate::output;
use crate::shared::Shared;

/// Train the teacher: text encoder and denoiser.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  onestep train teacher --data emoji --autoencoder runs/autoencoder --out runs/teacher\n  \
                        onestep train teacher --config runs/teacher/config.toml --out runs/teacher --resume")]
pub struct Teacher {
    /// Image folder to train on
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Run or model folder of the autoencoder
    #[arg(long, value_name = "DIR")]
    autoencoder: Option<PathBuf>,
    /// Size of the networks
    #[arg(long, value_parser = onestep_train::presets::names())]
    preset: Option<String>,
    /// Length of a prompt, in tokens
    #[arg(long)]
    prompt_tokens: Option<usize>,
    /// Maximum weight of a noisy timestep's loss relative to a clean one; 1 for equal weights
    #[arg(long)]
    weight_cap: Option<f64>,
    /// Initial weights: a model folder, or ema/ of a checkpoint; by default random
    #[arg(long, value_name = "DIR")]
    initial: Option<PathBuf>,
    #[command(flatten)]
    run: RunOptions,
    #[command(flatten)]
    training: TrainingOptions,
    #[command(flatten)]
    averaging: AveragingOptions,
}

impl Teacher {
    /// Trains and prints the model folder.
    pub fn run(self, shared: &Shared) -> Result<(), Failure> {
        let mut options: TeacherOptions = self.run.base()?;
        options.out = self.run.out();
        options.data = self.data.unwrap_or(options.data);
        options.autoencoder = self.autoencoder.unwrap_or(options.autoencoder);
        options.preset = self.preset.unwrap_or(options.preset);
        options.prompt_tokens = self.prompt_tokens.unwrap_or(options.prompt_tokens);
        options.weight_cap = self.weight_cap.unwrap_or(options.weight_cap);
        options.initial = self.initial.or(options.initial);
        self.averaging.apply(&mut options.training);
        self.training.apply(&mut options.training)?;
        let entry = self.run.entry();
        let needed: [(&str, &Path); 2] = [("--data", &options.data), ("--autoencoder", &options.autoencoder)];
        let done = self.run.go(shared, &options, &needed, options.initial.as_slice(), |options, device, name, progress| {
            train(options, entry, device, name, progress)
        })?;
        done.map_or(Ok(()), |()| output::path(shared, &options.out.join("model")))
    }
}
