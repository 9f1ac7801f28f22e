//! `onestep pairs`: noise–latent pairs of the teacher.

use std::path::Path;

use onestep_train::pairs::{PairsOptions, make};

use crate::arguments::Shared;
use crate::commands::training::{Flags, Run};
use crate::exit::Failure;
use crate::output;

/// Sample noise–latent pairs of the teacher, on which the student is trained.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  onestep pairs --teacher runs/teacher --data emoji --count 20000 --out runs/pairs\n\n\
                        With --resume a set is completed, and shards that are missing or damaged are made again.")]
pub struct Pairs {
    #[command(flatten)]
    flags: Flags<PairsOptions>,
    #[command(flatten)]
    run: Run,
}

impl Pairs {
    /// Samples; prints the folder.
    pub fn run(self, shared: &Shared) -> Result<(), Failure> {
        let mut options = self.run.options(&self.flags)?;
        options.out = self.run.out();
        let entry = self.run.entry();
        let needed: [(&str, &Path); 2] = [("--teacher", &options.teacher), ("--data", &options.data)];
        let done = self.run.go(shared, &options, &needed, &[], |options, device, _, progress| make(options, entry, device, progress))?;
        done.map_or(Ok(()), |()| output::path(shared, &options.out))
    }
}
