//! The configuration of a whole CLIP: transformers' `config.json`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::ClipVisionConfig;
use onestep_pipeline::config::{ClipTextConfig, ConfigError, ConfigReader, object, written};

const CLASS: &str = "CLIPModel";

/// Keys that are accepted with these values only: other values would require mathematics that is not implemented.
const FIXED: &[(&str, &[&str])] = &[("model_type", &["\"clip\""]), ("architectures", &["null", "\"CLIPModel\""])];

/// The keys of `config.json` that this implementation varies; the default is transformers'.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Map<String, Value>")]
pub struct ClipConfig {
    /// Of the text encoder; its `projection_dim` and `with_projection` say nothing here.
    pub text_config: ClipTextConfig,
    /// Of the image encoder.
    pub vision_config: ClipVisionConfig,
    /// Features of what texts and images are compared by.
    pub projection_dim: usize,
    /// `logit_scale` of a fresh network.
    pub logit_scale_init_value: f64,
    /// Deviation of initial projections is multiplied by this.
    pub initializer_factor: f64,
}

impl Default for ClipConfig {
    fn default() -> Self {
        Self {
            text_config: ClipTextConfig::default(),
            vision_config: ClipVisionConfig::default(),
            projection_dim: 512,
            logit_scale_init_value: 2.6592,
            initializer_factor: 1.0,
        }
    }
}

impl TryFrom<Map<String, Value>> for ClipConfig {
    type Error = ConfigError;

    fn try_from(keys: Map<String, Value>) -> Result<Self, ConfigError> {
        let keys = ConfigReader::new(CLASS, &keys);
        for (key, allowed) in FIXED {
            keys.only(key, allowed)?;
        }
        // transformers replaces each `…_config` by its older form `…_config_dict` where a file has both.
        let part = |key: &str, former: &str| match keys.read::<Option<Map<String, Value>>>(former, None)? {
            Some(part) => Ok(part),
            None => keys.read::<Option<Map<String, Value>>>(key, None).map(Option::unwrap_or_default),
        };
        let d = Self::default();
        let config = Self {
            text_config: part("text_config", "text_config_dict")?.try_into()?,
            vision_config: part("vision_config", "vision_config_dict")?.try_into()?,
            projection_dim: keys.read("projection_dim", d.projection_dim)?,
            logit_scale_init_value: keys.read("logit_scale_init_value", d.logit_scale_init_value)?,
            initializer_factor: keys.read("initializer_factor", d.initializer_factor)?,
        };
        config.validate()?;
        Ok(config)
    }
}

impl ClipConfig {
    /// Reads a `config.json`. Keys that do not change the mathematics are ignored; values that would and are not
    /// implemented are refused.
    pub fn from_json(text: &str) -> Result<Self, ConfigError> {
        object(CLASS, text)?.try_into()
    }

    /// A `config.json` that transformers reads.
    pub fn to_json(&self) -> String {
        written(self, &[("architectures", json!([CLASS])), ("model_type", json!("clip")), ("torch_dtype", json!("float32"))])
    }

    /// Whether the sizes fit together; what [`Self::from_json`] returns has passed.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.text_config.validate()?;
        self.vision_config.validate()?;
        let refuse = |key: &str, value: Value, reason: &str| {
            Err(ConfigError::Key { config: CLASS, key: key.to_owned(), value: value.to_string(), reason: reason.to_owned() })
        };
        if !(1..=65536).contains(&self.projection_dim) {
            return refuse("projection_dim", json!(self.projection_dim), "must be within 1..=65536");
        }
        if !self.logit_scale_init_value.is_finite() {
            return refuse("logit_scale_init_value", json!(self.logit_scale_init_value), "must be finite");
        }
        if !(self.initializer_factor.is_finite() && self.initializer_factor > 0.0) {
            return refuse("initializer_factor", json!(self.initializer_factor), "must be positive");
        }
        Ok(())
    }
}
