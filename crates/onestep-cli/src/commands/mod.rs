//! The commands, one file each. Those that need the feature `train` are in [`training`].

mod bench;
mod completions;
mod doctor;
mod generate;
mod inspect;
mod serve;
#[cfg(feature = "train")]
mod training;

use clap::Subcommand;

use crate::exit::Failure;
use crate::shared::Shared;

/// The commands of this build.
#[derive(Debug, Subcommand)]
pub enum Command {
    #[cfg(feature = "train")]
    #[command(flatten)]
    Training(Box<training::TrainingCommand>),
    Generate(generate::Generate),
    Inspect(inspect::Inspect),
    Bench(bench::Bench),
    Serve(serve::Serve),
    Completions(completions::Completions),
    Doctor(doctor::Doctor),
}

impl Command {
    /// Adds to the description of `program` what is known only when the program runs: defaults of training options.
    pub fn described(program: clap::Command) -> clap::Command {
        #[cfg(feature = "train")]
        return training::with_defaults(program);
        #[cfg(not(feature = "train"))]
        program
    }

    /// Runs the command; `program` describes the whole command line.
    ///
    /// # Errors
    /// What the command reports.
    pub fn run(self, shared: &Shared, program: impl FnOnce() -> clap::Command) -> Result<(), Failure> {
        match self {
            #[cfg(feature = "train")]
            Self::Training(training) => training.run(shared),
            Self::Generate(generate) => generate.run(shared),
            Self::Inspect(inspect) => inspect.run(shared),
            Self::Bench(bench) => bench.run(shared),
            Self::Serve(serve) => serve.run(shared),
            Self::Completions(completions) => completions.run(program()),
            Self::Doctor(doctor) => doctor.run(shared),
        }
    }
}
