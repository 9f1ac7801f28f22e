//! `onestep distil`: the one-step student.

use std::path::PathBuf;

use onestep_train::distil::{DistilOptions, train};

use crate::arguments::Shared;
use crate::commands::training::{Run, Training};
use crate::exit::Failure;
use crate::output;

/// Train the one-step student from the teacher's pairs.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  onestep distil --teacher runs/teacher --pairs runs/pairs --out runs/student")]
pub struct Distil {
    /// Run or model folder of the teacher
    #[arg(long, value_name = "DIR")]
    teacher: Option<PathBuf>,
    /// The pair set
    #[arg(long, value_name = "DIR")]
    pairs: Option<PathBuf>,
    #[command(flatten)]
    run: Run,
    #[command(flatten)]
    training: Training,
}

impl Distil {
    /// Trains; prints the model folder.
    pub fn run(self, shared: &Shared) -> Result<(), Failure> {
        let mut options: DistilOptions = self.run.base()?;
        options.out = self.run.out();
        options.teacher = self.teacher.unwrap_or(options.teacher);
        options.pairs = self.pairs.unwrap_or(options.pairs);
        self.training.apply(&mut options.training)?;
        let entry = self.run.entry();
        let done = self.run.go(shared, &options, |options, device, name, progress| train(options, entry, device, name, progress))?;
        done.map_or(Ok(()), |()| output::data(&options.out.join("model").display().to_string()))
    }
}
