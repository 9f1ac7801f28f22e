//! All tests, in the order of what they cost, and one line at the end.

mod deny;
mod tally;

use std::{env, process::Command, time::Instant};

use crate::{
    bundle, folders, javascript, module_size, native, package, page,
    process::{self, Failure, Result},
    setup, vocabulary,
    wasm::Module,
};

use tally::Tally;

struct Step {
    name: &'static str,
    run: fn(&mut Tally) -> Result<()>,
    /// What set-up has to install for it.
    missing: fn() -> Vec<setup::Missing>,
}

const STEPS: [Step; 9] = [
    Step { name: "fmt", run: fmt, missing: Vec::new },
    Step { name: "vocabulary", run: find_replaced_words, missing: Vec::new },
    Step { name: "deny", run: deny::run, missing: setup::missing_for_deny },
    Step { name: "javascript", run: check_javascript, missing: setup::missing_for_javascript },
    Step { name: "clippy", run: clippy, missing: Vec::new },
    Step { name: "native", run: tests, missing: setup::missing_for_native },
    Step { name: "cuda", run: cuda, missing: Vec::new },
    Step { name: "page", run: build_page, missing: setup::missing_for_page },
    Step { name: "browser", run: browser, missing: || [setup::missing_for_page(), setup::missing_for_browser()].concat() },
];

pub fn run(names: &[&str]) -> Result<()> {
    if let Some(unknown) = names.iter().find(|name| STEPS.iter().all(|step| step.name != **name)) {
        let known: Vec<_> = STEPS.iter().map(|step| step.name).collect();
        return Err(Failure(format!("there is no step {unknown:?}; there are {}", known.join(", "))));
    }
    let skipped = env::var("ONESTEP_SKIP").unwrap_or_default();
    let is_skipped = |step: &Step| skipped.split(',').any(|name| name.trim() == step.name);
    let mut tally = Tally::default();
    let steps = || STEPS.iter().filter(|step| names.is_empty() || names.contains(&step.name));
    setup::announce(steps().filter(|step| !is_skipped(step)).flat_map(|step| (step.missing)()).collect());
    for step in steps() {
        println!("\n== {} ==", step.name);
        if is_skipped(step) {
            tally.skip(format!("{}: ONESTEP_SKIP says so", step.name));
            continue;
        }
        let start = Instant::now();
        if let Err(failure) = (step.run)(&mut tally) {
            tally.fail(format!("{}: {failure}", step.name));
        }
        println!("-- {} took {} s", step.name, start.elapsed().as_secs());
    }
    tally.finish()
}

fn fmt(tally: &mut Tally) -> Result<()> {
    process::run(native::cargo().args(["fmt", "--all", "--check"]))?;
    tally.pass();
    Ok(())
}

fn find_replaced_words(tally: &mut Tally) -> Result<()> {
    vocabulary::run(&[])?;
    tally.pass();
    Ok(())
}

fn check_javascript(tally: &mut Tally) -> Result<()> {
    javascript::check()?;
    tally.pass();
    Ok(())
}

fn clippy(tally: &mut Tally) -> Result<()> {
    let mut command = native::cargo();
    // Without default features the program `onestep` is burn-free as well.
    command.args(["clippy", "--release", "--all-targets", "--no-default-features"]);
    command.args(["--features", "onestep-runtime/selftest,onestep/selftest,onestep/cpu,xtask/bindgen"]);
    process::run(command.args(native::BURN_FREE.map(|name| format!("--package={name}"))).args(["--", "--deny", "warnings"]))?;
    tally.pass();
    Ok(())
}

/// In one call, so that burn is compiled once. The crate graph and the shaders are tested there as well, the latter by naga and tint. Before them the
/// program without training, since both are `release/onestep` and the one that is left should be whole.
fn tests(tally: &mut Tally) -> Result<()> {
    setup::native()?;
    let mut light = native::cargo();
    light.args(["test", "--release", "--package=onestep-cli", "--no-default-features", "--no-fail-fast"]);
    tally.watch("cargo test without training", &mut light, tally::cargo_test)?;
    let mut command = native::cargo();
    command.args(["test", "--release", "--workspace", "--exclude=onestep-wasm", "--no-fail-fast"]);
    command.args(["--features", "onestep-runtime/selftest"]);
    tally.watch("cargo test", &mut command, tally::cargo_test)
}

/// Types only: compiling the CUDA path needs LLVM and a GPU, checking it does not. The variable is by what those crates know it.
fn cuda(tally: &mut Tally) -> Result<()> {
    process::run(native::cargo().env("DOCS_RS", "1").args(["check", "--package=onestep-train", "--features=cuda"]))?;
    tally.pass();
    Ok(())
}

fn build_page(tally: &mut Tally) -> Result<()> {
    page::build(&setup::page()?)?;
    module_size::check()?;
    tally.pass();
    Ok(())
}

fn browser(tally: &mut Tally) -> Result<()> {
    let toolchain = setup::page()?;
    let programs = setup::browser()?;
    let Some(bundle) = bundle::folder() else {
        return Err(Failure("there is no model in models/emoji; ONESTEP_BUNDLE=DIR takes another".into()));
    };
    let results = folders::browser_results();
    std::fs::create_dir_all(&results).map_err(process::while_doing(results.display()))?;

    page::build(&toolchain)?;
    let archive = package::pack(&results.join("package"))?;

    // The kernel cases are not in the page; a separate build has them.
    let selftest = results.join("selftest");
    let mut cargo = native::cargo();
    cargo.args(["build", "--release", "--package=onestep-wasm", "--target=wasm32-unknown-unknown", "--features=selftest"]);
    process::run(toolchain.prepare(Module::WebGpu, &mut cargo))?;
    process::run(&mut toolchain.bindgen(&selftest))?;

    // With the features of the tests, or burn would be compiled again.
    process::run(native::cargo().args([
        "build",
        "--release",
        "--workspace",
        "--exclude=onestep-wasm",
        "--bins",
        "--features",
        "onestep-runtime/selftest",
    ]))?;
    let program = folders::target().join("release").join(format!("onestep{}", env::consts::EXE_SUFFIX));

    let mut node = Command::new(programs.node);
    node.current_dir(folders::root().join("tests/browser")).args(["--test", "--test-reporter=tap", "--test-concurrency=1"]);
    // What a failed test left open, a server for one, must not keep its file from ending.
    node.arg("--test-force-exit");
    node.env("ONESTEP_CHROMIUM", programs.chromium).env("ONESTEP_PROGRAM", program).env("ONESTEP_BUNDLE", bundle);
    node.env("ONESTEP_PACKAGE", archive);
    node.env("ONESTEP_PAGE", folders::root().join("dist")).env("ONESTEP_SELFTEST", selftest).env("ONESTEP_RESULTS", &results);
    tally.watch("node --test", &mut node, tally::node_test)?;
    println!("Screenshots and images are in {}", results.display());
    Ok(())
}
