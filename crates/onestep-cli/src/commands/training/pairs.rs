//! `onestep pairs`: the teacher's noise → latent pairs.

use std::path::{Path, PathBuf};

use onestep_train::pairs::{PairsOptions, make};

use crate::commands::training::options::RunOptions;
use crate::exit::Failure;
use crate::output;
use crate::shared::Shared;

/// Sample noise and latent pairs from the teacher, for distillation.
///
/// With --resume, missing and damaged shards are sampled again.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  onestep pairs --teacher runs/teacher --data emoji --count 20000 --out runs/pairs")]
pub struct Pairs {
    /// Run or model folder of the teacher
    #[arg(long, value_name = "DIR")]
    teacher: Option<PathBuf>,
    /// Image folder that gives the prompts
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Number of pairs
    #[arg(long)]
    count: Option<u64>,
    /// Pairs per file
    #[arg(long)]
    shard: Option<u64>,
    /// Batch size, in pairs
    #[arg(long)]
    batch: Option<usize>,
    /// Steps of the ODE solver
    #[arg(long)]
    steps: Option<usize>,
    /// Guidance scale; 1 for none
    #[arg(long)]
    guidance: Option<f64>,
    /// Seed of the first pair; the others follow
    #[arg(long)]
    base_seed: Option<u64>,
    #[command(flatten)]
    run: RunOptions,
}

impl Pairs {
    /// Samples the pairs and prints their folder.
    pub fn run(self, shared: &Shared) -> Result<(), Failure> {
        let mut options: PairsOptions = self.run.base()?;
        options.out = self.run.out();
        options.teacher = self.teacher.unwrap_or(options.teacher);
        options.data = self.data.unwrap_or(options.data);
        options.count = self.count.unwrap_or(options.count);
        options.shard = self.shard.unwrap_or(options.shard);
        options.batch = self.batch.unwrap_or(options.batch);
        options.steps = self.steps.unwrap_or(options.steps);
        options.guidance = self.guidance.unwrap_or(options.guidance);
        options.base_seed = self.base_seed.unwrap_or(options.base_seed);
        let entry = self.run.entry();
        let needed: [(&str, &Path); 2] = [("--teacher", &options.teacher), ("--data", &options.data)];
        let done = self.run.go(shared, &options, &needed, &[], |options, device, _, progress| make(options, entry, device, progress))?;
        done.map_or(Ok(()), |()| output::path(shared, &options.out))
    }
}
