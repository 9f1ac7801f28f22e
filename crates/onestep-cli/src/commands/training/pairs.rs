//! `onestep pairs`: noise–latent pairs of the teacher.

use onestep_train::pairs::{PairsOptions, make};

use crate::commands::training::options::{Flags, RunOptions};
use crate::exit::Failure;
use crate::output;
use crate::shared::Shared;

/// Sample noise and latent pairs from the teacher, for distillation.
///
/// With --resume, missing and damaged shards are sampled again.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  onestep pairs --teacher runs/teacher --data emoji --count 20000 --out runs/pairs\n  \
    onestep pairs --teacher stable-diffusion-v1-5 --prompts prompts.parquet --caption-column Prompt --out runs/pairs")]
pub struct Pairs {
    #[command(flatten)]
    flags: Flags<PairsOptions>,
    #[command(flatten)]
    run: RunOptions,
}

impl Pairs {
    /// Samples the pairs and prints their folder.
    pub fn run(self, shared: &Shared) -> Result<(), Failure> {
        let mut options = self.run.options(&self.flags)?;
        options.out = self.run.out();
        let entry = self.run.entry();
        let sources = [options.data.clone(), options.prompts.clone()];
        let done = self.run.go(shared, &options, &[("--teacher", &options.teacher)], &sources, |options, device, _, progress| {
            make(options, entry, device, progress)
        })?;
        done.map_or(Ok(()), |()| output::path(shared, &options.out))
    }
}
