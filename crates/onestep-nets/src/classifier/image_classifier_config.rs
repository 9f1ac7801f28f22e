//! The configuration of the classifier: its `config.json`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use onestep_pipeline::config::{ConfigError, ConfigReader, object, written};

const CLASS: &str = "ImageClassifier";

/// The keys of `config.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Map<String, Value>")]
pub struct ImageClassifierConfig {
    /// Channels of an image.
    pub in_channels: usize,
    /// Side of the images that it is trained on, in pixels.
    pub sample_size: usize,
    /// Channels of each level; every level halves the side.
    pub block_out_channels: Vec<usize>,
    /// Convolutions of each level, the one that halves among them.
    pub layers_per_block: usize,
    /// Groups of every normalisation.
    pub norm_num_groups: usize,
    /// Features of an image.
    pub feature_size: usize,
    /// What it tells apart: the name of each class.
    pub names: Vec<String>,
}

impl Default for ImageClassifierConfig {
    fn default() -> Self {
        Self {
            in_channels: 3,
            sample_size: 64,
            block_out_channels: vec![24, 48, 96, 128],
            layers_per_block: 1,
            norm_num_groups: 8,
            feature_size: 128,
            names: Vec::new(),
        }
    }
}

impl TryFrom<Map<String, Value>> for ImageClassifierConfig {
    type Error = ConfigError;

    fn try_from(keys: Map<String, Value>) -> Result<Self, ConfigError> {
        let keys = ConfigReader::new(CLASS, &keys);
        keys.only("_class_name", &["\"ImageClassifier\""])?;
        let d = Self::default();
        let config = Self {
            in_channels: keys.read("in_channels", d.in_channels)?,
            sample_size: keys.read("sample_size", d.sample_size)?,
            block_out_channels: keys.read("block_out_channels", d.block_out_channels)?,
            layers_per_block: keys.read("layers_per_block", d.layers_per_block)?,
            norm_num_groups: keys.read("norm_num_groups", d.norm_num_groups)?,
            feature_size: keys.read("feature_size", d.feature_size)?,
            names: keys.read("names", d.names)?,
        };
        config.validate()?;
        Ok(config)
    }
}

impl ImageClassifierConfig {
    /// Reads a `config.json`.
    ///
    /// # Errors
    /// Names the key at fault.
    pub fn from_json(text: &str) -> Result<Self, ConfigError> {
        object(CLASS, text)?.try_into()
    }

    /// A `config.json` that [`Self::from_json`] reads.
    pub fn to_json(&self) -> String {
        written(self, &[("_class_name", json!(CLASS))])
    }

    /// Whether the sizes fit together; what [`Self::from_json`] returns has passed.
    ///
    /// # Errors
    /// Names the key at fault.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let refuse =
            |key: &str, value: Value, reason: String| Err(ConfigError::Key { config: CLASS, key: key.to_owned(), value: value.to_string(), reason });
        for (key, value, low, high) in [
            ("in_channels", self.in_channels, 1, 1024),
            ("sample_size", self.sample_size, 1, 4096),
            ("block_out_channels.len()", self.block_out_channels.len(), 1, 16),
            ("layers_per_block", self.layers_per_block, 1, 64),
            ("norm_num_groups", self.norm_num_groups, 1, 4096),
            ("feature_size", self.feature_size, 1, 65536),
            ("names.len()", self.names.len(), 2, 1 << 20),
        ] {
            if !(low..=high).contains(&value) {
                return refuse(key, json!(value), format!("must be within {low}..={high}"));
            }
        }
        for &channels in &self.block_out_channels {
            if !(1..=16384).contains(&channels) || !channels.is_multiple_of(self.norm_num_groups) {
                let reason = format!("must be within 1..=16384 and a multiple of norm_num_groups = {}", self.norm_num_groups);
                return refuse("block_out_channels", json!(channels), reason);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_does_not_fit_is_named() {
        let config = ImageClassifierConfig { names: vec!["a".into(), "b".into()], ..ImageClassifierConfig::default() };
        assert_eq!(ImageClassifierConfig::from_json(&config.to_json()).unwrap(), config);
        for (key, value) in [
            ("names", json!(["a"])),
            ("block_out_channels", json!([20])),
            ("feature_size", json!(0)),
            ("sample_size", json!("64")),
            ("_class_name", json!("InceptionV3")),
        ] {
            let mut text: Value = serde_json::from_str(&config.to_json()).unwrap();
            text[key] = value;
            let error = ImageClassifierConfig::from_json(&text.to_string()).unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
    }
}
