//! What the training commands share: where options come from, the device, the dry run.

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

/// Options of every command that works for minutes or days.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Run")]
pub struct RunOptions {
    /// Where the result goes
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Go on where an earlier run into --out stopped
    #[arg(long)]
    resume: bool,
    /// The device; what is not given is chosen: the best that was compiled in
    #[arg(long, value_name = DEVICES)]
    pub device: Option<String>,
    /// Options from a TOML file, such as an earlier run's config.toml; flags go before it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the options as resolved, and do nothing
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

    /// Whether an earlier run is continued.
    pub fn entry(&self) -> Entry {
        if self.resume { Entry::Resume } else { Entry::New }
    }

    /// For work that is done in one go: refuses `--resume`.
    ///
    /// # Errors
    /// `--resume` was given.
    pub fn at_once(&self, command: &str) -> Result<(), Failure> {
        let message = || format!("onestep {command} saves nothing on its way that --resume could go on from; leave it out");
        if self.resume { Err(Failure::new(Exit::Usage, message())) } else { Ok(()) }
    }

    /// Prints the options if that is all that was asked for; else opens the device and works. `needed` are paths without which there is nothing to
    /// do, by their flags; `reads` are those that are read besides.
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

/// How long, how often and how fast a network is trained.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Training")]
pub struct TrainingOptions {
    /// Updates in all
    #[arg(long)]
    steps: Option<u64>,
    /// Samples per update
    #[arg(long)]
    batch: Option<usize>,
    /// Names every random draw of the run
    #[arg(long)]
    seed: Option<u64>,
    /// Step size after the warm-up
    #[arg(long)]
    learning_rate: Option<f64>,
    /// Steps over which the step size rises
    #[arg(long)]
    warmup_steps: Option<u64>,
    /// Share of the run, at its end, over which the step size falls to 0
    #[arg(long)]
    decay_fraction: Option<f64>,
    /// Steps between checkpoints
    #[arg(long)]
    save_every: Option<u64>,
    /// Checkpoints that are kept
    #[arg(long)]
    keep_last: Option<usize>,
}

/// The average of the weights, and images drawn with it.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Training")]
pub struct AveragingOptions {
    /// Decay of the running average of the weights, per step
    #[arg(long)]
    ema_decay: Option<f64>,
    /// Steps between sample images
    #[arg(long)]
    sample_every: Option<u64>,
}

impl AveragingOptions {
    /// Puts what was given in place of what the options had.
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
    /// Puts what was given in place of what the options had.
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
