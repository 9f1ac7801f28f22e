//! Options that the training commands share.

use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use clap::{ArgMatches, Args, Command, FromArgMatches};
use onestep_train::run_folder::Entry;
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

    /// The options of a command: its flags, over the configuration file or the defaults.
    ///
    /// # Errors
    /// See [`RunOptions::base`].
    pub fn options<O: Args + DeserializeOwned + Default>(&self, flags: &Flags<O>) -> Result<O, Failure> {
        let mut options: O = self.base()?;
        // The values were parsed once already, so this cannot fail.
        options.update_from_arg_matches(&flags.matches).map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
        Ok(options)
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

/// The flags and environment variables of a command with the options `O`.
///
/// `O` derives both serde and clap, so an option is declared once. clap would require every field or fill in defaults; this accepts any subset, to be
/// put over the options of `--config` or the defaults.
#[derive(Clone, Debug)]
pub struct Flags<O> {
    matches: ArgMatches,
    options: PhantomData<O>,
}

impl<O: Args> Args for Flags<O> {
    fn augment_args(command: Command) -> Command {
        O::augment_args_for_update(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        O::augment_args_for_update(command)
    }
}

impl<O> FromArgMatches for Flags<O> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self { matches: matches.clone(), options: PhantomData })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.matches = matches.clone();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use onestep_train::distil::DistilOptions;
    use onestep_train::distil::precision::Precision;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        flags: Flags<DistilOptions>,
        #[command(flatten)]
        run: RunOptions,
    }

    fn resolved(config: &str, flags: &[&str]) -> DistilOptions {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("config.toml");
        std::fs::write(&path, config).expect("a write");
        let words = ["onestep", "--out", "out", "--config", path.to_str().expect("UTF-8")];
        let program = Program::try_parse_from(words.iter().chain(flags)).expect("flags");
        program.run.options(&program.flags).unwrap_or_else(|_| panic!("options"))
    }

    #[test]
    fn flags_replace_the_options_of_the_file_and_the_rest_stays() {
        let file =
            "accumulate = 4\ngradient_checkpointing = true\nprecision = \"bf16\"\n[training]\nsteps = 7\n[training.optimizer]\nlearning_rate = 0.5";
        let options = resolved(file, &["--batch", "16", "--learning-rate", "0.25", "--augmentations", "xflip+cutout"]);
        assert_eq!((options.accumulate, options.gradient_checkpointing, options.precision), (4, true, Precision::Bf16));
        assert_eq!((options.training.steps, options.training.batch, options.training.optimizer.learning_rate), (7, 16, 0.25));
        assert_eq!(options.e_latent_lpips.augmentation.kinds.to_string(), "xflip+cutout");
        assert_eq!(options.adversarial.optimizer.learning_rate, DistilOptions::default().adversarial.optimizer.learning_rate);
        assert!(resolved("", &["--gradient-checkpointing"]).gradient_checkpointing);
        assert!(!resolved("gradient_checkpointing = true", &["--gradient-checkpointing=false"]).gradient_checkpointing);
    }
}
