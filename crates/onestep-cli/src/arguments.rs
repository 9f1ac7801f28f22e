//! The command line as a whole: the commands, the options that all of them share, and the environment variables for both.

use std::ffi::OsString;

use clap::{CommandFactory, FromArgMatches, Parser};

use crate::commands::Command;
use crate::progress::ProgressMode;

/// Text-to-image diffusion models in one step: train, distil, run, serve.
#[derive(Debug, Parser)]
#[command(name = "onestep", version, propagate_version = true, max_term_width = 110)]
#[command(after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 input refused, 4 no device or not enough memory, \
                        5 storage, 6 a value was not finite, 130 and 143 interrupted.")]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    #[command(flatten)]
    pub shared: Shared,
}

/// Options that every command takes.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Shared {
    /// Print the result as JSON, with a "schema" number
    #[arg(long, global = true)]
    pub json: bool,
    /// Say nothing but errors
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Progress: a bar on a terminal and a line every 30 seconds elsewhere, also with --quiet, or none
    #[arg(long, global = true, value_name = "WHEN", default_value_t, value_enum)]
    pub progress: ProgressMode,
}

impl Arguments {
    /// Reads the command line. The error is what clap wants to say, help and version included.
    pub fn read(words: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let mut matches = Self::described().try_get_matches_from(words)?;
        Self::from_arg_matches_mut(&mut matches)
    }

    /// The description of everything, from which help, completions and environment variables come.
    pub fn described() -> clap::Command {
        with_environment(Self::command(), "ONESTEP")
    }
}

/// Gives every long option an environment variable: `onestep data emoji --size` reads `ONESTEP_DATA_EMOJI_SIZE`.
fn with_environment(command: clap::Command, prefix: &str) -> clap::Command {
    let own = prefix.to_owned();
    let command = command.mut_args(|argument| match argument.get_long() {
        Some(long) if !["help", "version"].contains(&long) => {
            // clap keeps names for as long as the program runs; so may these few.
            let name: &'static str = format!("{own}_{}", long.replace('-', "_").to_uppercase()).leak();
            argument.env(name).hide_env_values(true)
        }
        _ => argument,
    });
    command.mut_subcommands(|inner| {
        let prefix = format!("{prefix}_{}", inner.get_name().replace('-', "_").to_uppercase());
        with_environment(inner, &prefix)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_is_sound() {
        Arguments::described().debug_assert();
    }

    #[test]
    fn long_options_have_environment_variables() {
        let all = Arguments::described();
        let emoji = all.find_subcommand("data").and_then(|d| d.find_subcommand("emoji")).expect("data emoji");
        let size = emoji.get_arguments().find(|a| a.get_long() == Some("size")).expect("--size");
        assert_eq!(size.get_env().and_then(|n| n.to_str()), Some("ONESTEP_DATA_EMOJI_SIZE"));
    }
}
