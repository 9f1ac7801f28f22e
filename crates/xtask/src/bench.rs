//! Timings compared with those of other systems: everything that `benches/compare.js` needs, made once, and then the comparison.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    folders, native, page,
    process::{self, Failure, Result, while_doing},
    setup,
    wasm::Toolchain,
};

const HELP: &str = "cargo xtask bench takes --rounds N, --minutes N (for one cell of the table), --networks emoji,medium, --only PATTERN (of sides' names) \
                    --no-cold, --no-burn, and --gpu (a network of Stable Diffusion's size as well, beside PyTorch on an NVIDIA GPU); \
                    --first-visit measures nothing but what a first visit of the page costs";
/// Those that every side runs.
const NETWORKS: [&str; 2] = ["emoji", "medium"];
/// Each with the environment variable by which the comparison knows it.
const OPTIONS: [(&str, &str); 4] = [
    ("--rounds", "ONESTEP_BENCH_ROUNDS"),
    ("--minutes", "ONESTEP_BENCH_MINUTES"),
    ("--networks", "ONESTEP_BENCH_NETWORKS"),
    ("--only", "ONESTEP_BENCH_ONLY"),
];

pub fn run(options: &[&str]) -> Result<()> {
    let (mut passed, mut with_burn, mut gpu, mut visit) = (Vec::new(), true, false, false);
    let mut options = options.iter();
    while let Some(option) = options.next() {
        match OPTIONS.iter().find(|(name, _)| name == option) {
            Some((_, variable)) => passed.push((*variable, *options.next().ok_or_else(|| Failure(HELP.into()))?)),
            None if *option == "--no-burn" => with_burn = false,
            None if *option == "--no-cold" => passed.push(("ONESTEP_BENCH_COLD", "no")),
            None if *option == "--gpu" => gpu = true,
            None if *option == "--first-visit" => visit = true,
            None => return Err(Failure(format!("{HELP}; it does not know {option:?}"))),
        }
    }
    let toolchain = setup::page()?;
    if visit {
        return first_visit(&toolchain, passed);
    }
    let tools = setup::bench()?;
    page::build(&toolchain)?;
    let program = program()?;
    let burn = if with_burn { Some(burn(gpu)?) } else { None };
    let work = folders::bench().join("networks");
    networks(&tools.python, &program, &work, &NETWORKS, true)?;
    if gpu {
        // No ONNX: at this size it is beyond what a browser takes.
        networks(&tools.python, &program, &work, &["sd15"], false)?;
    }

    let mut node = Command::new(tools.node);
    node.current_dir(benches()).arg("compare.js").envs(passed);
    node.env("ONESTEP_BENCH_WORK", work).env("ONESTEP_BENCH_PACKAGES", tools.packages).env("ONESTEP_BENCH_PYTHON", tools.python);
    node.env("ONESTEP_PROGRAM", program).env("ONESTEP_PAGE", folders::root().join("dist")).env("ONESTEP_CHROMIUM", tools.chromium);
    if let Some(burn) = burn {
        node.env("ONESTEP_BENCH_BURN", burn);
    }
    if gpu {
        node.env("ONESTEP_BENCH_GPU", "1");
    }
    process::run(&mut node)?;
    println!("The tables are in {}", benches().join("results.md").display());
    Ok(())
}

fn first_visit(toolchain: &Toolchain, passed: Vec<(&str, &str)>) -> Result<()> {
    let programs = setup::browser()?;
    page::build(toolchain)?;
    let mut node = Command::new(programs.node);
    node.current_dir(benches()).arg("first-visit.js").envs(passed);
    node.env("ONESTEP_PAGE", folders::root().join("dist")).env("ONESTEP_CHROMIUM", programs.chromium);
    process::run(&mut node)?;
    println!("The tables are in {}", benches().join("first-visit.md").display());
    Ok(())
}

fn benches() -> PathBuf {
    folders::root().join("benches")
}

/// The program, with the features of the tests, or burn would be compiled again.
fn program() -> Result<PathBuf> {
    let arguments = ["build", "--release", "--workspace", "--exclude=onestep-wasm", "--bins", "--features", "onestep-runtime/selftest"];
    process::run(native::cargo().args(arguments))?;
    Ok(folders::target().join("release").join(format!("onestep{}", env::consts::EXE_SUFFIX)))
}

/// The networks on burn: a separate workspace in a separate target folder, since its burn has other features. On software adapters without
/// what speeds it up on GPUs, see there.
fn burn(gpu: bool) -> Result<PathBuf> {
    let target = folders::bench().join("target");
    println!("Building the networks on burn's own GPU backends, to compare with (a quarter of an hour, once; --no-burn leaves it out)");
    let mut cargo = native::cargo();
    cargo.args(["build", "--release", "--manifest-path", "benches/burn/Cargo.toml"]).env("CARGO_TARGET_DIR", &target);
    if !gpu {
        cargo.arg("--no-default-features");
    }
    process::run(&mut cargo)?;
    Ok(target.join("release").join(format!("onestep-bench-burn{}", env::consts::EXE_SUFFIX)))
}

/// Each network as a pipeline folder, a bundle and ONNX files; kept until what they are made from changes.
fn networks(python: &Path, program: &Path, work: &Path, names: &[&str], with_onnx: bool) -> Result<()> {
    let made_from = made_from(names)?;
    let mark = work.join(format!("{}-made-from", names.join("-")));
    let old = fs::read_to_string(&mark).unwrap_or_default();
    let script = |step: &str| {
        let mut command = Command::new(python);
        command.current_dir(folders::root()).args(["benches/networks.py", step]).arg(work).args(names);
        command
    };
    if old != made_from {
        println!("Making the networks of the comparison (some minutes, once)");
        process::run(&mut script("folders"))?;
        if with_onnx {
            process::run(&mut script("onnx"))?;
        }
    }
    // The bundles always: they are our compiler's, and so is what they cost.
    for name in names {
        let bundle = work.join(name).join("bundle");
        let mut export = Command::new(program);
        export.arg("export").arg("--model").arg(work.join(name).join("model")).arg("--out").arg(&bundle);
        process::run(export.args(["--title", name, "--quiet"]))?;
    }
    fs::write(&mark, made_from).map_err(while_doing(mark.display()))
}

/// Everything that decides what the networks are, in one text.
fn made_from(names: &[&str]) -> Result<String> {
    let mut text = String::new();
    let mut folders: Vec<PathBuf> = names.iter().chain(&["pipeline"]).map(|name| benches().join("networks").join(name)).collect();
    let mut files = vec![benches().join("networks.py"), benches().join("requirements.txt"), folders::root().join("models/emoji/manifest.json")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(while_doing(folder.display()))? {
            let path = entry.map_err(while_doing(folder.display()))?.path();
            let list = if path.is_dir() { &mut folders } else { &mut files };
            list.push(path);
        }
    }
    files.sort();
    for file in files {
        text += &fs::read_to_string(&file).map_err(while_doing(file.display()))?;
    }
    Ok(text)
}
