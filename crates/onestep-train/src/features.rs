//! The spaces in which images are compared, and who says whether an image shows what was asked for.
//!
//! - a file: Inception-v3 as Fréchet distances are published with it ([`inception`]);
//! - a folder whose `config.json` is CLIP's: its images' features, and its judgement ([`clip`]);
//! - a folder of `onestep train image-classifier`: both, without anything from elsewhere.
//!
//! A network that is to serve here implements [`FeatureNetwork`], and [`Alignment`] if it can judge an image by its prompt; [`open`] is where the
//! folder that `--features` names decides which it is. Networks of one input size resize for themselves, by
//! [`resize_planes`](crate::data::resize_planes) where clean-fid's rule is asked for.

pub mod clip;
pub mod inception;

use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use onestep_nets::{ImageClassifier, ImageClassifierConfig};

use crate::{
    data::resize_planes,
    error::TrainError,
    image_classifier::{self, most_likely},
    measures::FeatureMatrix,
};

/// Gives images their places in a space.
pub trait FeatureNetwork {
    /// What it is, in a few words that a report can quote.
    fn name(&self) -> String;
    /// Images [N,3,size,size] in −1…1 to features [N,features].
    fn features(&self, images: Tensor<4>) -> Tensor<2>;
}

/// What an image was drawn for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The name of the folder's image that is meant.
    pub name: &'a str,
    /// The prompt.
    pub prompt: &'a str,
}

/// Judges images by what was asked for.
pub trait Alignment {
    /// What a score is, in a few words that a report can quote.
    fn name(&self) -> String;
    /// Whether the mean score is a share, from 0 to 1.
    fn is_share(&self) -> bool;
    /// One score for each of the images [N,3,size,size] in −1…1; the higher, the better.
    ///
    /// # Errors
    /// A prompt that it cannot judge.
    fn scores(&self, images: Tensor<4>, asked: &[Asked<'_>]) -> Result<Vec<f64>, TrainError>;
}

/// What `--features` names.
pub struct Opened {
    /// The space of the set and pair measures.
    pub network: Box<dyn FeatureNetwork>,
    /// The judge, where there is one.
    pub alignment: Option<Box<dyn Alignment>>,
}

/// The networks in `folder` (or the file), for images of `size`; without a folder averages of pixels, and no judge.
///
/// # Errors
/// A folder without a network that is known, or with one for images of another size.
pub fn open(folder: Option<&Path>, size: usize, device: &Device) -> Result<Opened, TrainError> {
    let Some(folder) = folder else { return Ok(Opened { network: Box::new(PixelAverages), alignment: None }) };
    if folder.is_file() {
        return Ok(Opened { network: Box::new(inception::Inception::open(folder, size, device)?), alignment: None });
    }
    if clip::is_in(folder) {
        let clip = std::rc::Rc::new(clip::Clip::open(folder, device)?);
        return Ok(Opened { network: Box::new(std::rc::Rc::clone(&clip)), alignment: Some(Box::new(clip)) });
    }
    let (net, config) = image_classifier::load(folder, device)?;
    if config.sample_size != size {
        return Err(TrainError::input(format!(
            "the image classifier in {} is for images of {1}x{1}, the models draw {2}x{2}: train one with --size {2}",
            folder.display(),
            config.sample_size,
            size
        )));
    }
    let classifier = Classifier { net, config };
    Ok(Opened { network: Box::new(classifier.clone()), alignment: Some(Box::new(classifier)) })
}

/// Images [N,3,size,size] at another side, by clean-fid's rule; what goes beyond −1…1 is cut off.
fn resized(images: &Tensor<4>, side: usize) -> Tensor<4> {
    let [count, channels, height, width] = images.dims();
    let planes: Vec<f32> = images.to_data().try_to_vec().unwrap_or_default();
    let planes = resize_planes(&planes, [height, width], [side, side], [-1.0, 1.0]);
    Tensor::from_data(TensorData::new(planes, [count, channels, side, side]), &images.device())
}

/// Images taken through a network together.
const TOGETHER: usize = 32;

/// Images, each [3,size,size] in −1…1, as [N,3,size,size].
pub fn tensor(images: &[Vec<f32>], size: usize, device: &Device) -> Tensor<4> {
    let data: Vec<f32> = images.iter().flatten().copied().collect();
    Tensor::from_data(TensorData::new(data, [images.len(), 3, size, size]), device)
}

/// The features of images, each [3,size,size] in −1…1.
pub fn matrix(network: &dyn FeatureNetwork, images: &[Vec<f32>], size: usize, device: &Device) -> FeatureMatrix {
    let (mut columns, mut values) = (1, Vec::new());
    for chunk in images.chunks(TOGETHER) {
        let features = network.features(tensor(chunk, size, device));
        columns = features.dims()[1];
        values.extend(features.to_data().try_to_vec::<f32>().unwrap_or_default());
    }
    FeatureMatrix::new(columns, values)
}

/// The mean score of images, each [3,size,size] in −1…1.
///
/// # Errors
/// A prompt that cannot be judged.
pub fn mean_score(alignment: &dyn Alignment, images: &[Vec<f32>], asked: &[Asked<'_>], size: usize, device: &Device) -> Result<f64, TrainError> {
    let mut sum = 0.0;
    for (images, asked) in images.chunks(TOGETHER).zip(asked.chunks(TOGETHER)) {
        sum += alignment.scores(tensor(images, size, device), asked)?.iter().sum::<f64>();
    }
    Ok(sum / images.len() as f64)
}

/// Images averaged down to 16×16 RGB: a space that needs no network, and forgives fine detail.
pub struct PixelAverages;

impl PixelAverages {
    /// Rows and columns of the averages; an image's side is a multiple.
    pub const SIDE: usize = 16;
}

impl FeatureNetwork for PixelAverages {
    fn name(&self) -> String {
        "pixels averaged down to 16x16, without a network".into()
    }

    fn features(&self, images: Tensor<4>) -> Tensor<2> {
        let [count, channels, height, width] = images.dims();
        let (rows, columns) = (height / Self::SIDE, width / Self::SIDE);
        images
            .reshape([count * channels * Self::SIDE, rows, Self::SIDE, columns])
            .mean_dims(&[1, 3])
            .reshape([count, channels * Self::SIDE * Self::SIDE])
    }
}

/// This repository's own classifier of images.
#[derive(Clone)]
struct Classifier {
    net: ImageClassifier,
    config: ImageClassifierConfig,
}

impl FeatureNetwork for Classifier {
    fn name(&self) -> String {
        format!("{} penultimate features of a classifier of the folder's {} images", self.config.feature_size, self.config.names.len())
    }

    fn features(&self, images: Tensor<4>) -> Tensor<2> {
        self.net.features(images)
    }
}

impl Alignment for Classifier {
    fn name(&self) -> String {
        format!("share of images that the classifier takes for the one asked for, of {}", self.config.names.len())
    }

    fn is_share(&self) -> bool {
        true
    }

    fn scores(&self, images: Tensor<4>, asked: &[Asked<'_>]) -> Result<Vec<f64>, TrainError> {
        let found = most_likely(&self.net.logits(self.net.features(images)));
        asked
            .iter()
            .zip(found)
            .map(|(asked, found)| {
                if !self.config.names.iter().any(|name| name == asked.name) {
                    return Err(TrainError::input(format!(
                        "the image classifier does not know {:?}: it was trained on another folder; train one on this",
                        asked.name
                    )));
                }
                Ok(f64::from(u8::from(self.config.names[found] == asked.name)))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages_are_of_blocks_and_of_one_channel() {
        let size = 32;
        let value = |channel: usize, y: usize, x: usize| (channel * 1000 + y * 10 + x) as f32;
        let image: Vec<f32> = (0..3 * size * size).map(|i| value(i / (size * size), i / size % size, i % size)).collect();
        let found = matrix(&PixelAverages, &[image], size, &Device::flex());
        assert_eq!((found.rows(), found.columns()), (1, 768));
        // Channel 2, block row 5, block column 7: the mean of rows 10 and 11, columns 14 and 15.
        assert!((found.row(0)[(2 * 16 + 5) * 16 + 7] - (2000.0 + 105.0 + 14.5)).abs() < 1e-2);
    }

    #[test]
    fn folders_without_a_fitting_classifier_are_refused_with_a_sentence() {
        let device = Device::flex();
        let refusal = |folder: &Path, size| open(Some(folder), size, &device).map(|_| ()).unwrap_err().to_string();
        let home = tempfile::tempdir().unwrap();
        assert!(refusal(home.path(), 32).contains("onestep train image-classifier"));

        let config = ImageClassifierConfig {
            sample_size: 32,
            block_out_channels: vec![8],
            names: vec!["cat".into(), "dog".into()],
            ..ImageClassifierConfig::default()
        };
        std::fs::write(home.path().join("config.json"), config.to_json()).unwrap();
        assert!(refusal(home.path(), 32).contains("model.safetensors"));
        let weights = onestep_nets::weights::save(&config.init(&device), &Default::default());
        std::fs::write(home.path().join("model.safetensors"), &weights[..weights.len() / 2]).unwrap();
        assert!(refusal(home.path(), 32).contains("model.safetensors"));
        std::fs::write(home.path().join("model.safetensors"), &weights).unwrap();
        let sentence = refusal(home.path(), 64);
        assert!(sentence.contains("32x32") && sentence.contains("64x64"), "{sentence}");

        let opened = open(Some(home.path()), 32, &device).unwrap();
        let image = vec![vec![0.5; 3 * 32 * 32]];
        assert_eq!(matrix(opened.network.as_ref(), &image, 32, &device).columns(), 128);
        let score = |name| mean_score(opened.alignment.as_deref().unwrap(), &image, &[Asked { name, prompt: "" }], 32, &device);
        assert_eq!(score("cat").unwrap() + score("dog").unwrap(), 1.0);
        assert!(score("cow").unwrap_err().to_string().contains("cow"));
    }
}
