//! Feature spaces in which images are compared, and scorers of how well an image fits its prompt.
//!
//! [`open`] chooses by the path that `--features` names:
//! - a file: Inception-v3 in the layout of the published Fréchet distances ([`inception`]);
//! - a folder with the `config.json` of CLIP: CLIP's image features, and its image–text cosine as alignment ([`clip`]);
//! - a folder of `onestep train image-classifier`: its penultimate features, and its accuracy as alignment;
//! - no path: 16×16 box-downsampled pixels ([`DownsampledPixels`]), without an alignment.
//!
//! A new network implements [`FeatureNetwork`], and [`AlignmentScorer`] if it can score an image by its prompt. A network with a fixed input
//! size resizes the images itself, by [`resize_planes`](crate::data::resize_planes) where clean-fid's antialiased bicubic filter is needed.

pub mod clip;
pub mod inception;
mod network;

pub use network::{AlignmentScorer, FeatureNetwork, LabelledPrompt, matrix, mean_score, tensor};

use std::path::Path;

use burn::tensor::{Device, Tensor};
use onestep_nets::{ImageClassifier, ImageClassifierConfig};

use crate::{
    error::TrainError,
    image_classifier::{self, most_likely},
};

/// The networks that `--features` names.
pub struct FeatureNetworks {
    /// The feature space of the set and pair measures.
    pub network: Box<dyn FeatureNetwork>,
    /// The alignment scorer; none for spaces that know no prompts.
    pub alignment: Option<Box<dyn AlignmentScorer>>,
}

/// Opens the networks at `path` for images of `size` × `size` pixels; see the [module](self) for what `path` may be.
///
/// # Errors
/// A folder without a known network, or with one for images of another size.
pub fn open(path: Option<&Path>, size: usize, device: &Device) -> Result<FeatureNetworks, TrainError> {
    let Some(folder) = path else { return Ok(FeatureNetworks { network: Box::new(DownsampledPixels), alignment: None }) };
    if folder.is_file() {
        return Ok(FeatureNetworks { network: Box::new(inception::Inception::open(folder, size, device)?), alignment: None });
    }
    if clip::is_in(folder) {
        let clip = std::rc::Rc::new(clip::Clip::open(folder, device)?);
        return Ok(FeatureNetworks { network: Box::new(std::rc::Rc::clone(&clip)), alignment: Some(Box::new(clip)) });
    }
    let (net, config) = image_classifier::load(folder, device)?;
    if config.sample_size != size {
        return Err(TrainError::input(format!(
            "the image classifier in {} is for images of {1}x{1}, the models generate {2}x{2}: train one with --size {2}",
            folder.display(),
            config.sample_size,
            size
        )));
    }
    let classifier = Classifier { net, config };
    Ok(FeatureNetworks { network: Box::new(classifier.clone()), alignment: Some(Box::new(classifier)) })
}

/// 16×16 box-downsampled RGB pixels: a space that needs no network and is insensitive to fine detail.
pub struct DownsampledPixels;

impl DownsampledPixels {
    /// Rows and columns after downsampling; an image's side must be a multiple.
    pub const SIDE: usize = 16;
}

impl FeatureNetwork for DownsampledPixels {
    fn name(&self) -> String {
        "16x16 box-downsampled pixels, without a network".into()
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

/// The classifier that `onestep train image-classifier` trained on the image folder.
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

impl AlignmentScorer for Classifier {
    fn name(&self) -> String {
        format!("accuracy: fraction of images that the classifier assigns to the name in the prompt, of {} names", self.config.names.len())
    }

    fn is_fraction(&self) -> bool {
        true
    }

    fn scores(&self, images: Tensor<4>, prompts: &[LabelledPrompt<'_>]) -> Result<Vec<f64>, TrainError> {
        let predicted = most_likely(&self.net.logits(self.net.features(images)));
        prompts
            .iter()
            .zip(predicted)
            .map(|(LabelledPrompt { label, .. }, predicted)| {
                if !self.config.names.iter().any(|name| name == label) {
                    return Err(TrainError::input(format!(
                        "the image classifier does not know {label:?}: it was trained on another image folder; train one on this folder"
                    )));
                }
                Ok(f64::from(u8::from(self.config.names[predicted] == *label)))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_are_downsampled_by_blocks_of_one_channel() {
        let size = 32;
        let value = |channel: usize, y: usize, x: usize| (channel * 1000 + y * 10 + x) as f32;
        let image: Vec<f32> = (0..3 * size * size).map(|i| value(i / (size * size), i / size % size, i % size)).collect();
        let found = matrix(&DownsampledPixels, &[image], size, &Device::flex());
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
        let score = |name| mean_score(opened.alignment.as_deref().unwrap(), &image, &[LabelledPrompt { label: name, prompt: "" }], 32, &device);
        assert_eq!(score("cat").unwrap() + score("dog").unwrap(), 1.0);
        assert!(score("cow").unwrap_err().to_string().contains("cow"));
    }
}
