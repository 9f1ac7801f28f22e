//! `onestep distil`: the one-step student.

use std::path::{Path, PathBuf};

use onestep_train::distil::mix_and_match::MixOptions;
use onestep_train::distil::precision::PRECISIONS;
use onestep_train::distil::regression::DISTANCES;
use onestep_train::distil::{DistilOptions, train};
use onestep_train::latent_metric::latent_augmentation::AugmentationKinds;

use crate::arguments::Shared;
use crate::commands::training::{Averaging, Run, Training};
use crate::exit::Failure;
use crate::output;

/// Train the one-step student from the teacher's pairs.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  onestep distil --teacher runs/teacher --pairs runs/pairs --metric runs/metric/metric --out runs/student")]
pub struct Distil {
    /// Run or model folder of the teacher
    #[arg(long, value_name = "DIR")]
    teacher: Option<PathBuf>,
    /// The pair set
    #[arg(long, value_name = "DIR")]
    pairs: Option<PathBuf>,
    /// The distance that the student minimises
    #[arg(long, value_parser = onestep_train::distil::regression::DISTANCES.map(|distance| distance.0))]
    distance: Option<String>,
    /// The metric of distances that have one, from onestep train latent-vgg or latent-lpips
    #[arg(long, value_name = "PATH")]
    metric: Option<PathBuf>,
    /// Whose latents a published metric measures, where its file's name does not say so
    #[arg(long, value_name = "sd15|sd21|sdxl|sd3|flux")]
    encoder: Option<String>,
    /// Augmentations of e-latent-lpips: none, or names joined by +, of blit, geom, color, cutout and their parts such as xflip
    #[arg(long, value_name = "NAMES")]
    augmentations: Option<AugmentationKinds>,
    /// Weight of the mean absolute difference of the latents, which is added to the distance
    #[arg(long, value_name = "WEIGHT")]
    absolute: Option<f64>,
    /// Gradient accumulation steps: split each batch into N micro-batches
    #[arg(long, value_name = "N")]
    accumulate: Option<usize>,
    /// Compute cheap activations again in the backward pass, to save memory
    #[arg(long)]
    gradient_checkpointing: bool,
    /// Compute dtype of student and discriminator; parameters, losses, the metric and R1 are always f32
    #[arg(long, value_parser = PRECISIONS.map(|precision| precision.0))]
    precision: Option<String>,
    #[command(flatten)]
    adversarial: Adversarial,
    #[command(flatten)]
    run: Run,
    #[command(flatten)]
    training: Training,
    #[command(flatten)]
    averaging: Averaging,
}

/// The discriminator and its parts.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Discriminator")]
struct Adversarial {
    /// Train with the distance alone
    #[arg(long)]
    no_discriminator: bool,
    /// Do not condition the discriminator on the noise
    #[arg(long)]
    no_noise: bool,
    /// One input and one head of the discriminator, at full resolution
    #[arg(long)]
    single_scale: bool,
    /// No mix-and-match fakes
    #[arg(long)]
    no_mix: bool,
    /// γ of the R1 penalty; 0 for none
    #[arg(long, value_name = "GAMMA")]
    r1_gamma: Option<f64>,
    /// Weight of the adversarial loss; 0 for an adaptive weight
    #[arg(long, value_name = "WEIGHT")]
    lambda: Option<f64>,
    /// Norm of the adversarial gradient relative to that of the distance, for the adaptive weight
    #[arg(long, value_name = "RATIO")]
    gradient_ratio: Option<f64>,
    /// Fraction of the run, at its start, that trains with the distance alone
    #[arg(long, value_name = "FRACTION")]
    regression_fraction: Option<f64>,
    /// Learning rate of the discriminator
    #[arg(long, value_name = "RATE")]
    discriminator_learning_rate: Option<f64>,
}

impl Distil {
    /// Trains; prints the model folder.
    pub fn run(self, shared: &Shared) -> Result<(), Failure> {
        let mut options: DistilOptions = self.run.base()?;
        options.out = self.run.out();
        options.teacher = self.teacher.unwrap_or(options.teacher);
        options.pairs = self.pairs.unwrap_or(options.pairs);
        if let Some(name) = self.distance {
            options.distance = DISTANCES.into_iter().find(|distance| distance.0 == name).map_or(options.distance, |distance| distance.1);
        }
        options.metric = self.metric.unwrap_or(options.metric);
        options.encoder = self.encoder.or(options.encoder);
        options.e_latent_lpips.augmentation.kinds = self.augmentations.unwrap_or(options.e_latent_lpips.augmentation.kinds);
        options.e_latent_lpips.absolute = self.absolute.unwrap_or(options.e_latent_lpips.absolute);
        options.accumulate = self.accumulate.unwrap_or(options.accumulate);
        options.gradient_checkpointing |= self.gradient_checkpointing;
        if let Some(name) = self.precision {
            options.precision = PRECISIONS.into_iter().find(|precision| precision.0 == name).map_or(options.precision, |precision| precision.1);
        }
        let (adversarial, given) = (&mut options.adversarial, self.adversarial);
        adversarial.enabled &= !given.no_discriminator;
        adversarial.noise &= !given.no_noise;
        adversarial.scales &= !given.single_scale;
        if given.no_mix {
            adversarial.mix = MixOptions::NONE;
        }
        adversarial.r1_gamma = given.r1_gamma.unwrap_or(adversarial.r1_gamma);
        adversarial.lambda = given.lambda.unwrap_or(adversarial.lambda);
        adversarial.gradient_ratio = given.gradient_ratio.unwrap_or(adversarial.gradient_ratio);
        adversarial.regression_fraction = given.regression_fraction.unwrap_or(adversarial.regression_fraction);
        adversarial.optimizer.learning_rate = given.discriminator_learning_rate.unwrap_or(adversarial.optimizer.learning_rate);
        self.averaging.apply(&mut options.training);
        self.training.apply(&mut options.training)?;
        let entry = self.run.entry();
        let needed: [(&str, &Path); 2] = [("--teacher", &options.teacher), ("--pairs", &options.pairs)];
        let done = self.run.go(shared, &options, &needed, std::slice::from_ref(&options.metric), |options, device, name, progress| {
            train(options, entry, device, name, progress)
        })?;
        done.map_or(Ok(()), |()| output::path(shared, &options.out.join("model")))
    }
}
