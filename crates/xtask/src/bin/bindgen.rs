//! The part of wasm-bindgen's command line that the page's build and trunk use, on wasm-bindgen's own library.
//!
//! The package wasm-bindgen-cli also brings test runners with an HTTP server and a TLS client, which take most of its compile time.
//! Few options and no abbreviations, so no parser of command lines is compiled either.
#![allow(clippy::print_stdout, reason = "this is a program for a terminal")]

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use wasm_bindgen_cli_support::Bindgen;

const HELP: &str =
    "wasm-bindgen --target=web --no-typescript --out-dir=DIR [--out-name=NAME] [--remove-name-section] [--remove-producers-section] FILE";

fn main() -> ExitCode {
    match run(std::env::args_os().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("wasm-bindgen: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: impl Iterator<Item = OsString>) -> Result<(), String> {
    let (mut bindgen, mut input, mut folder) = (Bindgen::new(), None, None);
    for argument in arguments {
        let text = argument.to_str().filter(|text| text.starts_with("--"));
        match text.map(|text| text.split_once('=').unwrap_or((text, ""))) {
            Some(("--version", "")) => {
                println!("wasm-bindgen {}", wasm_bindgen_shared::version());
                return Ok(());
            }
            // The only outputs that it makes, see below.
            Some(("--target", "web") | ("--no-typescript", "")) => {}
            Some(("--out-dir", value)) => folder = Some(PathBuf::from(value)),
            Some(("--out-name", value)) => drop(bindgen.out_name(value)),
            Some(("--remove-name-section", "")) => drop(bindgen.remove_name_section(true)),
            Some(("--remove-producers-section", "")) => drop(bindgen.remove_producers_section(true)),
            None if input.is_none() => input = Some(PathBuf::from(argument)),
            _ => return Err(format!("reading the options: {argument:?} is unknown; it takes {HELP}")),
        }
    }
    let (Some(input), Some(folder)) = (input, folder) else {
        return Err(format!("reading the options: a file and --out-dir=DIR are expected; it takes {HELP}"));
    };
    // The path of the module is as the command line has it, and not as the library's own default has it.
    let web = bindgen.input_path(&input).typescript(false).omit_default_module_path(false).web(true);
    web.and_then(|bindgen| bindgen.generate(folder)).map_err(|error| format!("making the JavaScript of {}: {error:#}", input.display()))
}
