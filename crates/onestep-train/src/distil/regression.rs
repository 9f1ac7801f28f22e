//! How far the student's latent is from the teacher's: the distances of the paper's loss ablation (section 4.2).

use burn::tensor::{Device, Tensor};
use onestep_nets::{AutoencoderKl, LatentLpipsConfig, LatentScaling, MetricSpace};
use serde::{Deserialize, Serialize};

use super::DistilOptions;
use crate::{
    error::{TrainError, TrainErrorKind},
    latent_metric::{
        augmentation::AugmentationOptions,
        ensemble::{self, EnsembleOptions},
        metric_file::Metric,
    },
    pipeline_folder::PipelineFolder,
};

/// Which distance leads the student.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DistanceKind {
    /// Mean squared difference of latents.
    Mse,
    /// `√(‖x̂ − x‖² + k²) − k`, k = 0.00054·√d for d elements: squared near the target, absolute far from it.
    PseudoHuber,
    /// LPIPS of decoded images.
    PixelLpips,
    /// LPIPS of latents.
    LatentLpips,
    /// LPIPS of latents behind one random change of both.
    ELatentLpips,
}

/// Names that the command line takes, in the order of the paper's table.
pub const DISTANCES: [(&str, DistanceKind); 5] = [
    ("mse", DistanceKind::Mse),
    ("pseudo-huber", DistanceKind::PseudoHuber),
    ("pixel-lpips", DistanceKind::PixelLpips),
    ("latent-lpips", DistanceKind::LatentLpips),
    ("e-latent-lpips", DistanceKind::ELatentLpips),
];

/// Share of √d at which the pseudo-Huber distance turns from squared to absolute, as in consistency training.
const HUBER: f64 = 0.00054;

/// A distance with what it needs.
pub struct Distance {
    kind: DistanceKind,
    metric: Option<Metric>,
    ensemble: EnsembleOptions,
    seed: u64,
}

impl Distance {
    /// Opens the metric where the distance has one; on an autodiff device.
    ///
    /// # Errors
    /// A metric that is missing, of another autoencoder, or of pixels where latents are compared.
    pub fn open(options: &DistilOptions, teacher: &PipelineFolder, device: &Device) -> Result<Self, TrainError> {
        let DistilOptions { distance: kind, metric, ensemble, .. } = options;
        let (kind, seed) = (*kind, options.training.seed);
        ensemble.augmentation.check()?;
        let needed = match kind {
            DistanceKind::Mse | DistanceKind::PseudoHuber => None,
            DistanceKind::PixelLpips => Some(MetricSpace::Pixel),
            DistanceKind::LatentLpips | DistanceKind::ELatentLpips => Some(MetricSpace::Latent),
        };
        let Some(space) = needed else { return Ok(Self { kind, metric: None, ensemble: ensemble.clone(), seed }) };
        if metric.as_os_str().is_empty() {
            let message = "this distance needs a metric: give --metric DIR, made by onestep train latent-vgg (with --space pixel for pixel-lpips)";
            return Err(TrainError::new(TrainErrorKind::Usage, message));
        }
        let metric = Metric::open(metric, options.encoder.as_deref(), device)?;
        if metric.config.space != space {
            let message = format!("--metric is a metric of {:?}s, this distance needs one of {space:?}s", metric.config.space).to_lowercase();
            return Err(TrainError::input(message));
        }
        let (own, latent) = (teacher.encoder_name()?, teacher.sizes()?.latent);
        if space == MetricSpace::Latent && metric.config.in_channels != latent[0] {
            return Err(TrainError::input(format!(
                "the metric is for latents of {} channels ({}), the teacher's have {}: train one with onestep train latent-vgg",
                metric.config.in_channels, metric.config.encoder, latent[0]
            )));
        }
        let published = LatentLpipsConfig::published(&metric.config.encoder).is_some();
        // Of a published metric's encoder there are many copies, whose hashes nobody knows; their scaling tells them from others.
        let (scaling, LatentScaling { shift, factor }) = (metric.config.scaling, teacher.latent_scaling()?);
        let fits =
            if published { (scaling.shift - shift).abs() < 1e-4 && (scaling.factor - factor).abs() < 1e-4 } else { metric.config.encoder == own };
        if space == MetricSpace::Latent && !fits {
            return Err(TrainError::input(format!(
                "the metric is for latents of {} (shift {}, factor {}), the teacher's autoencoder is {own} (shift {shift}, factor {factor}): train one \
                 with onestep train latent-vgg",
                metric.config.encoder, scaling.shift, scaling.factor
            )));
        }
        Ok(Self { kind, metric: Some(metric), ensemble: ensemble.clone(), seed })
    }

    /// A hash of the metric; empty where there is none.
    pub fn hash(&self) -> String {
        self.metric.as_ref().map(Metric::hash).unwrap_or_default()
    }

    /// The mean distance of latents [N,C,H,W]: [1]. `draw` numbers the random change, `vae` decodes where images are compared.
    pub fn mean(&self, student: Tensor<4>, teacher: Tensor<4>, draw: u64, vae: &AutoencoderKl) -> Tensor<1> {
        let [batch, channels, rows, columns] = student.dims();
        let device = student.device();
        match (self.kind, &self.metric) {
            (DistanceKind::PseudoHuber, _) => {
                let elements = (channels * rows * columns) as f64;
                let k = HUBER * elements.sqrt();
                let squared = (student - teacher).square().reshape([batch, channels * rows * columns]).sum_dim(1);
                squared.add_scalar(k * k).sqrt().sub_scalar(k).mean()
            }
            (DistanceKind::PixelLpips, Some(metric)) => {
                let decode = |x: Tensor<4>| vae.decode(vae.from_model_space(x));
                metric.net.forward(decode(student), decode(teacher)).mean()
            }
            (DistanceKind::LatentLpips, Some(metric)) => {
                let nothing = AugmentationOptions { groups: String::new(), ..AugmentationOptions::default() };
                ensemble::distance(&metric.net, &nothing.draw(0, 0, batch, [rows, columns], &device), self.ensemble.absolute, student, teacher).mean()
            }
            (DistanceKind::ELatentLpips, Some(metric)) => {
                let draw = self.ensemble.augmentation.draw(self.seed, draw, batch, [rows, columns], &device);
                ensemble::distance(&metric.net, &draw, self.ensemble.absolute, student, teacher).mean()
            }
            _ => (student - teacher).square().mean(),
        }
    }
}
