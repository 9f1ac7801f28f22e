//! A small classifier of images: which of the images it was trained on is this? Evaluation compares images by its features.

mod image_classifier;
mod image_classifier_config;

pub use image_classifier::{ClassifierLevel, ImageClassifier};
pub use image_classifier_config::ImageClassifierConfig;
