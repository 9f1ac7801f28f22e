//! `onestep train`: the networks that the student is made from, the metric that leads it, and the classifier that it is judged by.

mod autoencoder;
mod image_classifier;
mod latent_lpips;
mod latent_vgg;
mod teacher;

use clap::Subcommand;

use crate::exit::Failure;
use crate::shared::Shared;

/// Train a network.
#[derive(Debug, Subcommand)]
pub enum Train {
    /// Train the autoencoder: images to latents and back
    Autoencoder(autoencoder::Autoencoder),
    /// Train the features that latents are compared by
    LatentVgg(latent_vgg::LatentVgg),
    /// Learn how much each of those features counts
    LatentLpips(latent_lpips::LatentLpips),
    /// Train the teacher: text encoder and denoiser together
    Teacher(teacher::Teacher),
    /// Train the classifier whose features the evaluation compares
    ImageClassifier(image_classifier::ImageClassifier),
}

impl Train {
    /// Does it.
    pub fn run(self, shared: &Shared) -> Result<(), Failure> {
        match self {
            Self::Autoencoder(autoencoder) => autoencoder.run(shared),
            Self::LatentVgg(latent_vgg) => latent_vgg.run(shared),
            Self::LatentLpips(latent_lpips) => latent_lpips.run(shared),
            Self::Teacher(teacher) => teacher.run(shared),
            Self::ImageClassifier(classifier) => classifier.run(shared),
        }
    }
}
