//! The image encoder.

use burn::{
    module::{Module, Param},
    nn::{
        Embedding, EmbeddingConfig, Initializer, LayerNorm, LayerNormConfig,
        conv::{Conv2d, Conv2dConfig},
    },
    tensor::{Device, Tensor},
};

use super::{
    ClipVisionConfig,
    clip_encoder::{ClipEncoder, ClipLayers},
};

/// Patches as features, behind a token that stands for the whole image.
#[derive(Module, Debug)]
pub struct ClipVisionEmbeddings {
    /// The token of the whole image, `[features]`.
    pub class_embedding: Param<Tensor<1>>,
    /// As large as a patch, with that stride and no bias.
    pub patch_embedding: Conv2d,
    /// `[1 + patches, features]`.
    pub position_embedding: Embedding,
}

/// transformers' `CLIPVisionModel`.
#[derive(Module, Debug)]
pub struct ClipVisionTransformer {
    /// Patches and tables.
    pub embeddings: ClipVisionEmbeddings,
    /// In front of the layers; the name is the files'.
    pub pre_layrnorm: LayerNorm,
    /// Layers.
    pub encoder: ClipEncoder,
    /// Normalisation of the whole image's token.
    pub post_layernorm: LayerNorm,
}

impl ClipVisionTransformer {
    /// Initial weights, distributed as those of transformers' `CLIPPreTrainedModel._init_weights`.
    pub(super) fn new(config: &ClipVisionConfig, device: &Device) -> Self {
        let size = config.hidden_size;
        let factor = config.initializer_factor;
        let gaussian = |std: f64| Initializer::Normal { mean: 0.0, std: std * factor };
        let norm = || LayerNormConfig::new(size).with_epsilon(config.layer_norm_eps).init(device);
        let layers = ClipLayers {
            size,
            intermediate_size: config.intermediate_size,
            layers: config.num_hidden_layers,
            heads: config.num_attention_heads,
            causal: false,
            hidden_act: config.hidden_act,
            layer_norm_eps: config.layer_norm_eps,
            initializer_factor: factor,
        };
        Self {
            embeddings: ClipVisionEmbeddings {
                class_embedding: gaussian((size as f64).powf(-0.5)).init([size], device),
                patch_embedding: Conv2dConfig::new([config.num_channels, size], [config.patch_size; 2])
                    .with_stride([config.patch_size; 2])
                    .with_bias(false)
                    .with_initializer(gaussian(config.initializer_range))
                    .init(device),
                position_embedding: EmbeddingConfig::new(1 + config.patches(), size)
                    .with_initializer(gaussian(config.initializer_range))
                    .init(device),
            },
            pre_layrnorm: norm(),
            encoder: layers.init(device),
            post_layernorm: norm(),
        }
    }

    /// `pooler_output` `[batch, features]`, the normalised token of each whole image.
    ///
    /// `images` is `[batch, channels, image_size, image_size]`, normalised by [`CLIP_MEAN`](super::CLIP_MEAN) and
    /// [`CLIP_STD`](super::CLIP_STD).
    ///
    /// # Panics
    /// If the images have more or fewer patches than there are positions.
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let mut x = self.pre_layrnorm.forward(self.embeddings.forward(images));
        for layer in &self.encoder.layers {
            x = layer.forward(x);
        }
        let [batch, _, features] = x.dims();
        self.post_layernorm.forward(x.slice([0..batch, 0..1, 0..features]).reshape([batch, features]))
    }
}

impl ClipVisionEmbeddings {
    /// `[batch, channels, height, width]` to `[batch, 1 + patches, features]`.
    ///
    /// # Panics
    /// If the images have more or fewer patches than there are positions.
    pub fn forward(&self, images: Tensor<4>) -> Tensor<3> {
        let patches = self.patch_embedding.forward(images);
        let [batch, features, rows, columns] = patches.dims();
        let table = self.position_embedding.weight.val();
        let [positions, _] = table.dims();
        assert!(1 + rows * columns == positions, "images of {rows} x {columns} patches given to an encoder of {} patches", positions - 1);
        let patches = patches.reshape([batch, features, rows * columns]).swap_dims(1, 2);
        let class = self.class_embedding.val().reshape([1, 1, features]).expand([batch, 1, features]);
        Tensor::cat(vec![class, patches], 1) + table.reshape([1, positions, features])
    }
}
