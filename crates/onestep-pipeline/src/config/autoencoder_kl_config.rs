//! The configuration of the autoencoder: diffusers' `vae/config.json`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::config::{ConfigError, ConfigReader, PerBlock, object, written};

const CLASS: &str = "AutoencoderKL";

/// Keys that are accepted with these values only: other values would require mathematics that is not implemented.
const FIXED: &[(&str, &[&str])] = &[
    ("_class_name", &["\"AutoencoderKL\""]),
    ("act_fn", &["\"silu\"", "\"swish\""]),
    ("down_block_types", &["\"DownEncoderBlock2D\""]),
    ("up_block_types", &["\"UpDecoderBlock2D\""]),
    ("latents_mean", &["null"]),
    ("latents_std", &["null"]),
];

/// The keys of `config.json` that this implementation varies; the default is diffusers'.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Map<String, Value>")]
pub struct AutoencoderKlConfig {
    /// Channels of the images that are encoded.
    pub in_channels: usize,
    /// Channels of the images that are decoded.
    pub out_channels: usize,
    /// Channels of each level, highest resolution first; its length also says how often an image is halved.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks of each level (the decoder has one more).
    pub layers_per_block: usize,
    /// Channels of the latent.
    pub latent_channels: usize,
    /// Groups of every group normalisation.
    pub norm_num_groups: usize,
    /// Height and width of the images it was made for; information only.
    pub sample_size: Option<PerBlock<usize>>,
    /// Latents are multiplied by this for the U-Net.
    pub scaling_factor: f64,
    /// This is taken from latents before that.
    pub shift_factor: Option<f64>,
    /// Accepted and kept: a hint to run in f32.
    pub force_upcast: bool,
    /// A 1x1 convolution behind the encoder.
    pub use_quant_conv: bool,
    /// A 1x1 convolution in front of the decoder.
    pub use_post_quant_conv: bool,
    /// Attention in the middle blocks.
    pub mid_block_add_attention: bool,
}

impl Default for AutoencoderKlConfig {
    fn default() -> Self {
        Self {
            in_channels: 3,
            out_channels: 3,
            block_out_channels: vec![64],
            layers_per_block: 1,
            latent_channels: 4,
            norm_num_groups: 32,
            sample_size: Some(PerBlock::One(32)),
            scaling_factor: 0.18215,
            shift_factor: None,
            force_upcast: true,
            use_quant_conv: true,
            use_post_quant_conv: true,
            mid_block_add_attention: true,
        }
    }
}

impl TryFrom<Map<String, Value>> for AutoencoderKlConfig {
    type Error = ConfigError;

    fn try_from(keys: Map<String, Value>) -> Result<Self, ConfigError> {
        let keys = ConfigReader::new(CLASS, &keys);
        for (key, allowed) in FIXED {
            keys.only(key, allowed)?;
        }
        let d = Self::default();
        let config = Self {
            in_channels: keys.read("in_channels", d.in_channels)?,
            out_channels: keys.read("out_channels", d.out_channels)?,
            block_out_channels: keys.read("block_out_channels", d.block_out_channels)?,
            layers_per_block: keys.read("layers_per_block", d.layers_per_block)?,
            latent_channels: keys.read("latent_channels", d.latent_channels)?,
            norm_num_groups: keys.read("norm_num_groups", d.norm_num_groups)?,
            sample_size: keys.read("sample_size", d.sample_size)?,
            scaling_factor: keys.read("scaling_factor", d.scaling_factor)?,
            shift_factor: keys.read("shift_factor", d.shift_factor)?,
            force_upcast: keys.read::<Option<bool>>("force_upcast", Some(d.force_upcast))?.unwrap_or(false),
            use_quant_conv: keys.read("use_quant_conv", d.use_quant_conv)?,
            use_post_quant_conv: keys.read("use_post_quant_conv", d.use_post_quant_conv)?,
            mid_block_add_attention: keys.read("mid_block_add_attention", d.mid_block_add_attention)?,
        };
        let levels = config.block_out_channels.len();
        for key in ["down_block_types", "up_block_types"] {
            let types: Vec<String> = keys.read(key, vec![String::new(); if keys.has(key) { 0 } else { levels }])?;
            if types.len() != levels {
                return Err(keys.refuse(key, format!("must have as many entries as block_out_channels, {levels}")));
            }
        }
        config.validate()?;
        Ok(config)
    }
}

impl AutoencoderKlConfig {
    /// Reads a `config.json`. Keys that do not change the mathematics are ignored; values that would and are not
    /// implemented are refused.
    pub fn from_json(text: &str) -> Result<Self, ConfigError> {
        object(CLASS, text)?.try_into()
    }

    /// A `config.json` that diffusers reads.
    pub fn to_json(&self) -> String {
        let levels = self.block_out_channels.len();
        written(
            self,
            &[
                ("_class_name", json!(CLASS)),
                ("_diffusers_version", json!("0.30.0")),
                ("act_fn", json!("silu")),
                ("down_block_types", json!(vec!["DownEncoderBlock2D"; levels])),
                ("up_block_types", json!(vec!["UpDecoderBlock2D"; levels])),
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
        within("block_out_channels.len()", self.block_out_channels.len(), 1, 16)?;
        within("norm_num_groups", self.norm_num_groups, 1, 4096)?;
        for &channels in &self.block_out_channels {
            within("block_out_channels", channels, 1, 16384)?;
            if channels % self.norm_num_groups != 0 {
                let reason = format!("must be a multiple of norm_num_groups = {}", self.norm_num_groups);
                return refuse("block_out_channels", json!(channels), reason);
            }
        }
        within("in_channels", self.in_channels, 1, 1024)?;
        within("out_channels", self.out_channels, 1, 1024)?;
        within("latent_channels", self.latent_channels, 1, 1024)?;
        within("layers_per_block", self.layers_per_block, 1, 64)?;
        if !(self.scaling_factor.is_finite() && self.scaling_factor != 0.0) {
            return refuse("scaling_factor", json!(self.scaling_factor), "must be finite and not 0".to_owned());
        }
        match self.shift_factor {
            Some(shift) if !shift.is_finite() => refuse("shift_factor", json!(shift), "must be finite".to_owned()),
            _ => Ok(()),
        }
    }

    /// How much smaller a latent is than its image: `2^(levels - 1)`.
    pub fn downscale(&self) -> usize {
        1 << self.block_out_channels.len().saturating_sub(1)
    }
}
