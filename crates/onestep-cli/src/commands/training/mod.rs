//! The commands of the feature `train`: everything that needs burn.

mod data;
mod debug;
mod defaults;
mod distil;
mod eval;
mod export;
mod interrupt;
mod options;
mod pairs;
mod progress;
mod sample;
mod train;

pub use defaults::with_defaults;

use clap::Subcommand;
use onestep_train::data::{DataError, DataErrorKind};
use onestep_train::{TrainError, TrainErrorKind};

use crate::exit::{Exit, Failure};
use crate::shared::Shared;

/// From images and captions to a bundle.
#[derive(Debug, Subcommand)]
pub enum TrainingCommand {
    /// Make or check an image folder
    #[command(subcommand)]
    Data(data::Data),
    /// Train a network: autoencoder, teacher, latent metric, image classifier
    #[command(subcommand)]
    Train(train::Train),
    Sample(Box<sample::Sample>),
    Pairs(pairs::Pairs),
    Distil(Box<distil::Distil>),
    Eval(Box<eval::Eval>),
    Export(Box<export::Export>),
    /// Run tools for developers of onestep
    #[command(subcommand, display_order = 99)]
    Debug(debug::Debug),
}

impl TrainingCommand {
    /// Runs the command.
    ///
    /// # Errors
    /// What the command reports. A command that was interrupted ends with the exit code of the signal.
    pub fn run(self, shared: &Shared) -> Result<(), Failure> {
        self.dispatch(shared).map_err(|failure| match (failure.exit(), interrupt::exit()) {
            (Exit::Interrupted, Some(exit)) => Failure::new(exit, failure.message()),
            _ => failure,
        })
    }

    fn dispatch(self, shared: &Shared) -> Result<(), Failure> {
        match self {
            Self::Data(data) => data.run(shared),
            Self::Train(train) => train.run(shared),
            Self::Sample(sample) => sample.run(shared),
            Self::Pairs(pairs) => pairs.run(shared),
            Self::Distil(distil) => distil.run(shared),
            Self::Eval(eval) => eval.run(shared),
            Self::Export(export) => export.run(shared),
            Self::Debug(debug) => debug.run(shared),
        }
    }
}

impl From<DataError> for Failure {
    fn from(error: DataError) -> Self {
        let exit = match error.kind() {
            DataErrorKind::Input => Exit::Input,
            _ => Exit::Failed,
        };
        Self::new(exit, error.to_string())
    }
}

impl From<TrainError> for Failure {
    fn from(error: TrainError) -> Self {
        let exit = match error.kind() {
            TrainErrorKind::Usage => Exit::Usage,
            TrainErrorKind::Input => Exit::Input,
            TrainErrorKind::Device => Exit::Device,
            TrainErrorKind::Storage => Exit::Storage,
            TrainErrorKind::NonFinite => Exit::NonFinite,
            TrainErrorKind::Interrupted => Exit::Interrupted,
            _ => Exit::Failed,
        };
        Self::new(exit, error.to_string())
    }
}
