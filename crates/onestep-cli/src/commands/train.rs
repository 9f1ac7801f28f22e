//! `onestep train`: the networks that the student is made from, and the one that it is judged by.

mod autoencoder;
mod picture_classifier;
mod teacher;

use clap::Subcommand;

use crate::arguments::Shared;
use crate::exit::Failure;

/// Train a network.
#[derive(Debug, Subcommand)]
pub enum Train {
    /// Train the autoencoder: pictures to latents and back
    Autoencoder(autoencoder::Autoencoder),
    /// Train the teacher: text encoder and denoiser together
    Teacher(teacher::Teacher),
    /// Train the classifier whose features the evaluation compares
    PictureClassifier(picture_classifier::PictureClassifier),
}

impl Train {
    /// Does it.
    pub fn run(self, shared: &Shared) -> Result<(), Failure> {
        match self {
            Self::Autoencoder(autoencoder) => autoencoder.run(shared),
            Self::Teacher(teacher) => teacher.run(shared),
            Self::PictureClassifier(classifier) => classifier.run(shared),
        }
    }
}
