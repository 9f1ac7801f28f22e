//! Options of the distillation, and the schedule that follows from them.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{mix_and_match::MixOptions, precision::Precision, regression::DistanceKind};
use crate::{
    error::{TrainError, check_options},
    latent_metric::e_latent_lpips::ELatentLpipsOptions,
    optimizer::OptimizerOptions,
    training_loop::{LoopOptions, RunOptions},
};

/// Options of `distil`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DistilOptions {
    /// Run or model folder of the teacher.
    pub teacher: PathBuf,
    /// The pair set.
    pub pairs: PathBuf,
    /// The run folder.
    pub out: PathBuf,
    /// The distance that the student minimises.
    pub distance: DistanceKind,
    /// The metric of LPIPS distances.
    pub metric: PathBuf,
    /// Encoder of a published metric, if its file name does not tell: sd15, sd21, sdxl, sd3 or flux.
    pub encoder: Option<String>,
    /// Augmentation of E-LatentLPIPS.
    pub e_latent_lpips: ELatentLpipsOptions,
    /// Gradient accumulation steps: each batch is split into this many micro-batches, whose gradients are summed.
    pub accumulate: usize,
    /// Whether the backward pass computes cheap activations again instead of storing them.
    pub gradient_checkpointing: bool,
    /// Compute dtype of student and discriminator.
    pub precision: Precision,
    /// Adversarial training.
    pub adversarial: AdversarialOptions,
    /// Steps and update rule.
    pub training: LoopOptions,
}

/// Options of adversarial training. Diffusion2GAN does not state all of these constants; the others were chosen here.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdversarialOptions {
    /// Whether there is a discriminator.
    pub enabled: bool,
    /// Whether the discriminator is conditioned on the noise.
    pub noise: bool,
    /// Whether the discriminator has inputs and heads at all scales; otherwise one input and one head at full resolution.
    pub scales: bool,
    /// γ of R1; 0 disables it.
    pub r1_gamma: f64,
    /// Discriminator steps per R1 step (lazy regularisation); the penalty is multiplied by it.
    pub r1_every: u64,
    /// Mix-and-match fakes.
    pub mix: MixOptions,
    /// Fraction of the run, at its start, in which the student minimises the distance alone.
    pub regression_fraction: f64,
    /// Fraction of the run over which λ then rises linearly from 0.
    pub ramp_fraction: f64,
    /// Steps for which the discriminator trains before λ rises; fewer if the regression phase is shorter.
    pub discriminator_warmup_steps: u64,
    /// λ; 0 for the adaptive weight, see `gradient_ratio`.
    pub lambda: f64,
    /// Norm of the adversarial gradient at the student's latent, relative to that of the distance, which the adaptive λ keeps.
    pub gradient_ratio: f64,
    /// Factor of the student's learning rate while λ is above 0.
    pub learning_rate_factor: f64,
    /// The discriminator's update rule. While λ is above 0, the student's optimizer uses its β₁ and β₂.
    pub optimizer: OptimizerOptions,
}

impl Default for AdversarialOptions {
    fn default() -> Self {
        let optimizer = OptimizerOptions {
            learning_rate: 1e-4,
            warmup_steps: 100,
            decay_fraction: 0.0,
            beta_1: 0.0,
            beta_2: 0.99,
            weight_decay: 0.01,
            clip_norm: 10.0,
        };
        Self {
            enabled: true,
            noise: true,
            scales: true,
            r1_gamma: 1.0,
            r1_every: 16,
            mix: MixOptions::default(),
            regression_fraction: 0.2,
            ramp_fraction: 0.05,
            discriminator_warmup_steps: 1000,
            lambda: 0.0,
            gradient_ratio: 0.3,
            learning_rate_factor: 0.25,
            optimizer,
        }
    }
}

impl Default for DistilOptions {
    fn default() -> Self {
        let mut training = LoopOptions { steps: 5000, batch: 32, save_every: 500, sample_every: 500, ..LoopOptions::default() };
        training.optimizer = OptimizerOptions { learning_rate: 3e-4, clip_norm: 10.0, ..OptimizerOptions::default() };
        Self {
            teacher: PathBuf::new(),
            pairs: PathBuf::new(),
            out: PathBuf::new(),
            distance: DistanceKind::ELatentLpips,
            metric: PathBuf::new(),
            encoder: None,
            e_latent_lpips: ELatentLpipsOptions::default(),
            accumulate: 1,
            gradient_checkpointing: false,
            precision: Precision::F32,
            adversarial: AdversarialOptions::default(),
            training,
        }
    }
}

impl RunOptions for DistilOptions {
    fn fixed_for_resume(&self) -> Self {
        let Self { teacher, pairs, out, metric, gradient_checkpointing, .. } = Self::default();
        let training = self.training.fixed_for_resume();
        Self { teacher, pairs, out, metric, gradient_checkpointing, training, ..self.clone() }
    }
}

/// The steps at which adversarial training changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdversarialSchedule {
    /// The discriminator's first step.
    pub discriminator_start: u64,
    /// The first step with λ above 0.
    pub ramp_start: u64,
    /// The first step after the ramp of λ.
    pub ramp_end: u64,
}

impl AdversarialSchedule {
    /// The fraction of λ at `step`: 0 before the ramp, 1 after it.
    pub fn ramp(&self, step: u64) -> f64 {
        step.checked_sub(self.ramp_start).map_or(0.0, |since| ((since + 1) as f64 / (self.ramp_end - self.ramp_start).max(1) as f64).min(1.0))
    }
}

impl DistilOptions {
    /// Refuses options that cannot work.
    pub(super) fn check(&self) -> Result<(), TrainError> {
        let (adversarial, mix, batch) = (&self.adversarial, &self.adversarial.mix, self.training.batch);
        let fraction = |name: &str, value: f64| (format!("{name} {value}"), (0.0..=1.0).contains(&value), "a fraction from 0 to 1");
        let factor = |name: &str, value: f64| (format!("{name} {value}"), value.is_finite() && value >= 0.0, "a number of at least 0");
        let is_latent_lpips = matches!(self.distance, DistanceKind::LatentLpips | DistanceKind::ELatentLpips);
        let rules = [
            (
                format!("--accumulate {} with --batch {batch}", self.accumulate),
                self.accumulate > 0 && batch.is_multiple_of(self.accumulate),
                "a number of micro-batches that divides the batch",
            ),
            (format!("r1_every = {}", adversarial.r1_every), adversarial.r1_every > 0, "at least 1"),
            fraction("--regression-fraction", adversarial.regression_fraction),
            fraction("ramp_fraction =", adversarial.ramp_fraction),
            fraction("other_latent =", mix.other_latent),
            fraction("other_prompt =", mix.other_prompt),
            fraction("other_noise =", mix.other_noise),
            fraction("other_latent + other_prompt + other_noise =", mix.other_latent + mix.other_prompt + mix.other_noise),
            factor("--r1-gamma", adversarial.r1_gamma),
            factor("--lambda", adversarial.lambda),
            factor("--gradient-ratio", adversarial.gradient_ratio),
            factor("learning_rate_factor =", adversarial.learning_rate_factor),
            factor("--absolute", self.e_latent_lpips.absolute),
            (
                format!("--absolute {}", self.e_latent_lpips.absolute),
                is_latent_lpips || self.e_latent_lpips.absolute == 0.0,
                "--distance latent-lpips or e-latent-lpips with it, the distances that it is added to",
            ),
        ];
        check_options(rules.into_iter().chain(adversarial.optimizer.rules("--discriminator-learning-rate")))
    }

    /// When the discriminator starts, and when λ rises.
    pub fn schedule(&self) -> AdversarialSchedule {
        let adversarial = &self.adversarial;
        let steps = |fraction: f64| (fraction * self.training.steps as f64).round() as u64;
        let ramp_start = steps(adversarial.regression_fraction);
        AdversarialSchedule {
            discriminator_start: ramp_start.saturating_sub(adversarial.discriminator_warmup_steps),
            ramp_start,
            ramp_end: ramp_start + steps(adversarial.ramp_fraction),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ramp_rises_from_its_start_to_its_end() {
        let mut options = DistilOptions::default();
        options.training.steps = 100;
        options.adversarial.discriminator_warmup_steps = 8;
        let schedule = options.schedule();
        assert_eq!(schedule, AdversarialSchedule { discriminator_start: 12, ramp_start: 20, ramp_end: 25 });
        assert_eq!([19, 20, 24, 99].map(|step| schedule.ramp(step)), [0.0, 0.2, 1.0, 1.0]);
    }
}
