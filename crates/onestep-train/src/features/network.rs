//! What a feature network and an alignment scorer provide, and how they are applied to sets of images.

use burn::tensor::{Device, Tensor, TensorData};

use crate::{data::resize_planes, error::TrainError, measures::FeatureMatrix};

/// A feature network: images are compared by the distances of their features.
pub trait FeatureNetwork {
    /// A short description for reports.
    fn name(&self) -> String;
    /// Features [N,features] of images [N,3,size,size] in −1…1.
    fn features(&self, images: Tensor<4>) -> Tensor<2>;
}

/// A prompt and the label of the image that it asks for.
#[derive(Clone, Copy, Debug)]
pub struct LabelledPrompt<'a> {
    /// Name of the image in the image folder.
    pub label: &'a str,
    /// The text that the model is given.
    pub prompt: &'a str,
}

/// Scores how well images fit their prompts.
pub trait AlignmentScorer {
    /// A short description of the score for reports.
    fn name(&self) -> String;
    /// Whether the mean score is a fraction in 0…1.
    fn is_fraction(&self) -> bool;
    /// One score for each of the images [N,3,size,size] in −1…1; higher is better.
    ///
    /// # Errors
    /// A prompt or label that the scorer does not know.
    fn scores(&self, images: Tensor<4>, prompts: &[LabelledPrompt<'_>]) -> Result<Vec<f64>, TrainError>;
}

/// Images [N,3,size,size] resized to [N,3,side,side] as clean-fid does: antialiased bicubic filter, clamped to −1…1.
pub fn resized(images: &Tensor<4>, side: usize) -> Tensor<4> {
    let [count, channels, height, width] = images.dims();
    let planes: Vec<f32> = images.to_data().try_to_vec().unwrap_or_default();
    let planes = resize_planes(&planes, [height, width], [side, side], [-1.0, 1.0]);
    Tensor::from_data(TensorData::new(planes, [count, channels, side, side]), &images.device())
}

/// Images per batch.
const BATCH: usize = 32;

/// Images, each [3,size,size] in −1…1, as [N,3,size,size].
pub fn tensor(images: &[Vec<f32>], size: usize, device: &Device) -> Tensor<4> {
    let data: Vec<f32> = images.iter().flatten().copied().collect();
    Tensor::from_data(TensorData::new(data, [images.len(), 3, size, size]), device)
}

/// The features of images, each [3,size,size] in −1…1.
pub fn matrix(network: &dyn FeatureNetwork, images: &[Vec<f32>], size: usize, device: &Device) -> FeatureMatrix {
    let (mut columns, mut values) = (1, Vec::new());
    for chunk in images.chunks(BATCH) {
        let features = network.features(tensor(chunk, size, device));
        columns = features.dims()[1];
        values.extend(features.to_data().try_to_vec::<f32>().unwrap_or_default());
    }
    FeatureMatrix::new(columns, values)
}

/// The mean score of images, each [3,size,size] in −1…1.
///
/// # Errors
/// A prompt or label that the scorer does not know.
pub fn mean_score(
    scorer: &dyn AlignmentScorer,
    images: &[Vec<f32>],
    prompts: &[LabelledPrompt<'_>],
    size: usize,
    device: &Device,
) -> Result<f64, TrainError> {
    let mut sum = 0.0;
    for (images, prompts) in images.chunks(BATCH).zip(prompts.chunks(BATCH)) {
        sum += scorer.scores(tensor(images, size, device), prompts)?.iter().sum::<f64>();
    }
    Ok(sum / images.len() as f64)
}
