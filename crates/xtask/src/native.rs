//! cargo for this machine.

use std::process::Command;

use crate::folders;

/// The crates of the repository that are built without burn, `onestep-cli` if its default features are off: they compile in seconds, and lints
/// run on them.
pub const BURN_FREE: [&str; 10] = [
    "onestep-program",
    "onestep-pipeline",
    "onestep-noise",
    "onestep-store",
    "onestep-shaders",
    "onestep-runtime",
    "onestep-cpu",
    "onestep",
    "onestep-cli",
    "xtask",
];

/// `cargo` in the repository, with the kept target folder.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(folders::root()).env("CARGO_TARGET_DIR", folders::target());
    command
}
