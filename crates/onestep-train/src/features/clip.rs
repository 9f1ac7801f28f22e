//! CLIP: image features, and the cosine of image and text features as alignment score.

use std::path::Path;
use std::rc::Rc;

use burn::tensor::{Device, Tensor, TensorData};
use onestep_nets::{
    CLIP_MEAN, CLIP_STD, ClipConfig, ClipModel, config_object,
    weights::{self, Shard},
};
use onestep_pipeline::tokenizer::open_folder;
use onestep_program::limits;

use super::network::{AlignmentScorer, FeatureNetwork, LabelledPrompt, resized};
use crate::{data::CaptionTokenizer, error::TrainError, sampler::id_tensor};

/// Prefix of every prompt, as in the evaluation of GigaGAN (Kang et al. 2023).
const PROMPT_PREFIX: &str = "A photo depicts ";

/// A folder in transformers' layout: `config.json`, `model.safetensors`, and `tokenizer.json` or `vocab.json` with `merges.txt`.
pub struct Clip {
    net: ClipModel,
    tokenizer: CaptionTokenizer,
    /// Side of the input images in pixels.
    side: usize,
    device: Device,
}

/// Whether a folder's `config.json` is that of a whole CLIP model.
pub fn is_in(folder: &Path) -> bool {
    let text = onestep_store::read_at_most(&folder.join("config.json"), limits::CONFIG_BYTES.max).unwrap_or_default();
    config_object("CLIPModel", &String::from_utf8_lossy(&text)).is_ok_and(|config| config.get("model_type").is_some_and(|kind| kind == "clip"))
}

impl Clip {
    /// Reads the folder. Images of any size are resized to the network's.
    ///
    /// # Errors
    /// Names the file at fault.
    pub fn open(folder: &Path, device: &Device) -> Result<Self, TrainError> {
        let refuse = |name: &str, error: &dyn std::fmt::Display| TrainError::input(format!("{}: {error}", folder.join(name).display()));
        let text = String::from_utf8_lossy(&onestep_store::read_at_most(&folder.join("config.json"), limits::CONFIG_BYTES.max)?).into_owned();
        let config = ClipConfig::from_json(&text).map_err(|error| refuse("config.json", &error))?;
        let (side, tokens) = (config.vision_config.image_size, config.text_config.max_position_embeddings);
        let path = folder.join("model.safetensors");
        let bytes = onestep_store::read(&path)?;
        let net = weights::load(config.init(device), &[Shard::new(&path.display().to_string(), &bytes)])
            .map_err(|error| TrainError::input(error.to_string()))?;
        let tokenizer = CaptionTokenizer::new(open_folder(folder, Some(tokens))?).map_err(|error| TrainError::input(error.to_string()))?;
        if tokenizer.length() > tokens {
            let message =
                format!("gives {} tokens for a text, expected at most max_position_embeddings = {tokens} of config.json", tokenizer.length());
            return Err(TrainError::input(format!("{}: {message}", tokenizer.location())));
        }
        Ok(Self { net, tokenizer, side, device: device.clone() })
    }

    /// Features [N,projection] normalised to unit length.
    fn normalised(features: Tensor<2>) -> Tensor<2> {
        let length = features.clone().square().sum_dim(1).sqrt().clamp_min(1e-12);
        features / length
    }

    fn image_features(&self, images: &Tensor<4>) -> Tensor<2> {
        let constant =
            |values: [f64; 3]| Tensor::<4>::from_data(TensorData::new(values.map(|value| value as f32).to_vec(), [1, 3, 1, 1]), &self.device);
        let from_zero = resized(images, self.side).add_scalar(1.0).div_scalar(2.0);
        Self::normalised(self.net.image_features((from_zero - constant(CLIP_MEAN)) / constant(CLIP_STD)))
    }

    fn text_features(&self, prompts: &[LabelledPrompt<'_>]) -> Result<Tensor<2>, TrainError> {
        let mut ids = Vec::with_capacity(prompts.len() * self.tokenizer.length());
        for LabelledPrompt { prompt, .. } in prompts {
            ids.extend(self.tokenizer.encode(&format!("{PROMPT_PREFIX}{prompt}"))?);
        }
        let ids = id_tensor(&ids, self.tokenizer.length(), &self.device);
        Ok(Self::normalised(self.net.text_features(ids)))
    }
}

impl FeatureNetwork for Rc<Clip> {
    fn name(&self) -> String {
        format!("CLIP image features, images resized to {0}x{0}", self.side)
    }

    fn features(&self, images: Tensor<4>) -> Tensor<2> {
        self.image_features(&images)
    }
}

impl AlignmentScorer for Rc<Clip> {
    fn name(&self) -> String {
        format!("cosine of the CLIP features of the image and of the text “{PROMPT_PREFIX}…”")
    }

    fn is_fraction(&self) -> bool {
        false
    }

    fn scores(&self, images: Tensor<4>, prompts: &[LabelledPrompt<'_>]) -> Result<Vec<f64>, TrainError> {
        let cosines = (self.image_features(&images) * self.text_features(prompts)?).sum_dim(1);
        Ok(cosines.to_data().try_to_vec::<f32>().unwrap_or_default().into_iter().map(f64::from).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::TokenizerOptions;
    use crate::features::{matrix, mean_score, open};

    /// The network is compared with transformers' in onestep-nets; here a whole folder gives features and scores.
    #[test]
    fn a_folder_of_transformers_gives_features_and_scores() {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/evaluation/clip-gelu");
        let folder = tempfile::tempdir().unwrap();
        std::fs::copy(fixture.join("config.json"), folder.path().join("config.json")).unwrap();
        let device = Device::flex();
        let refusal = |found: Result<crate::features::FeatureNetworks, TrainError>| found.map(|_| ()).unwrap_err().to_string();
        assert!(refusal(open(Some(folder.path()), 24, &device)).contains("model.safetensors"));
        std::fs::copy(fixture.join("weights.safetensors"), folder.path().join("model.safetensors")).unwrap();
        assert!(refusal(open(Some(folder.path()), 24, &device)).contains("tokenizer.json"));
        let tokenizer = CaptionTokenizer::train(["a cat", "a dog"], &TokenizerOptions { vocabulary: 26, length: 5 }).unwrap();
        std::fs::write(folder.path().join("tokenizer.json"), tokenizer.to_json()).unwrap();

        let opened = open(Some(folder.path()), 24, &device).unwrap();
        let images: Vec<Vec<f32>> = (0..2).map(|image| (0..3 * 24 * 24).map(|i| ((i * (image + 3)) as f32 * 0.1).sin()).collect()).collect();
        let features = matrix(opened.network.as_ref(), &images, 24, &device);
        let length = |row: &[f32]| row.iter().map(|value| value * value).sum::<f32>();
        assert!((length(features.row(0)) - 1.0).abs() < 1e-5 && (length(features.row(1)) - 1.0).abs() < 1e-5);
        let scorer = opened.alignment.unwrap();
        let score =
            |image: usize, prompt| mean_score(scorer.as_ref(), &images[image..=image], &[LabelledPrompt { label: "", prompt }], 24, &device).unwrap();
        // The prefix alone fills the five tokens of this tiny network, so longer prompts are truncated.
        let long = "cat ".repeat(500);
        for prompt in ["a cat", "", long.as_str()] {
            assert!((-1.0..=1.0).contains(&score(0, prompt)), "{prompt}");
        }
        assert!((score(0, "a cat") - score(1, "a cat")).abs() > 1e-6);
    }
}
