//! The commands, one file each. A new one is a module, a line in [`Command`] and a line in [`Command::run`].

mod bench;
mod completions;
mod data;
mod distance;
mod distil;
mod doctor;
mod eval;
mod export;
mod gallery;
mod generate;
mod inspect;
mod overfit;
mod pairs;
mod run;
mod serve;
mod train;
mod training;

use clap::Subcommand;

use crate::arguments::Shared;
use crate::exit::Failure;

/// What can be asked for.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make an image folder, or look at one before training on it
    #[command(subcommand)]
    Data(data::Data),
    /// Train the autoencoder, the teacher, the metric, or the classifier that eval looks through
    #[command(subcommand)]
    Train(train::Train),
    /// Draw the teacher's noise and latent pairs
    Pairs(pairs::Pairs),
    /// Train the one-step student from the pairs
    Distil(distil::Distil),
    /// Measure how far latents are apart
    Distance(distance::Distance),
    /// See whether a distance can lead noise to a latent
    Overfit(overfit::Overfit),
    /// Measure the student beside its teacher
    Eval(eval::Eval),
    /// Compile a student into a bundle
    Export(export::Export),
    /// Draw examples for the page that offers a bundle
    Gallery(gallery::Gallery),
    /// Draw an image
    Generate(generate::Generate),
    /// Say what is in a bundle and what it costs to run
    Inspect(inspect::Inspect),
    /// Evaluate one component on given tensors
    Run(Box<run::Run>),
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
    /// Does it.
    pub fn run(self, shared: &Shared) -> Result<(), Failure> {
        match self {
            Self::Data(data) => data.run(shared),
            Self::Train(train) => train.run(shared),
            Self::Pairs(pairs) => pairs.run(shared),
            Self::Distil(distil) => distil.run(shared),
            Self::Distance(distance) => distance.run(shared),
            Self::Overfit(overfit) => overfit.run(shared),
            Self::Eval(eval) => eval.run(shared),
            Self::Export(export) => export.run(shared),
            Self::Gallery(gallery) => gallery.run(shared),
            Self::Generate(generate) => generate.run(shared),
            Self::Inspect(inspect) => inspect.run(shared),
            Self::Run(run) => run.run(shared),
            Self::Bench(bench) => bench.run(shared),
            Self::Serve(serve) => serve.run(shared),
            Self::Completions(completions) => completions.run(),
            Self::Doctor(doctor) => doctor.run(shared),
        }
    }
}
