//! `onestep train teacher`.

use std::path::Path;

use onestep_train::teacher::{TeacherOptions, train};

use crate::commands::training::options::{Flags, RunOptions};
use crate::exit::Failure;
use crate::output;
use crate::shared::Shared;

/// Train the teacher: text encoder and denoiser.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  onestep train teacher --data emoji --autoencoder runs/autoencoder --out runs/teacher\n  \
                        onestep train teacher --config runs/teacher/config.toml --out runs/teacher --resume")]
pub struct Teacher {
    #[command(flatten)]
    flags: Flags<TeacherOptions>,
    #[command(flatten)]
    run: RunOptions,
}

impl Teacher {
    /// Trains and prints the model folder.
    pub fn run(self, shared: &Shared) -> Result<(), Failure> {
        let mut options = self.run.options(&self.flags)?;
        options.out = self.run.out();
        let entry = self.run.entry();
        let needed: [(&str, &Path); 2] = [("--data", &options.data), ("--autoencoder", &options.autoencoder)];
        let done = self.run.go(shared, &options, &needed, options.initial.as_slice(), |options, device, name, progress| {
            train(options, entry, device, name, progress)
        })?;
        done.map_or(Ok(()), |()| output::path(shared, &options.out.join("model")))
    }
}
