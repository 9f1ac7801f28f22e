//! `onestep distil`: the one-step student.

use std::path::Path;

use onestep_train::distil::mix_and_match::MixOptions;
use onestep_train::distil::{AdversarialOptions, DistilOptions, train};

use crate::commands::training::options::{Flags, RunOptions};
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
    #[command(flatten)]
    flags: Flags<DistilOptions>,
    #[command(flatten)]
    discriminator: Discriminator,
    #[command(flatten)]
    run: RunOptions,
}

/// Flags that switch off a part of adversarial training, and the learning rate, which has the name of the student's in the options.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Discriminator")]
struct Discriminator {
    /// Train with the distance alone
    #[arg(long)]
    no_discriminator: bool,
    /// Do not condition the discriminator on the noise
    #[arg(long)]
    no_noise: bool,
    /// One input and one readout of the discriminator, at full resolution
    #[arg(long)]
    single_scale: bool,
    /// No mix-and-match fakes
    #[arg(long)]
    no_mix: bool,
    /// Learning rate of the discriminator
    #[arg(long, value_name = "RATE")]
    discriminator_learning_rate: Option<f64>,
}

impl Discriminator {
    fn apply(&self, options: &mut AdversarialOptions) {
        options.enabled &= !self.no_discriminator;
        options.noise &= !self.no_noise;
        options.scales &= !self.single_scale;
        if self.no_mix {
            options.mix = MixOptions::NONE;
        }
        options.optimizer.learning_rate = self.discriminator_learning_rate.unwrap_or(options.optimizer.learning_rate);
    }
}

impl Distil {
    /// Trains and prints the model folder.
    pub fn run(self, shared: &Shared) -> Result<(), Failure> {
        let mut options = self.run.options(&self.flags)?;
        options.out = self.run.out();
        self.discriminator.apply(&mut options.adversarial);
        let entry = self.run.entry();
        let needed: [(&str, &Path); 2] = [("--teacher", &options.teacher), ("--pairs", &options.pairs)];
        let done = self.run.go(shared, &options, &needed, std::slice::from_ref(&options.metric), |options, device, name, progress| {
            train(options, entry, device, name, progress)
        })?;
        done.map_or(Ok(()), |()| output::path(shared, &options.out.join("model")))
    }
}
