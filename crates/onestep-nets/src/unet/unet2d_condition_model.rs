//! The U-Net itself.

use burn::{
    module::Module,
    nn::{GroupNorm, GroupNormConfig, conv::Conv2d},
    tensor::{DType, Device, Tensor, activation::silu},
};

use onestep_pipeline::config::{DownBlockType, UNet2DConditionConfig, UpBlockType};

use super::{DownBlock, MidBlock, TimeFeatures, Transformer2d, UpBlock, transformer2d::Transformer2dShape};
use crate::{
    Init,
    blocks::{Downsample2d, ResnetBlock2d, TimestepEmbedding, Upsample2d, same_conv},
    conditioning::Conditioning,
    precision::{cast, group_norm},
};

/// A U-Net that predicts from a noisy latent, its timestep and a text what noise was added.
///
/// Fields are named as in diffusers, so that the weights are too.
#[derive(Module, Debug)]
pub struct UNet2DConditionModel {
    /// First convolution.
    pub conv_in: Conv2d,
    /// Behind the features of the timestep and the guidance scale.
    pub time_embedding: TimestepEmbedding,
    /// Behind the features of pooled text and time ids (`text_time`).
    pub add_embedding: Option<TimestepEmbedding>,
    /// The contracting half, highest resolution first.
    pub down_blocks: Vec<DownBlock>,
    /// Between the halves.
    pub mid_block: MidBlock,
    /// The expanding half, lowest resolution first.
    pub up_blocks: Vec<UpBlock>,
    /// Normalisation of the result.
    pub conv_norm_out: GroupNorm,
    /// Last convolution.
    pub conv_out: Conv2d,
    /// Whether the input is mapped from 0..1 to -1..1 first.
    pub center_input_sample: bool,
    /// The features of timestep and time ids.
    #[module(skip)]
    pub time_features: TimeFeatures,
}

/// What the contracting half and the middle leave: see [`UNet2DConditionModel::encode`].
#[derive(Debug, Clone)]
pub struct Encoded {
    /// Behind the middle block.
    pub bottom: Tensor<4>,
    /// The first convolution's result and every block's, highest resolution first.
    pub skips: Vec<Tensor<4>>,
}

impl Init for UNet2DConditionConfig {
    type Network = UNet2DConditionModel;

    fn init(&self, device: &Device) -> UNet2DConditionModel {
        UNet2DConditionModel::new(self, device)
    }
}

impl UNet2DConditionModel {
    /// Initial weights; called by [`Init::init`].
    pub(crate) fn new(config: &UNet2DConditionConfig, device: &Device) -> Self {
        let channels = &config.block_out_channels;
        let levels = channels.len();
        let (groups, epsilon) = (config.norm_num_groups, config.norm_eps);
        let time = config.time_embedding_dim.unwrap_or(4 * channels[0]);
        let resnet = |input, output| ResnetBlock2d::new(input, output, Some(time), groups, epsilon, device);
        let layers = |level| config.layers_per_block.get(level).unwrap_or(1);
        let transformer = |level: usize| {
            let shape = Transformer2dShape {
                channels: channels[level],
                context: config.cross_attention_dim.get(level).unwrap_or(1),
                heads: config.attention_head_dim.get(level).unwrap_or(1),
                layers: config.transformer_layers_per_block.get(level).unwrap_or(1),
                groups,
                linear_projection: config.use_linear_projection,
            };
            Transformer2d::new(shape, device)
        };
        let last = levels - 1;

        let down_blocks = (0..levels)
            .map(|level| {
                let before = channels[level.saturating_sub(1)];
                let attends = config.down_block_types[level] == DownBlockType::CrossAttn;
                let count = layers(level);
                DownBlock {
                    resnets: (0..count).map(|i| resnet(if i == 0 { before } else { channels[level] }, channels[level])).collect(),
                    attentions: (0..if attends { count } else { 0 }).map(|_| transformer(level)).collect(),
                    downsamplers: (level != last)
                        .then(|| Downsample2d::new(channels[level], config.downsample_padding, device))
                        .into_iter()
                        .collect(),
                }
            })
            .collect();

        let mid_block = MidBlock { attentions: vec![transformer(last)], resnets: (0..2).map(|_| resnet(channels[last], channels[last])).collect() };

        let up_blocks = (0..levels)
            .map(|up| {
                let level = last - up;
                let below = channels[(level + 1).min(last)];
                let above = channels[level.saturating_sub(1)];
                let here = channels[level];
                let attends = config.up_block_types[up] == UpBlockType::CrossAttn;
                let count = layers(level) + 1;
                UpBlock {
                    resnets: (0..count)
                        .map(|i| {
                            let skip = if i + 1 == count { above } else { here };
                            let input = if i == 0 { below } else { here };
                            resnet(input + skip, here)
                        })
                        .collect(),
                    attentions: (0..if attends { count } else { 0 }).map(|_| transformer(level)).collect(),
                    upsamplers: (level != 0).then(|| Upsample2d::new(here, device)).into_iter().collect(),
                }
            })
            .collect();

        let text_time = config.addition_embed_type.is_some();
        let time_embedding = TimestepEmbedding::new(channels[0], time, device);
        Self {
            conv_in: same_conv(config.in_channels, channels[0], config.conv_in_kernel, device),
            time_embedding: match config.time_cond_proj_dim {
                Some(size) => time_embedding.with_condition(size, device),
                None => time_embedding,
            },
            add_embedding: config
                .projection_class_embeddings_input_dim
                .filter(|_| text_time)
                .map(|input| TimestepEmbedding::new(input, time, device)),
            down_blocks,
            mid_block,
            up_blocks,
            conv_norm_out: GroupNormConfig::new(groups, channels[0]).with_epsilon(epsilon).init(device),
            conv_out: same_conv(channels[0], config.out_channels, config.conv_out_kernel, device),
            center_input_sample: config.center_input_sample,
            time_features: TimeFeatures {
                flip_sin_to_cos: config.flip_sin_to_cos,
                freq_shift: config.freq_shift,
                timestep: channels[0],
                time_id: config.addition_time_embed_dim.filter(|_| text_time).unwrap_or(0),
            },
        }
    }

    /// Predicts the noise in `sample`.
    ///
    /// - `sample`: `[batch, in_channels, height, width]`, any height and width;
    /// - `timestep`: `[batch]`, or `[1]` for the whole batch;
    /// - `conditions`: hidden states `[batch, tokens, cross_attention_dim]`; with `addition_embed_type = "text_time"` also the added conditions, and
    ///   with `time_cond_proj_dim` the guidance scale's features (without them its share is left out, as in diffusers).
    ///
    /// Returns `[batch, out_channels, height, width]`. It computes, and answers, in the element type of its weights.
    ///
    /// # Panics
    /// If shapes do not fit, or the added conditions are needed and missing.
    pub fn forward(&self, sample: Tensor<4>, timestep: Tensor<1>, conditions: impl Into<Conditioning>) -> Tensor<4> {
        let conditions = conditions.into();
        let dtype = self.conv_in.weight.dtype();
        let time = self.embed(timestep, &conditions, dtype);
        let (sample, states) = (cast(sample, dtype), cast(conditions.states, dtype));
        let Encoded { bottom, mut skips } = self.encode(sample, &time, &states);
        let x = self.up_blocks.iter().fold(bottom, |x, block| block.forward(x, &time, &states, &mut skips));
        self.conv_out.forward(silu(group_norm(&self.conv_norm_out, x)))
    }

    /// The embedding of timestep and conditions that residual blocks take: see [`TimeFeatures::embed`].
    ///
    /// # Panics
    /// If the added conditions are needed and missing.
    pub fn embed(&self, timestep: Tensor<1>, conditions: &Conditioning, dtype: DType) -> Tensor<2> {
        self.time_features.embed(&self.time_embedding, self.add_embedding.as_ref(), timestep, conditions, dtype)
    }

    /// The contracting half and the middle, given the result of [`Self::embed`].
    pub fn encode(&self, sample: Tensor<4>, time: &Tensor<2>, encoder_hidden_states: &Tensor<3>) -> Encoded {
        let sample = if self.center_input_sample { sample.mul_scalar(2.0).sub_scalar(1.0) } else { sample };
        let x = self.conv_in.forward(sample);
        let mut skips = vec![x.clone()];
        let x = self.down_blocks.iter().fold(x, |x, block| block.forward(x, time, encoder_hidden_states, &mut skips));
        Encoded { bottom: self.mid_block.forward(x, time, encoder_hidden_states), skips }
    }
}
