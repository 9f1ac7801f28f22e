//! The configuration of the image encoder: transformers' `vision_config` of a whole CLIP.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use onestep_pipeline::config::{ClipActivation, ConfigError, ConfigReader};

const CLASS: &str = "CLIPVisionModel";

/// Keys that are accepted with these values only: other values would require mathematics that is not implemented.
const FIXED: &[(&str, &[&str])] = &[
    ("model_type", &["\"clip_vision_model\""]),
    ("attention_dropout", &["0"]),
    ("dropout", &["0"]),
    ("hidden_act", &["\"quick_gelu\"", "\"gelu\""]),
    ("architectures", &["null", "\"CLIPVisionModel\"", "\"CLIPVisionModelWithProjection\""]),
];

/// The keys of `vision_config` that this implementation varies; the default is transformers'.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Map<String, Value>")]
pub struct ClipVisionConfig {
    /// Features of a patch.
    pub hidden_size: usize,
    /// Features inside feed-forward layers.
    pub intermediate_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Heads of each layer.
    pub num_attention_heads: usize,
    /// Channels of the images.
    pub num_channels: usize,
    /// Height and width of the images; no other size is taken.
    pub image_size: usize,
    /// Height and width of a patch.
    pub patch_size: usize,
    /// Activation of the feed-forward layers.
    pub hidden_act: ClipActivation,
    /// Epsilon of every normalisation.
    pub layer_norm_eps: f64,
    /// Deviation of fresh embeddings.
    pub initializer_range: f64,
    /// Deviation of initial weights is multiplied by this.
    pub initializer_factor: f64,
}

impl Default for ClipVisionConfig {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            num_channels: 3,
            image_size: 224,
            patch_size: 32,
            hidden_act: ClipActivation::QuickGelu,
            layer_norm_eps: 1e-5,
            initializer_range: 0.02,
            initializer_factor: 1.0,
        }
    }
}

impl TryFrom<Map<String, Value>> for ClipVisionConfig {
    type Error = ConfigError;

    fn try_from(keys: Map<String, Value>) -> Result<Self, ConfigError> {
        let keys = ConfigReader::new(CLASS, &keys);
        for (key, allowed) in FIXED {
            keys.only(key, allowed)?;
        }
        let d = Self::default();
        let config = Self {
            hidden_size: keys.read("hidden_size", d.hidden_size)?,
            intermediate_size: keys.read("intermediate_size", d.intermediate_size)?,
            num_hidden_layers: keys.read("num_hidden_layers", d.num_hidden_layers)?,
            num_attention_heads: keys.read("num_attention_heads", d.num_attention_heads)?,
            num_channels: keys.read("num_channels", d.num_channels)?,
            image_size: keys.read("image_size", d.image_size)?,
            patch_size: keys.read("patch_size", d.patch_size)?,
            hidden_act: keys.read("hidden_act", d.hidden_act)?,
            layer_norm_eps: keys.read("layer_norm_eps", d.layer_norm_eps)?,
            initializer_range: keys.read("initializer_range", d.initializer_range)?,
            initializer_factor: keys.read("initializer_factor", d.initializer_factor)?,
        };
        config.validate()?;
        Ok(config)
    }
}

impl ClipVisionConfig {
    /// Whether the sizes fit together; what was read from a file has passed.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let refuse =
            |key: &str, value: Value, reason: String| Err(ConfigError::Key { config: CLASS, key: key.to_owned(), value: value.to_string(), reason });
        for (key, value, high) in [
            ("hidden_size", self.hidden_size, 16384),
            ("intermediate_size", self.intermediate_size, 65536),
            ("num_attention_heads", self.num_attention_heads, 16384),
            ("num_hidden_layers", self.num_hidden_layers, 512),
            ("num_channels", self.num_channels, 1024),
            ("image_size", self.image_size, 4096),
            ("patch_size", self.patch_size, self.image_size),
        ] {
            if !(1..=high).contains(&value) {
                return refuse(key, json!(value), format!("must be within 1..={high}"));
            }
        }
        if !self.hidden_size.is_multiple_of(self.num_attention_heads) {
            let reason = format!("must divide hidden_size = {}", self.hidden_size);
            return refuse("num_attention_heads", json!(self.num_attention_heads), reason);
        }
        for (key, value) in
            [("layer_norm_eps", self.layer_norm_eps), ("initializer_range", self.initializer_range), ("initializer_factor", self.initializer_factor)]
        {
            if !(value.is_finite() && value > 0.0) {
                return refuse(key, json!(value), "must be positive".to_owned());
            }
        }
        Ok(())
    }

    /// Patches of an image; a rest at the right and at the bottom that fills no patch is not seen.
    pub fn patches(&self) -> usize {
        (self.image_size / self.patch_size).pow(2)
    }
}
