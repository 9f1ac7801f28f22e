//! Options that the training commands share.

use std::path::{Path, PathBuf};

use onestep_train::run_folder::Entry;
use onestep_train::training_loop::LoopOptions;
use serde::{Serialize, de::DeserializeOwned};

use crate::commands::training::interrupt;
use crate::commands::training::progress::Progress;
use crate::exit::{Exit, Failure};
use crate::output;
use crate::shared::Shared;

/// The names that `--device` takes where they are compiled in.
pub const DEVICES: &str = "cpu|libtorch|libtorch-cuda|wgpu|vulkan|cuda";

/// A longer file holds no options.
const CONFIG_BYTES: u64 = 1 << 20;

/// Options of every command that can be interrupted.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Run")]
pub struct RunOptions {
    /// Folder of the result
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Continue the interrupted run in --out; the result is bit-identical to an uninterrupted run
    #[arg(long)]
    resume: bool,
    /// Device to compute on; by default the fastest of this build
    #[arg(long, value_name = DEVICES)]
    pub device: Option<String>,
    /// TOML file with options, such as config.toml of an earlier run; options of the command line take precedence
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the resolved options and exit
    #[arg(long)]
    dry_run: bool,
}

impl RunOptions {
    /// The options before flags: those of the configuration file, or the defaults.
    ///
    /// # Errors
    /// A file that cannot be read, an unknown key.
    pub fn base<O: DeserializeOwned + Default>(&self) -> Result<O, Failure> {
        let Some(path) = &self.config else { return Ok(O::default()) };
        let refuse = |error: &dyn std::fmt::Display| Failure::new(Exit::Input, format!("reading the options in {}: {error}", path.display()));
        let text = String::from_utf8(onestep_store::read_at_most(path, CONFIG_BYTES)?).map_err(|_| refuse(&"expected UTF-8 text"))?;
        toml::from_str(&text).map_err(|error: toml::de::Error| {
            let line = error.span().map_or(1, |span| text.get(..span.start).unwrap_or_default().lines().count().max(1));
            refuse(&format_args!("line {line}: {}", error.message().replace('\n', ", ")))
        })
    }

    /// The run folder.
    pub fn out(&self) -> PathBuf {
        self.out.clone()
    }

    /// How the run folder is entered: as a new run, or to continue one.
    pub fn entry(&self) -> Entry {
        if self.resume { Entry::Resume } else { Entry::New }
    }

    /// Refuses `--resume`, for work without checkpoints.
    ///
    /// # Errors
    /// `--resume` was given.
    pub fn at_once(&self, command: &str) -> Result<(), Failure> {
        let message = || format!("onestep {command} writes no checkpoints that --resume could continue from; leave it out");
        if self.resume { Err(Failure::new(Exit::Usage, message())) } else { Ok(()) }
    }

    /// Opens the device and does `work`; with `--dry-run` prints the options instead. `needed` are the required input folders by their options,
    /// `reads` further inputs.
    ///
    /// # Errors
    /// A path that neither a flag nor the configuration file gave; what the work reports.
    pub fn go<O: Serialize, R>(
        &self,
        shared: &Shared,
        options: &O,
        needed: &[(&str, &Path)],
        reads: &[PathBuf],
        work: impl FnOnce(&O, &burn::tensor::Device, &str, &mut Progress) -> Result<R, onestep_train::TrainError>,
    ) -> Result<Option<R>, Failure> {
        if self.dry_run {
            if shared.json {
                output::json(options)?;
            } else {
                let text =
                    toml::to_string_pretty(options).map_err(|error| Failure::new(Exit::Failed, format!("the options cannot be shown: {error}")))?;
                output::data(text.trim_end())?;
            }
            return Ok(None);
        }
        if let Some((flag, _)) = needed.iter().find(|(_, path)| path.as_os_str().is_empty()) {
            return Err(Failure::new(Exit::Usage, format!("{flag} is missing: give {flag} DIR, or a --config that has it")));
        }
        let sources: Vec<&Path> = needed.iter().map(|(_, path)| *path).chain(reads.iter().map(PathBuf::as_path)).collect();
        onestep_store::refuse_overlap("the result", &self.out, &sources)?;
        let device = onestep_train::device::select(self.device.as_deref())?;
        let name = self.device.clone().unwrap_or_else(|| onestep_train::device::compiled()[0].to_owned());
        interrupt::watch()?;
        let mut progress = Progress::new(shared);
        Ok(Some(work(options, &device, &name, &mut progress)?))
    }
}

/// Options of the training loop and its optimizer.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Training")]
pub struct TrainingOptions {
    /// Number of training steps
    #[arg(long)]
    steps: Option<u64>,
    /// Batch size, in samples per step
    #[arg(long)]
    batch: Option<usize>,
    /// Seed of all random numbers of the run
    #[arg(long)]
    seed: Option<u64>,
    /// Learning rate after the warm-up
    #[arg(long)]
    learning_rate: Option<f64>,
    /// Steps over which the learning rate rises from 0
    #[arg(long)]
    warmup_steps: Option<u64>,
    /// Fraction of the run, at its end, over which the learning rate falls to 0
    #[arg(long)]
    decay_fraction: Option<f64>,
    /// Steps between checkpoints
    #[arg(long)]
    save_every: Option<u64>,
    /// Number of checkpoints to keep
    #[arg(long)]
    keep_last: Option<usize>,
}

/// Options of the averaged weights and of the sample images made with them.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Training")]
pub struct AveragingOptions {
    /// Decay of the exponential moving average of the weights, per step
    #[arg(long)]
    ema_decay: Option<f64>,
    /// Steps between sample images
    #[arg(long)]
    sample_every: Option<u64>,
}

impl AveragingOptions {
    /// Overrides options with those of the command line.
    pub fn apply(&self, options: &mut LoopOptions) {
        set(&mut options.ema_decay, self.ema_decay);
        set(&mut options.sample_every, self.sample_every);
    }
}

fn set<T: Copy>(target: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *target = given;
    }
}

impl TrainingOptions {
    /// Overrides options with those of the command line.
    ///
    /// # Errors
    /// Numbers with which nothing can be trained.
    pub fn apply(&self, options: &mut LoopOptions) -> Result<(), Failure> {
        set(&mut options.steps, self.steps);
        set(&mut options.batch, self.batch);
        set(&mut options.seed, self.seed);
        set(&mut options.optimizer.learning_rate, self.learning_rate);
        set(&mut options.optimizer.warmup_steps, self.warmup_steps);
        set(&mut options.optimizer.decay_fraction, self.decay_fraction);
        set(&mut options.save_every, self.save_every);
        set(&mut options.keep_last, self.keep_last);
        Ok(options.check()?)
    }
}
