//! `onestep data`: image folders.

mod check;
mod emoji;

use clap::Subcommand;

use crate::exit::Failure;
use crate::shared::Shared;

/// Image folders: make one, check one.
#[derive(Debug, Subcommand)]
pub enum Data {
    /// Make an image folder from the emoji font and the emoji names on this machine
    Emoji(emoji::Emoji),
    /// Look at an image folder: counts, sizes, duplicates, files that cannot be used
    Check(check::Check),
}

impl Data {
    /// Does it.
    pub fn run(self, shared: &Shared) -> Result<(), Failure> {
        match self {
            Self::Emoji(emoji) => emoji.run(shared),
            Self::Check(check) => check.run(shared),
        }
    }
}
