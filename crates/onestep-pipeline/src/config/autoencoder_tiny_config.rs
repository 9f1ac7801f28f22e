//! The configuration of the small autoencoder TAESD: diffusers' `vae/config.json` of the class `AutoencoderTiny`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::config::{ConfigError, ConfigReader, object, written};

const CLASS: &str = "AutoencoderTiny";

/// Keys that are accepted with these values only: other values would require mathematics that is not implemented.
const FIXED: &[(&str, &[&str])] = &[
    ("_class_name", &["\"AutoencoderTiny\""]),
    ("act_fn", &["\"relu\""]),
    ("upsample_fn", &["\"nearest\""]),
    ("upsampling_scaling_factor", &["2"]),
    ("shift_factor", &["0", "null"]),
];

/// The keys of `config.json` that this implementation varies; the default is diffusers'.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Map<String, Value>")]
pub struct AutoencoderTinyConfig {
    /// Channels of the images that are encoded.
    pub in_channels: usize,
    /// Channels of the images that are decoded.
    pub out_channels: usize,
    /// Channels of the encoder's levels, highest resolution first.
    pub encoder_block_out_channels: Vec<usize>,
    /// Channels of the decoder's levels, lowest resolution first.
    pub decoder_block_out_channels: Vec<usize>,
    /// Channels of the latent.
    pub latent_channels: usize,
    /// Blocks of each of the encoder's levels.
    pub num_encoder_blocks: Vec<usize>,
    /// Blocks of each of the decoder's levels.
    pub num_decoder_blocks: Vec<usize>,
    /// Latents are divided by twice this where they are stored as images.
    pub latent_magnitude: f64,
    /// This is added to latents where they are stored as images.
    pub latent_shift: f64,
    /// Latents are multiplied by this for the U-Net.
    pub scaling_factor: f64,
    /// Accepted and kept: a hint to run in f32.
    pub force_upcast: bool,
}

impl Default for AutoencoderTinyConfig {
    fn default() -> Self {
        Self {
            in_channels: 3,
            out_channels: 3,
            encoder_block_out_channels: vec![64; 4],
            decoder_block_out_channels: vec![64; 4],
            latent_channels: 4,
            num_encoder_blocks: vec![1, 3, 3, 3],
            num_decoder_blocks: vec![3, 3, 3, 1],
            latent_magnitude: 3.0,
            latent_shift: 0.5,
            scaling_factor: 1.0,
            force_upcast: false,
        }
    }
}

impl TryFrom<Map<String, Value>> for AutoencoderTinyConfig {
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
            encoder_block_out_channels: keys.read("encoder_block_out_channels", d.encoder_block_out_channels)?,
            decoder_block_out_channels: keys.read("decoder_block_out_channels", d.decoder_block_out_channels)?,
            latent_channels: keys.read("latent_channels", d.latent_channels)?,
            num_encoder_blocks: keys.read("num_encoder_blocks", d.num_encoder_blocks)?,
            num_decoder_blocks: keys.read("num_decoder_blocks", d.num_decoder_blocks)?,
            latent_magnitude: keys.read("latent_magnitude", d.latent_magnitude)?,
            latent_shift: keys.read("latent_shift", d.latent_shift)?,
            scaling_factor: keys.read("scaling_factor", d.scaling_factor)?,
            force_upcast: keys.read("force_upcast", d.force_upcast)?,
        };
        config.validate()?;
        Ok(config)
    }
}

impl AutoencoderTinyConfig {
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
                ("act_fn", json!("relu")),
                ("upsample_fn", json!("nearest")),
                ("upsampling_scaling_factor", json!(2)),
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
        for (key, channels, blocks_key, blocks) in [
            ("encoder_block_out_channels", &self.encoder_block_out_channels, "num_encoder_blocks", &self.num_encoder_blocks),
            ("decoder_block_out_channels", &self.decoder_block_out_channels, "num_decoder_blocks", &self.num_decoder_blocks),
        ] {
            within(&format!("{key}.len()"), channels.len(), 1, 16)?;
            if blocks.len() != channels.len() {
                return refuse(blocks_key, json!(blocks), format!("must have as many entries as {key}, {}", channels.len()));
            }
            channels.iter().try_for_each(|&channels| within(key, channels, 1, 16384))?;
            blocks.iter().try_for_each(|&blocks| within(blocks_key, blocks, 1, 64))?;
        }
        if self.encoder_block_out_channels.len() != self.decoder_block_out_channels.len() {
            let reason = format!("must have as many entries as encoder_block_out_channels, {}", self.encoder_block_out_channels.len());
            return refuse("decoder_block_out_channels", json!(self.decoder_block_out_channels), reason);
        }
        within("in_channels", self.in_channels, 1, 1024)?;
        within("out_channels", self.out_channels, 1, 1024)?;
        within("latent_channels", self.latent_channels, 1, 1024)?;
        for (key, value) in [("scaling_factor", self.scaling_factor), ("latent_magnitude", self.latent_magnitude)] {
            if !(value.is_finite() && value != 0.0) {
                return refuse(key, json!(value), "must be finite and not 0".to_owned());
            }
        }
        if !self.latent_shift.is_finite() {
            return refuse("latent_shift", json!(self.latent_shift), "must be finite".to_owned());
        }
        Ok(())
    }

    /// How much smaller a latent is than its image: `2^(levels - 1)`.
    pub fn downscale(&self) -> usize {
        1 << self.encoder_block_out_channels.len().saturating_sub(1)
    }
}
