//! The configuration of the text encoder: transformers' `text_encoder/config.json`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::config::{ConfigError, ConfigReader, object, written};

const CLASS: &str = "CLIPTextModel";
const PROJECTING: &str = "CLIPTextModelWithProjection";

/// Keys that are accepted with these values only: other values would require mathematics that is not implemented.
const FIXED: &[(&str, &[&str])] = &[
    ("model_type", &["\"clip_text_model\""]),
    ("architectures", &["null", "\"CLIPTextModel\"", "\"CLIPTextModelWithProjection\""]),
    ("attention_dropout", &["0"]),
    ("dropout", &["0"]),
    ("hidden_act", &["\"quick_gelu\"", "\"gelu\""]),
];

/// The activation of the feed-forward layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClipActivation {
    /// `x sigmoid(1.702 x)`.
    QuickGelu,
    /// The exact GELU.
    Gelu,
}

/// The keys of `config.json` that this implementation varies; the default is transformers'.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Map<String, Value>")]
pub struct ClipTextConfig {
    /// Number of tokens in the vocabulary.
    pub vocab_size: usize,
    /// Features of a token.
    pub hidden_size: usize,
    /// Features inside feed-forward layers.
    pub intermediate_size: usize,
    /// Features of `text_embeds`.
    pub projection_dim: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Heads of each layer.
    pub num_attention_heads: usize,
    /// Longest text, in tokens.
    pub max_position_embeddings: usize,
    /// Activation of the feed-forward layers.
    pub hidden_act: ClipActivation,
    /// Epsilon of every normalisation.
    pub layer_norm_eps: f64,
    /// Deviation of initial weights is multiplied by this.
    pub initializer_factor: f64,
    /// Id that fills a text up; information only.
    pub pad_token_id: Option<usize>,
    /// Id that begins a text; information only.
    pub bos_token_id: Option<usize>,
    /// Id that ends a text, for pooling; see [`ClipTextModel::pool`].
    pub eos_token_id: usize,
    /// Whether the class is `CLIPTextModelWithProjection`, said by `architectures`.
    #[serde(skip)]
    pub with_projection: bool,
}

impl Default for ClipTextConfig {
    fn default() -> Self {
        Self {
            vocab_size: 49408,
            hidden_size: 512,
            intermediate_size: 2048,
            projection_dim: 512,
            num_hidden_layers: 12,
            num_attention_heads: 8,
            max_position_embeddings: 77,
            hidden_act: ClipActivation::QuickGelu,
            layer_norm_eps: 1e-5,
            initializer_factor: 1.0,
            pad_token_id: Some(1),
            bos_token_id: Some(49406),
            eos_token_id: 49407,
            with_projection: false,
        }
    }
}

impl TryFrom<Map<String, Value>> for ClipTextConfig {
    type Error = ConfigError;

    fn try_from(keys: Map<String, Value>) -> Result<Self, ConfigError> {
        let keys = ConfigReader::new(CLASS, &keys);
        if keys.has("text_config") {
            return Err(keys.refuse("text_config", "configures a whole CLIP; only its text encoder is implemented"));
        }
        for (key, allowed) in FIXED {
            keys.only(key, allowed)?;
        }
        let d = Self::default();
        let architectures: Option<Vec<String>> = keys.read("architectures", None)?;
        let config = Self {
            vocab_size: keys.read("vocab_size", d.vocab_size)?,
            hidden_size: keys.read("hidden_size", d.hidden_size)?,
            intermediate_size: keys.read("intermediate_size", d.intermediate_size)?,
            projection_dim: keys.read("projection_dim", d.projection_dim)?,
            num_hidden_layers: keys.read("num_hidden_layers", d.num_hidden_layers)?,
            num_attention_heads: keys.read("num_attention_heads", d.num_attention_heads)?,
            max_position_embeddings: keys.read("max_position_embeddings", d.max_position_embeddings)?,
            hidden_act: keys.read("hidden_act", d.hidden_act)?,
            layer_norm_eps: keys.read("layer_norm_eps", d.layer_norm_eps)?,
            initializer_factor: keys.read("initializer_factor", d.initializer_factor)?,
            pad_token_id: keys.read("pad_token_id", d.pad_token_id)?,
            bos_token_id: keys.read("bos_token_id", d.bos_token_id)?,
            eos_token_id: keys.read("eos_token_id", d.eos_token_id)?,
            with_projection: architectures.is_some_and(|names| names.iter().any(|name| name == PROJECTING)),
        };
        config.validate()?;
        Ok(config)
    }
}

impl ClipTextConfig {
    /// Reads a `config.json`. Keys that do not change the mathematics are ignored; values that would and are not
    /// implemented are refused.
    pub fn from_json(text: &str) -> Result<Self, ConfigError> {
        object(CLASS, text)?.try_into()
    }

    /// A `config.json` that transformers reads.
    pub fn to_json(&self) -> String {
        let class = if self.with_projection { PROJECTING } else { CLASS };
        written(
            self,
            &[
                ("architectures", json!([class])),
                ("model_type", json!("clip_text_model")),
                ("torch_dtype", json!("float32")),
                ("attention_dropout", json!(0.0)),
            ],
        )
    }

    /// Whether the sizes fit together; what [`Self::from_json`] returns has passed.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let refuse =
            |key: &str, value: Value, reason: String| Err(ConfigError::Key { config: CLASS, key: key.to_owned(), value: value.to_string(), reason });
        for (key, value, high) in [
            ("vocab_size", self.vocab_size, 1 << 22),
            ("hidden_size", self.hidden_size, 16384),
            ("intermediate_size", self.intermediate_size, 65536),
            ("projection_dim", self.projection_dim, 65536),
            ("num_attention_heads", self.num_attention_heads, 16384),
            ("max_position_embeddings", self.max_position_embeddings, 65536),
            ("num_hidden_layers", self.num_hidden_layers, 512),
        ] {
            if !(1..=high).contains(&value) {
                return refuse(key, json!(value), format!("must be within 1..={high}"));
            }
        }
        if !self.hidden_size.is_multiple_of(self.num_attention_heads) {
            let reason = format!("must divide hidden_size = {}", self.hidden_size);
            return refuse("num_attention_heads", json!(self.num_attention_heads), reason);
        }
        if self.eos_token_id >= 1 << 31 {
            return refuse("eos_token_id", json!(self.eos_token_id), "must be below 2^31".to_owned());
        }
        for (key, value) in [("layer_norm_eps", self.layer_norm_eps), ("initializer_factor", self.initializer_factor)] {
            if !(value.is_finite() && value > 0.0) {
                return refuse(key, json!(value), "must be positive".to_owned());
            }
        }
        Ok(())
    }
}
