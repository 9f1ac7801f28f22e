//! The configuration of the U-Net: diffusers' `unet/config.json`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::config::{ConfigError, ConfigReader, PerBlock, object, written};

const CLASS: &str = "UNet2DConditionModel";

/// Keys that are accepted with these values only: other values would require mathematics that is not implemented.
const FIXED: &[(&str, &[&str])] = &[
    ("_class_name", &["\"UNet2DConditionModel\""]),
    ("act_fn", &["\"silu\"", "\"swish\""]),
    ("addition_embed_type", &["null", "\"text_time\""]),
    ("attention_type", &["\"default\""]),
    ("class_embed_type", &["null"]),
    ("class_embeddings_concat", &["false"]),
    ("cross_attention_norm", &["null", "false"]),
    ("down_block_types", &["\"DownBlock2D\"", "\"CrossAttnDownBlock2D\""]),
    ("dropout", &["0"]),
    ("dual_cross_attention", &["false"]),
    ("encoder_hid_dim", &["null"]),
    ("encoder_hid_dim_type", &["null"]),
    ("mid_block_only_cross_attention", &["null", "false"]),
    ("mid_block_scale_factor", &["1"]),
    ("mid_block_type", &["\"UNetMidBlock2DCrossAttn\""]),
    ("num_attention_heads", &["null"]),
    ("num_class_embeds", &["null"]),
    ("only_cross_attention", &["false"]),
    ("resnet_out_scale_factor", &["1"]),
    ("resnet_skip_time_act", &["false"]),
    ("resnet_time_scale_shift", &["\"default\""]),
    ("reverse_transformer_layers_per_block", &["null"]),
    ("time_embedding_act_fn", &["null"]),
    ("time_embedding_type", &["\"positional\""]),
    ("timestep_post_act", &["null"]),
    ("up_block_types", &["\"UpBlock2D\"", "\"CrossAttnUpBlock2D\""]),
];

/// A level of the contracting half.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DownBlockType {
    /// Residual blocks alone.
    #[serde(rename = "DownBlock2D")]
    Plain,
    /// With a transformer behind each residual block.
    #[serde(rename = "CrossAttnDownBlock2D")]
    CrossAttn,
}

/// A level of the expanding half.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpBlockType {
    /// Residual blocks alone.
    #[serde(rename = "UpBlock2D")]
    Plain,
    /// With a transformer behind each residual block.
    #[serde(rename = "CrossAttnUpBlock2D")]
    CrossAttn,
}

/// The keys of `config.json` that this implementation varies; the default is diffusers'.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Map<String, Value>")]
pub struct UNet2DConditionConfig {
    /// Height and width of the latents it was made for; information only.
    pub sample_size: Option<PerBlock<usize>>,
    /// Channels of the input.
    pub in_channels: usize,
    /// Channels of the output.
    pub out_channels: usize,
    /// Whether the input is mapped from 0..1 to -1..1 first.
    pub center_input_sample: bool,
    /// Cosines before sines in the timestep's features.
    pub flip_sin_to_cos: bool,
    /// Shift in the frequencies of the timestep's features.
    pub freq_shift: f64,
    /// Levels, highest resolution first.
    pub down_block_types: Vec<DownBlockType>,
    /// Levels, lowest resolution first.
    pub up_block_types: Vec<UpBlockType>,
    /// Channels of each level, highest resolution first.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks of each level (the expanding half has one more).
    pub layers_per_block: PerBlock<usize>,
    /// 1, or 0 for padding below and right only.
    pub downsample_padding: usize,
    /// Groups of every group normalisation.
    pub norm_num_groups: usize,
    /// Epsilon of the residual blocks' normalisations.
    pub norm_eps: f64,
    /// Features of a text token.
    pub cross_attention_dim: PerBlock<usize>,
    /// Blocks of each transformer.
    pub transformer_layers_per_block: PerBlock<usize>,
    /// The **number of heads**: a name that diffusers keeps for compatibility.
    pub attention_head_dim: PerBlock<usize>,
    /// Matrices instead of 1x1 convolutions around transformers.
    pub use_linear_projection: bool,
    /// Accepted and kept: attention is computed in the tensors' own precision.
    pub upcast_attention: bool,
    /// `text_time` for SDXL.
    pub addition_embed_type: Option<String>,
    /// Features of each of SDXL's time ids.
    pub addition_time_embed_dim: Option<usize>,
    /// Pooled text and time ids together.
    pub projection_class_embeddings_input_dim: Option<usize>,
    /// Size of the time embedding, four times the first level's channels if not given.
    pub time_embedding_dim: Option<usize>,
    /// Features of the guidance scale, which students of latent consistency take as a condition; `None` for networks without it.
    pub time_cond_proj_dim: Option<usize>,
    /// Kernel of the first convolution.
    pub conv_in_kernel: usize,
    /// Kernel of the last convolution.
    pub conv_out_kernel: usize,
}

impl Default for UNet2DConditionConfig {
    fn default() -> Self {
        Self {
            sample_size: None,
            in_channels: 4,
            out_channels: 4,
            center_input_sample: false,
            flip_sin_to_cos: true,
            freq_shift: 0.0,
            down_block_types: vec![DownBlockType::CrossAttn, DownBlockType::CrossAttn, DownBlockType::CrossAttn, DownBlockType::Plain],
            up_block_types: vec![UpBlockType::Plain, UpBlockType::CrossAttn, UpBlockType::CrossAttn, UpBlockType::CrossAttn],
            block_out_channels: vec![320, 640, 1280, 1280],
            layers_per_block: PerBlock::One(2),
            downsample_padding: 1,
            norm_num_groups: 32,
            norm_eps: 1e-5,
            cross_attention_dim: PerBlock::One(1280),
            transformer_layers_per_block: PerBlock::One(1),
            attention_head_dim: PerBlock::One(8),
            use_linear_projection: false,
            upcast_attention: false,
            addition_embed_type: None,
            addition_time_embed_dim: None,
            projection_class_embeddings_input_dim: None,
            time_embedding_dim: None,
            time_cond_proj_dim: None,
            conv_in_kernel: 3,
            conv_out_kernel: 3,
        }
    }
}

impl TryFrom<Map<String, Value>> for UNet2DConditionConfig {
    type Error = ConfigError;

    fn try_from(keys: Map<String, Value>) -> Result<Self, ConfigError> {
        let keys = ConfigReader::new(CLASS, &keys);
        for (key, allowed) in FIXED {
            keys.only(key, allowed)?;
        }
        let d = Self::default();
        let config = Self {
            sample_size: keys.read("sample_size", d.sample_size)?,
            in_channels: keys.read("in_channels", d.in_channels)?,
            out_channels: keys.read("out_channels", d.out_channels)?,
            center_input_sample: keys.read("center_input_sample", d.center_input_sample)?,
            flip_sin_to_cos: keys.read("flip_sin_to_cos", d.flip_sin_to_cos)?,
            freq_shift: keys.read("freq_shift", d.freq_shift)?,
            down_block_types: keys.read("down_block_types", d.down_block_types)?,
            up_block_types: keys.read("up_block_types", d.up_block_types)?,
            block_out_channels: keys.read("block_out_channels", d.block_out_channels)?,
            layers_per_block: keys.read("layers_per_block", d.layers_per_block)?,
            downsample_padding: keys.read("downsample_padding", d.downsample_padding)?,
            norm_num_groups: keys.read("norm_num_groups", d.norm_num_groups)?,
            norm_eps: keys.read("norm_eps", d.norm_eps)?,
            cross_attention_dim: keys.read("cross_attention_dim", d.cross_attention_dim)?,
            transformer_layers_per_block: keys.read("transformer_layers_per_block", d.transformer_layers_per_block)?,
            attention_head_dim: keys.read("attention_head_dim", d.attention_head_dim)?,
            use_linear_projection: keys.read("use_linear_projection", d.use_linear_projection)?,
            upcast_attention: keys.read::<Option<bool>>("upcast_attention", Some(d.upcast_attention))?.unwrap_or(false),
            addition_embed_type: keys.read("addition_embed_type", d.addition_embed_type)?,
            addition_time_embed_dim: keys.read("addition_time_embed_dim", d.addition_time_embed_dim)?,
            projection_class_embeddings_input_dim: keys.read("projection_class_embeddings_input_dim", d.projection_class_embeddings_input_dim)?,
            time_embedding_dim: keys.read("time_embedding_dim", d.time_embedding_dim)?,
            time_cond_proj_dim: keys.read("time_cond_proj_dim", d.time_cond_proj_dim)?,
            conv_in_kernel: keys.read("conv_in_kernel", d.conv_in_kernel)?,
            conv_out_kernel: keys.read("conv_out_kernel", d.conv_out_kernel)?,
        };
        config.validate()?;
        Ok(config)
    }
}

impl UNet2DConditionConfig {
    /// Reads a `config.json`. Keys that do not change the mathematics are ignored; values that would and are not
    /// implemented are refused.
    pub fn from_json(text: &str) -> Result<Self, ConfigError> {
        object(CLASS, text)?.try_into()
    }

    /// A `config.json` that diffusers reads.
    pub fn to_json(&self) -> String {
        written(
            self,
            &[
                ("_class_name", json!(CLASS)),
                ("_diffusers_version", json!("0.30.0")),
                ("act_fn", json!("silu")),
                ("mid_block_type", json!("UNetMidBlock2DCrossAttn")),
                ("freq_shift", whole(self.freq_shift)),
            ],
        )
    }

    /// Whether the sizes fit together; what [`Self::from_json`] returns has passed.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let refuse =
            |key: &str, value: Value, reason: String| Err(ConfigError::Key { config: CLASS, key: key.to_owned(), value: value.to_string(), reason });
        let within = |key: &str, value: usize, low: usize, high: usize| match value {
            value if (low..=high).contains(&value) => Ok(()),
            _ => refuse(key, json!(value), format!("must be within {low}..={high}")),
        };
        let levels = self.block_out_channels.len();
        within("block_out_channels.len()", levels, 1, 16)?;
        within("norm_num_groups", self.norm_num_groups, 1, 4096)?;
        for (key, count) in [("down_block_types", self.down_block_types.len()), ("up_block_types", self.up_block_types.len())] {
            if count != levels {
                let reason = format!("must have as many entries as block_out_channels, {levels}");
                return refuse(key, json!(count), reason);
            }
        }
        for &channels in &self.block_out_channels {
            within("block_out_channels", channels, 1, 16384)?;
            if channels % self.norm_num_groups != 0 {
                let reason = format!("must be a multiple of norm_num_groups = {}", self.norm_num_groups);
                return refuse("block_out_channels", json!(channels), reason);
            }
        }
        let per_level = |key: &str, value: &PerBlock<usize>, low: usize, high: usize| {
            let Some(values) = value.expand(levels) else {
                let reason = format!("must be a number or a list of {levels}, one for each level");
                return refuse(key, json!(value), reason);
            };
            values.iter().try_for_each(|&value| within(key, value, low, high))
        };
        per_level("layers_per_block", &self.layers_per_block, 1, 64)?;
        per_level("cross_attention_dim", &self.cross_attention_dim, 1, 65536)?;
        per_level("transformer_layers_per_block", &self.transformer_layers_per_block, 0, 64)?;
        per_level("attention_head_dim", &self.attention_head_dim, 1, 16384)?;
        for level in 0..levels {
            let attends = level + 1 == levels
                || self.down_block_types[level] == DownBlockType::CrossAttn
                || self.up_block_types[levels - 1 - level] == UpBlockType::CrossAttn;
            let heads = self.attention_head_dim.get(level).unwrap_or(1);
            if attends && !self.block_out_channels[level].is_multiple_of(heads) {
                let reason = format!("is the number of heads, and must divide the {} channels of level {level}", self.block_out_channels[level]);
                return refuse("attention_head_dim", json!(heads), reason);
            }
        }
        within("in_channels", self.in_channels, 1, 16384)?;
        within("out_channels", self.out_channels, 1, 16384)?;
        within("downsample_padding", self.downsample_padding, 0, 1)?;
        for (key, kernel) in [("conv_in_kernel", self.conv_in_kernel), ("conv_out_kernel", self.conv_out_kernel)] {
            within(key, kernel, 1, 15)?;
            if kernel % 2 == 0 {
                return refuse(key, json!(kernel), "must be odd".to_owned());
            }
        }
        let even = |key: &str, value: usize| match value % 2 {
            0 => Ok(()),
            _ => refuse(key, json!(value), "must be even, half of it sines and half cosines".to_owned()),
        };
        even("block_out_channels", self.block_out_channels[0])?;
        if !(self.norm_eps.is_finite() && self.norm_eps > 0.0) {
            return refuse("norm_eps", json!(self.norm_eps), "must be positive".to_owned());
        }
        let smallest = self.block_out_channels[0].min(self.addition_time_embed_dim.unwrap_or(usize::MAX)) / 2;
        if !(self.freq_shift.is_finite() && self.freq_shift >= 0.0 && self.freq_shift < smallest as f64) {
            return refuse("freq_shift", json!(self.freq_shift), format!("must be within 0..{smallest}"));
        }
        if let Some(size) = self.time_embedding_dim {
            within("time_embedding_dim", size, 1, 65536)?;
            even("time_embedding_dim", size)?;
        }
        if let Some(size) = self.time_cond_proj_dim {
            within("time_cond_proj_dim", size, 2, 65536)?;
        }
        match self.addition_embed_type.as_deref() {
            None => Ok(()),
            Some("text_time") => {
                let Some(ids) = self.addition_time_embed_dim else {
                    return refuse("addition_time_embed_dim", Value::Null, "is needed for text_time".to_owned());
                };
                let Some(all) = self.projection_class_embeddings_input_dim else {
                    let key = "projection_class_embeddings_input_dim";
                    return refuse(key, Value::Null, "is needed for text_time".to_owned());
                };
                within("addition_time_embed_dim", ids, 2, 65536)?;
                even("addition_time_embed_dim", ids)?;
                within("projection_class_embeddings_input_dim", all, ids, 1 << 20)
            }
            Some(other) => refuse("addition_embed_type", json!(other), "only text_time is implemented".to_owned()),
        }
    }
}

/// A whole number without its fraction, as diffusers writes and wants it.
fn whole(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 1e9 { json!(value as i64) } else { json!(value) }
}
