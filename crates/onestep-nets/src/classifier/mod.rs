//! A small classifier of pictures: which of the pictures it was trained on is this? Evaluation compares pictures by its features.

mod picture_classifier;
mod picture_classifier_config;

pub use picture_classifier::{ClassifierLevel, PictureClassifier};
pub use picture_classifier_config::PictureClassifierConfig;
