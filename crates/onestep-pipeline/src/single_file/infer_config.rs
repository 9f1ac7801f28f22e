//! Configurations of networks, from the shapes of their tensors.

use crate::config::{AutoencoderKlConfig, ClipActivation, ClipTextConfig, DownBlockType, PerBlock, UNet2DConditionConfig, UpBlockType};

/// Channels of each head in Stable Diffusion 2.x and XL and in all text encoders.
const HEAD: usize = 64;
/// Heads of Stable Diffusion 1.x at every level.
const SD1_HEADS: usize = 8;
/// Features of each time id of Stable Diffusion XL.
pub(super) const TIME_ID_FEATURES: usize = 256;

/// Reads shapes of a network's tensors by diffusers' names.
pub(super) struct Shapes<'a> {
    /// The shape of a tensor, if it is there.
    pub shape: &'a dyn Fn(&str) -> Option<&'a [usize]>,
}

impl Shapes<'_> {
    /// The length of axis `axis` of a tensor; 0 without it, which no network accepts.
    fn axis(&self, name: &str, axis: usize) -> usize {
        (self.shape)(name).and_then(|shape| shape.get(axis)).copied().unwrap_or(0)
    }

    fn has(&self, name: &str) -> bool {
        (self.shape)(name).is_some()
    }

    /// How many of `prefix0suffix`, `prefix1suffix`, … there are.
    fn count(&self, prefix: &str, suffix: &str) -> usize {
        (0..).take_while(|index| self.has(&format!("{prefix}{index}{suffix}"))).count()
    }

    /// The configuration of the U-Net with these residual blocks at each level; of images with `image` pixels a side, if that is known.
    pub fn unet(&self, layers: &[usize], image: Option<usize>) -> UNet2DConditionConfig {
        let levels = layers.len();
        let last = levels.saturating_sub(1);
        let channels: Vec<usize> = (0..levels).map(|level| self.axis(&format!("down_blocks.{level}.resnets.0.conv1.weight"), 0)).collect();
        let first = channels.first().copied().unwrap_or(0);
        let down = |level: usize| format!("down_blocks.{level}.attentions.0");
        let up = |index: usize| format!("up_blocks.{index}.attentions.0");
        let depth = |transformer: String| match self.count(&format!("{transformer}.transformer_blocks."), ".norm1.weight") {
            0 => None,
            count => Some(count),
        };
        let depths: Vec<usize> = (0..levels)
            .map(|level| {
                let middle = (level == last).then(|| depth("mid_block.attentions.0".to_owned())).flatten();
                depth(down(level)).or_else(|| depth(up(last - level))).or(middle).unwrap_or(1)
            })
            .collect();
        let linear = (self.shape)("mid_block.attentions.0.proj_in.weight").is_some_and(|shape| shape.len() == 2);
        let heads = match linear {
            true => PerBlock::Each(channels.iter().map(|channels| channels / HEAD).collect()),
            false => PerBlock::One(SD1_HEADS),
        };
        let time = self.axis("time_embedding.linear_1.weight", 0);
        let added = (self.shape)("add_embedding.linear_1.weight");
        let default = UNet2DConditionConfig::default();
        UNet2DConditionConfig {
            sample_size: image.map(|image| PerBlock::One(image / 8)),
            in_channels: self.axis("conv_in.weight", 1),
            out_channels: self.axis("conv_out.weight", 0),
            down_block_types: (0..levels)
                .map(|level| if self.has(&(down(level) + ".norm.weight")) { DownBlockType::CrossAttn } else { DownBlockType::Plain })
                .collect(),
            up_block_types: (0..levels)
                .map(|index| if self.has(&(up(index) + ".norm.weight")) { UpBlockType::CrossAttn } else { UpBlockType::Plain })
                .collect(),
            block_out_channels: channels,
            layers_per_block: same_or_each(layers.to_vec()),
            cross_attention_dim: PerBlock::One(self.axis("mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight", 1)),
            transformer_layers_per_block: same_or_each(depths),
            attention_head_dim: heads,
            use_linear_projection: linear,
            addition_embed_type: added.map(|_| "text_time".to_owned()),
            addition_time_embed_dim: added.map(|_| TIME_ID_FEATURES),
            projection_class_embeddings_input_dim: added.and_then(|shape| shape.get(1).copied()),
            time_embedding_dim: (Some(time) != first.checked_mul(4)).then_some(time),
            conv_in_kernel: self.axis("conv_in.weight", 2),
            conv_out_kernel: self.axis("conv_out.weight", 2),
            ..default
        }
    }

    /// The configuration of the autoencoder, except for its scaling of latents.
    pub fn autoencoder(&self, image: Option<usize>) -> AutoencoderKlConfig {
        let levels = self.count("encoder.down_blocks.", ".resnets.0.conv1.weight");
        AutoencoderKlConfig {
            in_channels: self.axis("encoder.conv_in.weight", 1),
            out_channels: self.axis("decoder.conv_out.weight", 0),
            block_out_channels: (0..levels).map(|level| self.axis(&format!("encoder.down_blocks.{level}.resnets.0.conv1.weight"), 0)).collect(),
            layers_per_block: self.count("encoder.down_blocks.0.resnets.", ".conv1.weight"),
            latent_channels: self.axis("decoder.conv_in.weight", 1),
            sample_size: image.map(PerBlock::One),
            use_quant_conv: self.has("quant_conv.weight"),
            use_post_quant_conv: self.has("post_quant_conv.weight"),
            mid_block_add_attention: self.has("decoder.mid_block.attentions.0.to_q.weight"),
            ..AutoencoderKlConfig::default()
        }
    }

    /// The configuration of a text encoder with `layers` layers.
    pub fn text_encoder(&self, layers: usize, open_clip: bool) -> ClipTextConfig {
        let width = self.axis("text_model.embeddings.token_embedding.weight", 1);
        let projection = (self.shape)("text_projection.weight");
        ClipTextConfig {
            vocab_size: self.axis("text_model.embeddings.token_embedding.weight", 0),
            hidden_size: width,
            intermediate_size: self.axis("text_model.encoder.layers.0.mlp.fc1.weight", 0),
            projection_dim: projection.and_then(|shape| shape.first().copied()).unwrap_or(width),
            num_hidden_layers: layers,
            num_attention_heads: width / HEAD,
            max_position_embeddings: self.axis("text_model.embeddings.position_embedding.weight", 0),
            hidden_act: if open_clip { ClipActivation::Gelu } else { ClipActivation::QuickGelu },
            pad_token_id: Some(1),
            bos_token_id: Some(0),
            // As in all published configurations: the text is pooled at the highest id.
            eos_token_id: 2,
            with_projection: projection.is_some(),
            ..ClipTextConfig::default()
        }
    }
}

fn same_or_each(values: Vec<usize>) -> PerBlock<usize> {
    match values.first() {
        Some(&first) if values.iter().all(|&value| value == first) => PerBlock::One(first),
        _ => PerBlock::Each(values),
    }
}
