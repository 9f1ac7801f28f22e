//! `onestep train`: the networks that distillation and evaluation need.

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
    Autoencoder(autoencoder::Autoencoder),
    LatentVgg(latent_vgg::LatentVgg),
    LatentLpips(latent_lpips::LatentLpips),
    Teacher(teacher::Teacher),
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
