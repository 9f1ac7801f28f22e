//! The crate graph points one way, and each outer world is known to one crate only (ARCHITECTURE.md, "Who may use whom").

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use onestep_tests::root;
use serde_json::Value;

/// The crates of the workspace with their permitted dependencies, of the workspace and of the [`GUARDED`] libraries.
const ALLOWED: &[(&str, &[&str])] = &[
    ("onestep-program", &[]),
    ("onestep-noise", &[]),
    ("onestep-store", &[]),
    ("onestep-shaders", &["naga"]),
    ("onestep-pipeline", &["onestep-program", "onestep-store"]),
    ("onestep-nets", &["burn", "onestep-pipeline", "onestep-program"]),
    ("onestep-cpu", &["onestep-program"]),
    ("onestep-compile", &["burn", "burn-capture", "burn-router", "onestep-cpu", "onestep-program"]),
    ("onestep-runtime", &["onestep-program", "onestep-shaders", "wgpu"]),
    ("onestep", &["onestep-cpu", "onestep-noise", "onestep-program", "onestep-runtime"]),
    ("onestep-train", &["burn", "onestep", "onestep-nets", "onestep-noise", "onestep-pipeline", "onestep-program", "onestep-store"]),
    ("onestep-cli", &["burn", "onestep", "onestep-compile", "onestep-nets", "onestep-pipeline", "onestep-program", "onestep-store", "onestep-train"]),
    ("onestep-wasm", &["onestep", "wasm-bindgen"]),
    ("xtask", &[]),
];

/// Libraries that only the crates above may name.
const GUARDED: &[&str] = &["burn", "burn-backend", "burn-flex", "burn-capture", "burn-router", "wgpu", "naga", "wasm-bindgen"];

fn metadata() -> Value {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let output =
        Command::new(cargo).args(["metadata", "--format-version", "1", "--no-deps", "--offline"]).current_dir(root()).output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Direct dependencies, without those of tests.
fn direct() -> BTreeMap<String, BTreeSet<String>> {
    let name = |value: &Value| value["name"].as_str().expect("a name").to_owned();
    let packages = metadata()["packages"].as_array().expect("packages").clone();
    packages
        .iter()
        .map(|package| {
            let used =
                package["dependencies"].as_array().expect("dependencies").iter().filter(|dependency| dependency["kind"] != "dev").map(name).collect();
            (name(package), used)
        })
        .collect()
}

#[test]
fn every_crate_uses_only_what_is_below_it() {
    let direct = direct();
    for (package, allowed) in ALLOWED {
        let used = direct.get(*package).unwrap_or_else(|| panic!("{package} is in the table and not in the workspace"));
        for other in used {
            let watched = other.starts_with("onestep") || GUARDED.contains(&other.as_str());
            assert!(!watched || allowed.contains(&other.as_str()), "{package} must not use {other}");
        }
    }
}

/// Every crate that `package` is built from.
fn tree(package: &str, options: &[&str]) -> String {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let output = Command::new(cargo)
        .args(["tree", "--package", package, "--edges", "normal", "--prefix", "none", "--format", "{p}"])
        .args(options)
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn beginning<'a>(tree: &'a str, names: &[&str]) -> Vec<&'a str> {
    tree.lines().filter(|line| names.iter().any(|name| line.starts_with(name))).collect()
}

#[test]
fn the_page_loads_one_path_and_no_large_library_of_the_other() {
    let module = |features: &[&str]| tree("onestep-wasm", &[&["--target", "wasm32-unknown-unknown"], features].concat());
    let webgpu = module(&[]);
    assert!(webgpu.contains("onestep-runtime"), "{webgpu}");
    assert_eq!(beginning(&webgpu, &["burn", "cubecl", "gemm", "tokenizers"]), [""; 0]);
    let cpu = module(&["--no-default-features", "--features=cpu"]);
    assert!(cpu.contains("onestep-cpu"), "{cpu}");
    assert_eq!(beginning(&cpu, &["onestep-runtime", "wgpu", "naga", "tokenizers", "rayon"]), [""; 0]);
}

#[test]
fn the_program_without_training_has_no_crate_of_training() {
    const OF_TRAINING: &[&str] = &["burn", "onestep-compile", "onestep-nets", "onestep-train", "tokenizers", "nalgebra"];
    let light = tree("onestep-cli", &["--no-default-features"]);
    assert!(light.contains("onestep-runtime") && light.contains("onestep-cpu"), "{light}");
    assert_eq!(beginning(&light, OF_TRAINING), [""; 0]);
    let whole = tree("onestep-cli", &[]);
    assert!(OF_TRAINING.iter().all(|name| !beginning(&whole, &[name]).is_empty()), "{whole}");
}
