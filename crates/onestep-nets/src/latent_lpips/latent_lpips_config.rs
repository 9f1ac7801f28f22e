//! The configuration of LatentLPIPS.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use onestep_pipeline::config::{ConfigError, parse};

const CLASS: &str = "LatentLpips";

/// Number of features that are compared.
pub const FEATURES: usize = 5;

/// Largest number of channels of a latent or a stage; the full network has 512.
const LARGEST: usize = 16384;

/// The normalisation after every convolution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NormKind {
    /// Batch norms with statistics that are fixed after training, as in the published metrics.
    #[default]
    Batch,
    /// Group norms of at most 32 groups, which need no statistics. The metric is insensitive to a scale of a whole latent, and of a channel if
    /// each channel is a group.
    Group,
}

/// The space in which the metric compares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetricSpace {
    /// Latents, without VGG's first three poolings.
    #[default]
    Latent,
    /// Images in −1…1, with all poolings and the features before them, as in LPIPS. The weights are trained by onestep: they are not those of the
    /// published LPIPS, and there is no scaling layer.
    Pixel,
}

/// From an encoder's raw output to the model's latents: `(x - shift) · factor`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LatentScaling {
    /// Subtracted first.
    pub shift: f64,
    /// Multiplied afterwards.
    pub factor: f64,
}

impl LatentScaling {
    /// Model-space latents of an encoder's raw output.
    pub fn apply<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        x.sub_scalar(self.shift).mul_scalar(self.factor)
    }
}

/// The configuration of a metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LatentLpipsConfig {
    /// The autoencoder that the latents come from: `sd15`, `sd21`, `sdxl`, `sd3`, `flux`, or the hash of an autoencoder's files.
    pub encoder: String,
    /// The space in which it compares.
    #[serde(default)]
    pub space: MetricSpace,
    /// Channels of a latent.
    pub in_channels: usize,
    /// Channels of the five stages; 64, 128, 256, 512, 512 in full.
    pub widths: [usize; FEATURES],
    /// The normalisation.
    pub norm: NormKind,
    /// The scaling from the encoder's raw output to the metric's input.
    pub scaling: LatentScaling,
}

/// The published metrics: encoder, channels, shift, factor (method of the official package, `normalize`).
const PUBLISHED: &[(&str, usize, f64, f64)] =
    &[("sd15", 4, 0.0, 0.18215), ("sd21", 4, 0.0, 0.18215), ("sdxl", 4, 0.0, 0.13025), ("sd3", 16, 0.0609, 1.5305), ("flux", 16, 0.1159, 0.3611)];

impl LatentLpipsConfig {
    /// The widths of the full network.
    pub const FULL: [usize; FEATURES] = [64, 128, 256, 512, 512];
    /// Half of these widths, which is enough for latents of 16x16.
    pub const HALF: [usize; FEATURES] = [32, 64, 128, 256, 256];

    /// The encoders for which published metrics exist.
    pub fn published_encoders() -> impl Iterator<Item = &'static str> {
        PUBLISHED.iter().map(|encoder| encoder.0)
    }

    /// The published metric of an encoder.
    pub fn published(encoder: &str) -> Option<Self> {
        let &(name, in_channels, shift, factor) = PUBLISHED.iter().find(|published| published.0 == encoder)?;
        Some(Self {
            encoder: name.into(),
            space: MetricSpace::Latent,
            in_channels,
            widths: Self::FULL,
            norm: NormKind::Batch,
            scaling: LatentScaling { shift, factor },
        })
    }

    /// Reads `config.json`.
    ///
    /// # Errors
    /// Text that is not JSON, unknown or missing keys, sizes out of range.
    pub fn from_json(text: &str) -> Result<Self, ConfigError> {
        let config: Self = parse(CLASS, text)?;
        let sizes = config.widths.iter().map(|width| ("widths", *width)).chain([("in_channels", config.in_channels)]);
        for (key, size) in sizes {
            if !(1..=LARGEST).contains(&size) {
                let reason = format!("must be within 1..={LARGEST}");
                return Err(ConfigError::Key { config: CLASS, key: key.into(), value: size.to_string(), reason });
            }
        }
        if !(config.scaling.shift.is_finite() && config.scaling.factor.is_finite() && config.scaling.factor != 0.0) {
            let value = format!("{:?}", config.scaling);
            return Err(ConfigError::Key { config: CLASS, key: "scaling".into(), value, reason: "must be finite, and the factor not 0".into() });
        }
        Ok(config)
    }

    /// The configuration as JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}
