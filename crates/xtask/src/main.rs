//! `cargo xtask …`: everything about this repository that takes more than one command.
//!
//! It uses the standard library alone, so that it is there within seconds on a machine that has nothing but Rust. The feature `bindgen` adds a
//! second program on wasm-bindgen's library, which is built when the page is.
#![allow(clippy::print_stdout, reason = "this is a program for a terminal")]

mod bench;
mod bundle;
mod docs;
mod folders;
mod javascript;
mod module_size;
mod native;
mod package;
mod page;
mod process;
mod release;
mod setup;
mod suite;
mod vocabulary;
mod wasm;

use std::process::ExitCode;

use crate::process::Failure;

const HELP: &str = "\
cargo xtask page [--port N] [--no-serve]   build the page with the shipped model, serve it and print its address
cargo xtask test [STEP…]                   run all tests, the browser's included, or only the named steps
    Both install what this machine lacks, system packages included, and print the list with the reasons and commands
    before they do. With ONESTEP_INSTALL=no in the environment they install nothing and fail with that list instead.
cargo xtask package                        make the npm package with its WebAssembly builds
cargo xtask docs [--book]                  build the book and the API documentation into dist-docs, without a broken link
cargo xtask vocabulary [PREFIX…]           find words that this repository replaces by the terms of the field
cargo xtask bench [OPTION…]                our times beside others', into benches/results.md (an hour or more)
cargo xtask release --check [--tag vN.N.N] name everything that stands in the way of a release
cargo xtask setup [page|test]              install what the above need and do nothing else

Steps of test: fmt vocabulary deny javascript clippy native cuda page browser

Environment:
  ONESTEP_CACHE=DIR    where tools and build results are kept; else a folder of your caches
  ONESTEP_BUNDLE=DIR   the bundle that the page gets; else models/emoji
  ONESTEP_INSTALL=no   install nothing, only print the list of what is missing
  ONESTEP_SKIP=STEPS   steps of test to leave out, separated by commas
  CARGO_TARGET_DIR     is respected
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments.as_slice() {
        ["page", options @ ..] => page::run(options),
        ["package", options @ ..] => package::run(options),
        ["test", steps @ ..] => suite::run(steps),
        ["bench", options @ ..] => bench::run(options),
        ["docs", options @ ..] => docs::run(options),
        ["vocabulary", prefixes @ ..] => vocabulary::run(prefixes),
        ["release", options @ ..] => release::run(options),
        ["setup"] => setup::everything(),
        ["setup", "page"] => setup::page().map(drop),
        ["setup", "test"] => setup::everything(),
        // Called by trunk, see Trunk.toml.
        ["finish-page"] => page::finish(),
        [] | ["help" | "-h" | "--help"] => {
            print!("{HELP}");
            Ok(())
        }
        other => Err(Failure(format!("cargo xtask does not know {:?}\n\n{HELP}", other.join(" ")))),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(message)) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}
