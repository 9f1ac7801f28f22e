//! The command line as a whole: the commands, the options that all of them share, and the environment variables for both.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches, Parser};

use crate::commands::Command;
use crate::features::{TRAINING_COMMANDS, WITHOUT_TRAINING};
use crate::shared::Shared;

/// One-step text-to-image models: train and distil them, export them as bundles, generate images, serve them to browsers.
#[derive(Debug, Parser)]
#[command(name = "onestep", version, propagate_version = true, max_term_width = 110)]
#[command(after_help = after_help())]
pub struct Arguments {
    /// The command.
    #[command(subcommand)]
    pub command: Command,
    #[command(flatten)]
    pub shared: Shared,
}

fn after_help() -> String {
    let without =
        if cfg!(feature = "train") { String::new() } else { format!("Not here: {}; {}.\n\n", TRAINING_COMMANDS.join(", "), WITHOUT_TRAINING) };
    without
        + "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 input refused, 4 no device or not enough memory, 5 storage, 6 a value was not finite, \
           130 and 143 interrupted."
}

impl Arguments {
    /// Reads the command line. The error is what clap wants to say, help and version included.
    pub fn read(words: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let mut matches = Self::described().try_get_matches_from(words).map_err(without_training)?;
        Self::from_arg_matches_mut(&mut matches)
    }

    /// The description of everything, from which help, completions and environment variables come.
    pub fn described() -> clap::Command {
        with_environment(Command::described(Self::command()), "ONESTEP")
    }
}

/// Says of a command that this build lacks how to get it.
fn without_training(error: clap::Error) -> clap::Error {
    match error.get(ContextKind::InvalidSubcommand) {
        Some(ContextValue::String(name)) if !cfg!(feature = "train") && TRAINING_COMMANDS.contains(&name.as_str()) => {
            Arguments::described().error(ErrorKind::InvalidSubcommand, format!("onestep {name}: {}", WITHOUT_TRAINING))
        }
        _ => error,
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

    /// The environment variable of a long option of the command below `path`.
    fn variable(path: &[&str], long: &str) -> Option<String> {
        let all = Arguments::described();
        let command = path.iter().try_fold(&all, |command, name| command.find_subcommand(name)).expect("the command");
        let option = command.get_arguments().find(|option| option.get_long() == Some(long)).expect("the option");
        option.get_env().and_then(|name| name.to_str()).map(str::to_owned)
    }

    #[test]
    fn long_options_have_environment_variables() {
        assert_eq!(variable(&["serve"], "port").as_deref(), Some("ONESTEP_SERVE_PORT"));
        #[cfg(feature = "train")]
        assert_eq!(variable(&["data", "emoji"], "size").as_deref(), Some("ONESTEP_DATA_EMOJI_SIZE"));
    }

    #[test]
    fn commands_that_need_training_are_those_of_the_table() {
        let all = Arguments::described();
        let here = TRAINING_COMMANDS.iter().filter(|name| all.find_subcommand(name).is_some()).count();
        assert_eq!(here, if cfg!(feature = "train") { TRAINING_COMMANDS.len() } else { 0 });
        let light: Vec<&str> = all.get_subcommands().map(clap::Command::get_name).filter(|name| !TRAINING_COMMANDS.contains(name)).collect();
        assert_eq!(light, ["generate", "inspect", "bench", "serve", "completions", "doctor"]);
    }
}
