//! The page: built by trunk, served by trunk.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    bundle, folders,
    process::{self, Failure, Result},
    setup,
    wasm::{Module, Toolchain},
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

/// What trunk calls when it has built the rest: the page's model, and the modules for browsers without a GPU.
pub fn finish() -> Result<()> {
    let Some(staging) = env::var_os("TRUNK_STAGING_DIR").map(PathBuf::from) else {
        return Err(Failure("finish-page is for trunk, which says where to; see Trunk.toml".into()));
    };
    bundle::copy(&staging)?;
    let toolchain = setup::page()?;
    // Once more than trunk did it, without the functions' names, which are a quarter of the module.
    bindgen(&toolchain, Module::WebGpu, &staging)?;
    for module in [Module::Cpu, Module::CpuRelaxed] {
        module.build(&toolchain)?;
        bindgen(&toolchain, module, &staging)?;
    }
    Ok(())
}

/// The JavaScript side of the module that cargo built last.
fn bindgen(toolchain: &Toolchain, module: Module, folder: &Path) -> Result<()> {
    let mut command = toolchain.bindgen(folder);
    process::run(command.args(["--remove-name-section", "--remove-producers-section", &format!("--out-name={}", module.name())]))
}

/// trunk would download the tools that it misses; set-up has installed them.
fn trunk(toolchain: &Toolchain, subcommand: &str) -> Command {
    let mut command = Command::new(setup::trunk());
    toolchain.prepare(Module::WebGpu, &mut command);
    // trunk reads NO_COLOR as a value and refuses what others set it to.
    command.env_remove("NO_COLOR").args([subcommand, "--release", "--offline"]);
    command
}
