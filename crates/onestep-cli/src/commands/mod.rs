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

/// What can be asked for.
#[derive(Debug, Subcommand)]
pub enum Command {
    #[cfg(feature = "train")]
    #[command(flatten)]
    Training(training::TrainingCommand),
    /// Draw an image
    Generate(generate::Generate),
    /// Say what is in a bundle and what it costs to run
    Inspect(inspect::Inspect),
    /// Time a bundle's components and whole images
    Bench(bench::Bench),
    /// Serve the page, and a bundle with it, on this machine
    Serve(serve::Serve),
    /// Print the completions for a shell
    Completions(completions::Completions),
    /// Say what this build and this machine can do: what a report of a fault needs
    Doctor(doctor::Doctor),
}

impl Command {
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
