//! `onestep completions`: command-line completion for shells.

use clap_complete::Shell;

use crate::exit::Failure;
use crate::output;

/// Print completions for a shell.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  onestep completions bash > ~/.local/share/bash-completion/completions/onestep\n  \
                        onestep completions zsh > \"${fpath[1]}/_onestep\"\n  \
                        onestep completions fish > ~/.config/fish/completions/onestep.fish")]
pub struct Completions {
    /// Shell that will read them
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    /// Prints the script for `program`, the description of the whole command line.
    pub fn run(self, mut program: clap::Command) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut program, "onestep", &mut script);
        output::data(String::from_utf8_lossy(&script).trim_end())
    }
}
