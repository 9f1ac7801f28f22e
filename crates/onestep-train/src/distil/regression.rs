//! The distance between the latents of student and teacher: the losses of the ablation of Diffusion2GAN (section 4.2).

use burn::tensor::{Device, Tensor};
use onestep_nets::{Decoder, LatentLpipsConfig, LatentScaling, MetricSpace};

use super::options::{DistanceKind, DistilOptions};
use crate::{
    error::{TrainError, TrainErrorKind},
    latent_metric::{
        e_latent_lpips::{self, ELatentLpipsOptions},
        metric_file::Metric,
    },
    pipeline_folder::PipelineFolder,
};

/// `k/√d` of the pseudo-Huber distance, as in improved consistency training (Song and Dhariwal 2023).
const HUBER: f64 = 0.00054;

/// A distance with its metric.
pub struct Distance {
    kind: DistanceKind,
    metric: Option<Metric>,
    e_latent_lpips: ELatentLpipsOptions,
    seed: u64,
}

impl Distance {
    /// Opens the metric if the distance has one. `device` is an autodiff device.
    ///
    /// # Errors
    /// A metric that is missing, of another autoencoder, or of images although the distance compares latents (or the reverse).
    pub fn open(options: &DistilOptions, teacher: &PipelineFolder, device: &Device) -> Result<Self, TrainError> {
        let DistilOptions { distance: kind, metric, e_latent_lpips, .. } = options;
        let (kind, seed) = (*kind, options.training.seed);
        e_latent_lpips.augmentation.check()?;
        let needed = match kind {
            DistanceKind::Mse | DistanceKind::PseudoHuber => None,
            DistanceKind::PixelLpips => Some(MetricSpace::Pixel),
            DistanceKind::LatentLpips | DistanceKind::ELatentLpips => Some(MetricSpace::Latent),
        };
        let Some(space) = needed else { return Ok(Self { kind, metric: None, e_latent_lpips: e_latent_lpips.clone(), seed }) };
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
        // A published metric names a published autoencoder, of which there are many copies with unknown hashes: compare the latent scaling instead.
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
        Ok(Self { kind, metric: Some(metric), e_latent_lpips: e_latent_lpips.clone(), seed })
    }

    /// A hash of the metric; empty for distances without one.
    pub fn hash(&self) -> String {
        self.metric.as_ref().map(Metric::hash).unwrap_or_default()
    }

    /// The mean distance of latents [N,C,H,W]: [1].
    ///
    /// `index` numbers the random augmentation of E-LatentLPIPS; `decoder` decodes the latents for LPIPS of images.
    pub fn mean(&self, student: Tensor<4>, teacher: Tensor<4>, index: u64, decoder: &Decoder) -> Tensor<1> {
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
                let decode = |x: Tensor<4>| decoder.forward(x);
                metric.net.forward(decode(student), decode(teacher)).mean()
            }
            (DistanceKind::LatentLpips, Some(metric)) => {
                e_latent_lpips::distance(&metric.net, None, self.e_latent_lpips.absolute, student, teacher).mean()
            }
            (DistanceKind::ELatentLpips, Some(metric)) => {
                let augmentation = self.e_latent_lpips.augmentation.sample(self.seed, index, batch, [rows, columns], &device);
                e_latent_lpips::distance(&metric.net, Some(&augmentation), self.e_latent_lpips.absolute, student, teacher).mean()
            }
            _ => (student - teacher).square().mean(),
        }
    }
}
