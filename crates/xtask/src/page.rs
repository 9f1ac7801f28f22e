//! The page: built by trunk, served by trunk.

use std::process::Command;

use crate::{
    bundle, folders,
    process::{self, Failure, Result},
    setup,
    wasm::Toolchain,
};

const PORT: u16 = 8080;

pub fn run(options: &[&str]) -> Result<()> {
    let (mut port, mut serve) = (PORT, true);
    let mut options = options.iter();
    while let Some(option) = options.next() {
        match *option {
            "--no-serve" => serve = false,
            "--port" => {
                let number = options.next().and_then(|number| number.parse().ok());
                port = number.filter(|&number| number > 0).ok_or_else(|| Failure("--port wants a number from 1 to 65535".into()))?;
            }
            other => return Err(Failure(format!("cargo xtask page does not know {other:?}; it takes --port N and --no-serve"))),
        }
    }
    let toolchain = setup::page()?;
    if bundle::folder().is_none() {
        println!("There is no model in models/emoji, so the page will say that it found none. ONESTEP_BUNDLE=DIR takes another.");
    }
    if !serve {
        return build(&toolchain);
    }
    build(&toolchain)?;
    println!("\nThe page: http://localhost:{port}/   (Ctrl+C ends it)\n");
    let mut trunk = trunk(&toolchain, "serve");
    process::run(trunk.args(["--no-autoreload", "--address", "127.0.0.1", "--port", &port.to_string()]))
}

/// Builds into `dist`.
pub fn build(toolchain: &Toolchain) -> Result<()> {
    process::run(&mut trunk(toolchain, "build"))?;
    println!("The page is in {}", folders::root().join("dist").display());
    Ok(())
}

/// trunk would download the tools that it misses; set-up has installed them.
fn trunk(toolchain: &Toolchain, subcommand: &str) -> Command {
    let mut command = Command::new(setup::trunk());
    toolchain.prepare(&mut command);
    // trunk reads NO_COLOR as a value of its own and refuses what others set it to.
    command.env_remove("NO_COLOR").args([subcommand, "--release", "--offline"]);
    command
}
