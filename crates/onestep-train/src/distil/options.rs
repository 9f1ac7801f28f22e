//! Options of the distillation, and the schedule that follows from them.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{mix_and_match::MixOptions, precision::Precision};
use crate::{
    error::{TrainError, check_options},
    latent_metric::e_latent_lpips::ELatentLpipsOptions,
    optimizer::OptimizerOptions,
    training_loop::{AveragingOptions, LoopOptions, RunOptions},
};

/// The distance that the student minimises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DistanceKind {
    /// Mean squared error of latents.
    Mse,
    /// `√(‖x̂ − x‖² + k²) − k` with `k = 0.00054·√d` for d elements: quadratic near the target, linear far from it.
    PseudoHuber,
    /// LPIPS of decoded images.
    PixelLpips,
    /// LatentLPIPS: LPIPS of latents.
    LatentLpips,
    /// E-LatentLPIPS: LatentLPIPS with one random augmentation of both latents in each step.
    ELatentLpips,
}

/// Options of `distil`.
#[derive(Clone, Debug, clap::Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DistilOptions {
    /// Run or model folder of the teacher.
    #[arg(long, value_name = "DIR")]
    pub teacher: PathBuf,
    /// The pair set.
    #[arg(long, value_name = "DIR")]
    pub pairs: PathBuf,
    /// The run folder.
    #[arg(skip)]
    pub out: PathBuf,
    /// The distance that the student minimises.
    #[arg(long)]
    pub distance: DistanceKind,
    /// The metric of LPIPS distances, from onestep train latent-vgg or latent-lpips.
    #[arg(long, value_name = "PATH")]
    pub metric: PathBuf,
    /// Encoder of a published metric, if its file name does not tell: sd15, sd21, sdxl, sd3 or flux.
    #[arg(long, value_name = "sd15|sd21|sdxl|sd3|flux")]
    pub encoder: Option<String>,
    /// Augmentation of E-LatentLPIPS.
    #[command(flatten)]
    pub e_latent_lpips: ELatentLpipsOptions,
    /// Timestep of the student's evaluation; the last one (999) by default.
    #[arg(long, value_name = "T")]
    pub timestep: Option<usize>,
    /// Gradient accumulation steps: split each batch into N micro-batches.
    #[arg(long, value_name = "N")]
    pub accumulate: usize,
    /// Compute cheap activations again in the backward pass, to save memory.
    #[arg(long, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub gradient_checkpointing: bool,
    /// Compute dtype of student and discriminator; parameters, losses, the metric and R1 are always f32.
    #[arg(long)]
    pub precision: Precision,
    /// Adversarial training.
    #[command(flatten)]
    pub adversarial: AdversarialOptions,
    /// Steps and update rule.
    #[command(flatten)]
    pub training: LoopOptions,
    /// Averaged weights and sample images.
    #[command(flatten)]
    pub averaging: AveragingOptions,
}

/// Options of adversarial training. Diffusion2GAN does not state all of these constants; the others were chosen here.
#[derive(Clone, Debug, clap::Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[command(next_help_heading = "Discriminator")]
pub struct AdversarialOptions {
    /// Whether there is a discriminator.
    #[arg(skip)]
    pub enabled: bool,
    /// Whether the discriminator is conditioned on the noise.
    #[arg(skip)]
    pub noise: bool,
    /// Whether the discriminator has inputs and readouts at all scales; otherwise one input and one readout at full resolution.
    #[arg(skip)]
    pub scales: bool,
    /// γ of R1; 0 disables it.
    #[arg(long, value_name = "GAMMA")]
    pub r1_gamma: f64,
    /// Discriminator steps per R1 step (lazy regularisation); the penalty is multiplied by it.
    #[arg(skip)]
    pub r1_every: u64,
    /// Mix-and-match fakes.
    #[arg(skip)]
    pub mix: MixOptions,
    /// Fraction of the run, at its start, in which the student minimises the distance alone.
    #[arg(long, value_name = "FRACTION")]
    pub regression_fraction: f64,
    /// Fraction of the run over which λ then rises linearly from 0.
    #[arg(skip)]
    pub ramp_fraction: f64,
    /// Steps for which the discriminator trains before λ rises; fewer if the regression phase is shorter.
    #[arg(skip)]
    pub discriminator_warmup_steps: u64,
    /// λ, the weight of the adversarial loss; 0 for an adaptive weight.
    #[arg(long, value_name = "WEIGHT")]
    pub lambda: f64,
    /// Norm of the adversarial gradient relative to that of the distance, for the adaptive weight.
    ///
    /// Both gradients are those at the student's latent.
    #[arg(long, value_name = "RATIO")]
    pub gradient_ratio: f64,
    /// Factor of the student's learning rate while λ is above 0.
    #[arg(skip)]
    pub learning_rate_factor: f64,
    /// The discriminator's update rule. While λ is above 0, the student's optimizer uses its β₁ and β₂.
    #[arg(skip)]
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
        let mut training = LoopOptions { steps: 5000, batch: 32, save_every: 500, ..LoopOptions::default() };
        training.optimizer = OptimizerOptions { learning_rate: 3e-4, clip_norm: 10.0, ..OptimizerOptions::default() };
        Self {
            teacher: PathBuf::new(),
            pairs: PathBuf::new(),
            out: PathBuf::new(),
            distance: DistanceKind::ELatentLpips,
            metric: PathBuf::new(),
            encoder: None,
            e_latent_lpips: ELatentLpipsOptions::default(),
            timestep: None,
            accumulate: 1,
            gradient_checkpointing: false,
            precision: Precision::F32,
            adversarial: AdversarialOptions::default(),
            training,
            averaging: AveragingOptions { sample_every: 500, ..AveragingOptions::default() },
        }
    }
}

impl RunOptions for DistilOptions {
    fn fixed_for_resume(&self) -> Self {
        let Self { teacher, pairs, out, metric, gradient_checkpointing, .. } = Self::default();
        let (training, averaging) = (self.training.fixed_for_resume(), self.averaging.fixed_for_resume());
        Self { teacher, pairs, out, metric, gradient_checkpointing, training, averaging, ..self.clone() }
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
        self.training.check()?;
        self.averaging.check()?;
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
