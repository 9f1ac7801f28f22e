//! `onestep distil`: the one-step student.

use std::path::{Path, PathBuf};

use onestep_train::distil::mix_and_match::MixOptions;
use onestep_train::distil::precision::PRECISIONS;
use onestep_train::distil::regression::DISTANCES;
use onestep_train::distil::{DistilOptions, train};

use crate::commands::training::options::{AveragingOptions, RunOptions, TrainingOptions};
use crate::exit::Failure;
use crate::output;
use crate::shared::Shared;

/// Distil the teacher into a one-step student, from pairs that it sampled.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  onestep distil --teacher runs/teacher --pairs runs/pairs --metric runs/metric/metric \\\n    --out runs/student\n  \
                        onestep distil --teacher runs/teacher --pairs runs/pairs --distance mse --no-discriminator \\\n    --out runs/baseline"
)]
pub struct Distil {
    /// Run or model folder of the teacher
    #[arg(long, value_name = "DIR")]
    teacher: Option<PathBuf>,
    /// Folder of the pairs, from onestep pairs
    #[arg(long, value_name = "DIR")]
    pairs: Option<PathBuf>,
    /// The distance that leads the student
    #[arg(long, value_parser = onestep_train::distil::regression::DISTANCES.map(|distance| distance.0))]
    distance: Option<String>,
    /// The metric of distances that have one, from onestep train latent-vgg or latent-lpips
    #[arg(long, value_name = "PATH")]
    metric: Option<PathBuf>,
    /// Whose latents a published metric measures, where its file's name does not say so
    #[arg(long, value_name = "sd15|sd21|sdxl|sd3|flux")]
    encoder: Option<String>,
    /// Random changes of e-latent-lpips: letters of b, g, c, o
    #[arg(long, value_name = "LETTERS")]
    groups: Option<String>,
    /// Weight of the mean absolute difference of the latents beside the distance
    #[arg(long, value_name = "WEIGHT")]
    absolute: Option<f64>,
    /// Cut a batch into so many parts to need less memory
    #[arg(long, value_name = "PARTS")]
    accumulate: Option<usize>,
    /// Compute activations again in the backward pass, where that is cheap, to need less memory
    #[arg(long)]
    checkpointing: bool,
    /// What student and discriminator compute in; parameters, losses, the metric and R1 are f32 either way
    #[arg(long, value_parser = PRECISIONS.map(|precision| precision.0))]
    precision: Option<String>,
    #[command(flatten)]
    game: Game,
    #[command(flatten)]
    run: RunOptions,
    #[command(flatten)]
    training: TrainingOptions,
    #[command(flatten)]
    averaging: AveragingOptions,
}

/// The discriminator and its parts.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Discriminator")]
struct Game {
    /// The distance alone
    #[arg(long)]
    no_discriminator: bool,
    /// It does not see the noise
    #[arg(long)]
    no_noise: bool,
    /// One input and one readout, at the latent's own size
    #[arg(long)]
    single_scale: bool,
    /// No false rows but the student's
    #[arg(long)]
    no_mix: bool,
    /// γ of the R1 penalty; 0 for none
    #[arg(long, value_name = "GAMMA")]
    r1_gamma: Option<f64>,
    /// Weight of the adversarial loss; 0 to follow the gradients
    #[arg(long, value_name = "WEIGHT")]
    lambda: Option<f64>,
    /// The adversarial gradient's length as a multiple of the distance's
    #[arg(long, value_name = "RATIO")]
    gradient_ratio: Option<f64>,
    /// Share of the run in which the distance leads alone
    #[arg(long, value_name = "SHARE")]
    regression_fraction: Option<f64>,
    /// The discriminator's step size
    #[arg(long, value_name = "RATE")]
    discriminator_rate: Option<f64>,
}

impl Distil {
    /// Trains and prints the model folder.
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
        options.ensemble.augmentation.groups = self.groups.unwrap_or(options.ensemble.augmentation.groups);
        options.ensemble.absolute = self.absolute.unwrap_or(options.ensemble.absolute);
        options.accumulate = self.accumulate.unwrap_or(options.accumulate);
        options.checkpointing |= self.checkpointing;
        if let Some(name) = self.precision {
            options.precision = PRECISIONS.into_iter().find(|precision| precision.0 == name).map_or(options.precision, |precision| precision.1);
        }
        let (game, given) = (&mut options.adversarial, self.game);
        game.enabled &= !given.no_discriminator;
        game.noise &= !given.no_noise;
        game.scales &= !given.single_scale;
        if given.no_mix {
            game.mix = MixOptions::NONE;
        }
        game.r1_gamma = given.r1_gamma.unwrap_or(game.r1_gamma);
        game.lambda = given.lambda.unwrap_or(game.lambda);
        game.ratio = given.gradient_ratio.unwrap_or(game.ratio);
        game.warmup_fraction = given.regression_fraction.unwrap_or(game.warmup_fraction);
        game.optimizer.learning_rate = given.discriminator_rate.unwrap_or(game.optimizer.learning_rate);
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
