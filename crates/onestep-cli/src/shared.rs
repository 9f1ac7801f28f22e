//! Options that every command takes.

/// Options that every command takes.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Shared {
    /// Print the result as JSON, with a "schema" number
    #[arg(long, global = true)]
    pub json: bool,
    /// Print errors only
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// When to show progress: a bar on a terminal, elsewhere a line every 30 seconds
    #[arg(long, global = true, value_name = "WHEN", default_value_t, value_enum)]
    pub progress: ProgressMode,
}

/// When to show progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum ProgressMode {
    /// Unless --quiet is given
    #[default]
    Auto,
    /// Also with --quiet
    Always,
    /// Never
    Never,
}
