//! `onestep data`: image folders.

mod check;
mod emoji;

use clap::Subcommand;

use crate::exit::Failure;
use crate::shared::Shared;

/// Make or check an image folder.
#[derive(Debug, Subcommand)]
pub enum Data {
    Emoji(emoji::Emoji),
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
