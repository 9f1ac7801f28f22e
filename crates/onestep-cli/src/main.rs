//! The program `onestep`: images and captions in, a one-step model out, and images from it.
//!
//! Standard output carries data only (paths, addresses, JSON); everything meant for people goes to standard error.

mod arguments;
mod bundle_folder;
mod clock;
mod commands;
mod exit;
mod features;
mod output;
mod shared;
mod tensors;

use std::panic;
use std::process::ExitCode;

use arguments::Arguments;
use exit::{Exit, Failure};

fn main() -> ExitCode {
    // A panic is a bug of onestep and is reported as one, without a backtrace. A panic of a guarded reader becomes a refusal of the file.
    panic::set_hook(Box::new(|panic| {
        if onestep_pipeline::guard::is_active() {
            return;
        }
        let location = panic.location().map(|l| format!(" at {}:{}", l.file(), l.line())).unwrap_or_default();
        let what = panic.payload_as_str().unwrap_or("no message");
        output::message(&format!("error: this is a fault of onestep{location}: {what}; please report it with the command that you ran"));
    }));
    panic::catch_unwind(run).unwrap_or(Exit::Failed).into()
}

fn run() -> Exit {
    let arguments = match Arguments::read(std::env::args_os()) {
        Ok(arguments) => arguments,
        // Help and version are results and go to standard output, mistakes to standard error; clap knows which is which.
        Err(told) => {
            let exit = if told.use_stderr() { Exit::Usage } else { Exit::Done };
            return match told.print() {
                Ok(()) => exit,
                Err(_) => Exit::Failed,
            };
        }
    };
    match arguments.command.run(&arguments.shared, Arguments::described) {
        Ok(()) => Exit::Done,
        Err(failure) => tell(&failure),
    }
}

/// Says what went wrong, unless whoever read our output has simply gone away.
fn tell(failure: &Failure) -> Exit {
    if !failure.message().is_empty() {
        output::message(&format!("error: {}", failure.message()));
    }
    failure.exit()
}
