//! Text and image encoder together.

use burn::{
    module::{Module, Param},
    nn::{Initializer, Linear},
    tensor::{Device, Int, Tensor},
};

use super::{
    ClipConfig,
    clip_encoder::{ClipTextTransformer, gaussian_linear},
    clip_text_model::pool,
    clip_vision_transformer::ClipVisionTransformer,
};

/// What is taken from red, green and blue within 0..1 before they are divided by [`CLIP_STD`].
///
/// These are the numbers of OpenAI's files, and of OpenCLIP's under `laion/`; the `preprocessor_config.json` of a file's
/// weights has them as `image_mean` and `image_std`.
pub const CLIP_MEAN: [f64; 3] = [0.48145466, 0.4578275, 0.40821073];

/// What red, green and blue are divided by after [`CLIP_MEAN`] was taken away.
pub const CLIP_STD: [f64; 3] = [0.26862954, 0.26130258, 0.27577711];

/// transformers' `CLIPModel`: texts and images as features that can be compared.
///
/// Features are as the projections give them. How well a text and an image agree is the cosine of the angle between their
/// features, `a·b / (|a| |b|)`, which is the caller's to compute. On a device with gradients every parameter asks for its
/// own; `no_grad()` of the module leaves those of the images alone.
#[derive(Module, Debug)]
pub struct ClipModel {
    /// Texts to hidden states.
    pub text_model: ClipTextTransformer,
    /// Images to hidden states.
    pub vision_model: ClipVisionTransformer,
    /// From a pooled image to its features, without bias.
    pub visual_projection: Linear,
    /// From a pooled text to its features, without bias.
    pub text_projection: Linear,
    /// The logarithm of what cosines are multiplied by in training, `[1]` (without axes in files); features do not depend on it.
    pub logit_scale: Param<Tensor<1>>,
    /// Id of the token that ends a text, as in [`ClipTextModel::pool`](super::ClipTextModel::pool).
    pub eos_token_id: usize,
}

impl ClipConfig {
    /// A network with initial weights.
    ///
    /// # Panics
    /// If the configuration would not pass [`Self::validate`].
    pub fn init(&self, device: &Device) -> ClipModel {
        ClipModel::new(self, device)
    }
}

impl ClipModel {
    /// Initial weights; called by [`ClipConfig::init`].
    pub(crate) fn new(config: &ClipConfig, device: &Device) -> Self {
        let projection = |size: usize| {
            let std = (size as f64).powf(-0.5) * config.initializer_factor;
            gaussian_linear(size, config.projection_dim, false, std, device)
        };
        Self {
            text_model: ClipTextTransformer::new(&config.text_config, device),
            vision_model: ClipVisionTransformer::new(&config.vision_config, device),
            visual_projection: projection(config.vision_config.hidden_size),
            text_projection: projection(config.text_config.hidden_size),
            logit_scale: Initializer::Constant { value: config.logit_scale_init_value }.init([1], device),
            eos_token_id: config.text_config.eos_token_id,
        }
    }

    /// `image_embeds` `[batch, projection_dim]`, not normalised, of `images` `[batch, channels, image_size, image_size]`
    /// that are normalised by [`CLIP_MEAN`] and [`CLIP_STD`].
    ///
    /// # Panics
    /// If the images are not of the configured size.
    pub fn image_features(&self, images: Tensor<4>) -> Tensor<2> {
        self.visual_projection.forward(self.vision_model.forward(images))
    }

    /// `text_embeds` `[batch, projection_dim]`, not normalised, of `input_ids` `[batch, tokens]`, each below the
    /// vocabulary's size; the text is pooled where it ends, as [`ClipTextModel::pool`](super::ClipTextModel::pool) says.
    ///
    /// # Panics
    /// If there are more tokens than positions.
    pub fn text_features(&self, input_ids: Tensor<2, Int>) -> Tensor<2> {
        let last = self.text_model.forward(input_ids.clone()).last_hidden_state;
        self.text_projection.forward(pool(last, input_ids, self.eos_token_id))
    }
}
