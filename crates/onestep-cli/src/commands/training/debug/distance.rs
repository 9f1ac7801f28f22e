//! `onestep debug distance`: LatentLPIPS between given latents.

use std::path::PathBuf;

use onestep_train::latent_metric::distance::{DistanceOptions, measure};
use onestep_train::latent_metric::latent_augmentation::{AugmentationKinds, LatentAugmentationOptions};
use serde_json::json;

use crate::commands::training::interrupt;
use crate::commands::training::progress::Progress;
use crate::exit::Failure;
use crate::output;
use crate::shared::Shared;

/// Measure LatentLPIPS between latents, with a metric of onestep or a published one.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  onestep debug distance --weights sd15_latest_vgg16_tuned.pth --inputs pairs.safetensors --out distances.safetensors\n  \
                        onestep debug distance --weights runs/metric/metric --inputs latents/a --inputs latents/b --out distances.safetensors"
)]
pub struct Distance {
    /// Metric: a folder that onestep wrote, or a published file (.pth, .safetensors)
    #[arg(long, value_name = "PATH")]
    weights: PathBuf,
    /// File with the tensors in0 and in1 [N,C,H,W]; or, given twice, two folders of latents
    #[arg(long, value_name = "PATH", required = true)]
    inputs: Vec<PathBuf>,
    /// File to write the tensors distance [N] and per_layer [N,5] to
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Model family of the latents, if neither the metric nor its file name states it
    #[arg(long, value_name = "sd15|sd21|sdxl|sd3|flux")]
    encoder: Option<String>,
    /// Scale the latents first, because they are an encoder's raw output
    #[arg(long)]
    raw_latents: bool,
    /// Average over N augmentations of both latents (E-LatentLPIPS); 0 for LatentLPIPS
    #[arg(long, value_name = "N", default_value_t = 0)]
    ensemble: usize,
    /// Augmentations: names joined by +, of blit, geom, color, cutout and their parts such as xflip
    #[arg(long, value_name = "NAMES", default_value = "blit+geom+cutout")]
    augmentations: AugmentationKinds,
    /// Seed of the augmentations
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Device to compute on; by default the fastest of this build
    #[arg(long, value_name = crate::commands::training::options::DEVICES)]
    device: Option<String>,
}

impl Distance {
    /// Measures and prints the distances.
    pub fn run(self, shared: &Shared) -> Result<(), Failure> {
        let device = onestep_train::device::select(self.device.as_deref())?;
        interrupt::watch()?;
        let options = DistanceOptions {
            weights: self.weights,
            encoder: self.encoder,
            inputs: self.inputs,
            out: self.out,
            raw_latents: self.raw_latents,
            ensemble: self.ensemble,
            augmentation: LatentAugmentationOptions::of(self.augmentations),
            seed: self.seed,
        };
        let distances = measure(&options, &device, &mut Progress::new(shared))?;
        if shared.json {
            return output::json(&json!({ "names": distances.names, "distance": distances.distance }));
        }
        for (name, distance) in distances.names.iter().zip(&distances.distance) {
            output::text(&format!("{name}  {distance:.6}"))?;
        }
        Ok(())
    }
}
