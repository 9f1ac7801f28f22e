//! `onestep debug`: tools for those who work on onestep.

mod distance;
mod overfit;
mod run_component;

use clap::Subcommand;

use crate::exit::Failure;
use crate::shared::Shared;

/// Tools for developers of onestep.
#[derive(Debug, Subcommand)]
pub enum Debug {
    RunComponent(Box<run_component::RunComponent>),
    Distance(distance::Distance),
    Overfit(overfit::Overfit),
}

impl Debug {
    /// Runs the tool.
    pub fn run(self, shared: &Shared) -> Result<(), Failure> {
        match self {
            Self::RunComponent(component) => component.run(shared),
            Self::Distance(distance) => distance.run(shared),
            Self::Overfit(overfit) => overfit.run(shared),
        }
    }
}
