//! The contents of the packages: those of the crates as cargo lists them, that of npm as npm does. Nothing is built.
#![allow(clippy::print_stdout, reason = "the sizes, and why something was skipped, are for whoever reads the tests' output")]

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Component, Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// The largest file of a package in bytes: sources and tables are smaller, fixtures and weights are not.
const MAX_FILE: u64 = 100 << 10;
/// All files of a crate's package together. The registry's own limit is 10 MiB, packed.
const MAX_CRATE: u64 = 1 << 20;
/// The same of the npm package without its WebAssembly builds.
const MAX_NPM: u64 = 300 << 10;
/// Files that only the repository needs, by their extension.
const UNWANTED: [&str; 8] = ["gz", "jsonl", "log", "map", "png", "py", "safetensors", "tgz"];

/// The repository: by what cargo says now, since a test may have been built for another clone that shares its target folder.
fn root() -> PathBuf {
    let here = env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).to_owned(), PathBuf::from);
    here.join("../..").canonicalize().expect("the repository")
}

fn cargo(arguments: &[&str]) -> String {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo).args(arguments).arg("--offline").current_dir(root()).output().expect("cargo runs");
    assert!(output.status.success(), "cargo {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Name and folder of every crate that is published.
fn published() -> Vec<(String, PathBuf)> {
    let metadata: Value = serde_json::from_str(&cargo(&["metadata", "--format-version=1", "--no-deps"])).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages").iter();
    packages
        .filter(|package| package["publish"].is_null())
        .map(|package| {
            let manifest = Path::new(package["manifest_path"].as_str().expect("a path"));
            (package["name"].as_str().expect("a name").to_owned(), manifest.parent().expect("a folder").to_owned())
        })
        .collect()
}

/// Every file below a folder, relative to `from`, with slashes.
fn files(folder: &Path, from: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, from, found);
        } else {
            found.insert(slashes(path.strip_prefix(from).expect("below it")));
        }
    }
}

fn slashes(path: &Path) -> String {
    path.components().map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
}

/// The path with its `..` resolved, or nothing if it leaves the folder that it is relative to.
fn inside(path: &Path) -> Option<PathBuf> {
    let mut parts = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => parts.pop().then_some(())?,
            Component::Normal(name) => parts.push(name),
            _ => {}
        }
    }
    Some(parts)
}

/// The files that a source includes, as it names them: by `include_str!`, `include_bytes!`, `include!` and `#[path]`.
fn included(source: &str) -> impl Iterator<Item = &str> {
    let after = ["include_str!(\"", "include_bytes!(\"", "include!(\"", "#[path = \""];
    let found = after.into_iter().flat_map(move |start| source.match_indices(start).map(move |(at, _)| &source[at + start.len()..]));
    found.filter_map(|rest| rest.split_once('"').map(|(name, _)| name))
}

fn unwanted(file: &str) -> bool {
    let extension = Path::new(file).extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    UNWANTED.contains(&extension) || ["fixtures/", "hostile/", "node_modules/"].iter().any(|folder| file.contains(folder))
}

#[test]
fn a_crate_carries_its_sources_and_licences_and_no_fixtures() {
    let crates = published();
    let names: Vec<&str> = crates.iter().map(|(name, _)| name.as_str()).collect();
    for expected in ["onestep", "onestep-cli", "onestep-runtime", "onestep-shaders", "onestep-train"] {
        assert!(names.contains(&expected), "{expected} is not among the published crates: {names:?}");
    }
    for private in ["onestep-tests", "onestep-wasm", "xtask"] {
        assert!(!names.contains(&private), "{private} must say publish = false");
    }
    let mut problems = Vec::new();
    for (name, folder) in &crates {
        let list = cargo(&["package", "--list", "--allow-dirty", "--package", name]);
        let packed: BTreeSet<String> = list.lines().map(|line| line.replace('\\', "/")).collect();

        let mut wanted: BTreeSet<String> = ["Cargo.toml", "README.md", "LICENSE-MIT", "LICENSE-APACHE"].map(str::to_owned).into();
        for part in ["src", "kernels", "shared", "build"].map(|part| folder.join(part)).iter().filter(|part| part.is_dir()) {
            files(part, folder, &mut wanted);
        }
        for file in wanted.difference(&packed) {
            problems.push(format!("{name} lacks {file}"));
        }

        let mut total = 0;
        for file in &packed {
            // cargo makes some of them itself.
            let Ok(bytes) = fs::read(folder.join(file)) else { continue };
            let size = bytes.len() as u64;
            total += size;
            if size > MAX_FILE || unwanted(file) {
                problems.push(format!("{name} carries {file} ({size} bytes); exclude it in the crate's Cargo.toml"));
            }
            let Ok(source) = String::from_utf8(bytes) else { continue };
            if !file.ends_with(".rs") {
                continue;
            }
            for other in included(&source) {
                let path = inside(&Path::new(file).parent().unwrap_or(Path::new("")).join(other)).map(|path| slashes(&path));
                if !path.is_some_and(|path| packed.contains(&path)) {
                    problems.push(format!("{name}: {file} includes {other}, which is not in the package; read it when the test runs"));
                }
            }
        }
        println!("{name}: {} files, {total} bytes", packed.len());
        if total > MAX_CRATE {
            problems.push(format!("{name} is {total} bytes, more than {MAX_CRATE}"));
        }
    }
    assert!(problems.is_empty(), "{problems:#?}");
}

#[test]
fn the_npm_package_carries_its_exports_and_licences_and_no_tests() {
    let folder = root().join("web/packages/onestep");
    let npm = if cfg!(windows) { "npm.cmd" } else { "npm" };
    let Ok(output) = Command::new(npm).args(["pack", "--dry-run", "--json", "--ignore-scripts"]).current_dir(&folder).output() else {
        println!("skipped: npm is not on PATH");
        return;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    // A list of packages in npm to version 11, an object by name in later ones.
    let package = answer.get(0).or_else(|| answer.get("onestep")).expect("the package");
    let packed: Vec<(&str, u64)> =
        package["files"].as_array().expect("files").iter().filter_map(|file| Some((file["path"].as_str()?, file["size"].as_u64()?))).collect();
    let has = |file: &str| packed.iter().any(|(path, _)| *path == file);

    let manifest: Value = serde_json::from_slice(&fs::read(folder.join("package.json")).expect("package.json")).expect("JSON");
    let mut targets = Vec::new();
    exports(&manifest["exports"], &mut targets);
    assert!(targets.len() > 4, "{targets:?}");
    // The WebAssembly builds and types are there after `cargo xtask package` alone; `release --check` asks for them.
    let sources = targets.into_iter().filter(|target| !target.ends_with(".wasm") && !target.starts_with("types/"));
    for file in sources.chain(["README.md", "LICENSE-MIT", "LICENSE-APACHE", "package.json"]) {
        assert!(has(file), "the package lacks {file}");
    }
    let mut total = 0;
    for (file, size) in packed.iter().filter(|(file, _)| !file.starts_with("wasm/")) {
        total += size;
        assert!(*size <= MAX_FILE && !unwanted(file) && !file.contains("test"), "the package carries {file} ({size} bytes)");
    }
    println!("npm: {} files, {total} bytes without WebAssembly", packed.len());
    assert!(total <= MAX_NPM, "the package is {total} bytes without WebAssembly, more than {MAX_NPM}");
}

/// The files that `exports` of a package.json names, without `./`.
fn exports<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::String(path) => found.push(path.trim_start_matches("./")),
        Value::Object(entries) => entries.values().for_each(|entry| exports(entry, found)),
        _ => {}
    }
}

#[test]
fn npm_publishes_nothing_without_the_webassembly_builds() {
    let folder = env::temp_dir().join(format!("xtask-prepublish-{}", std::process::id()));
    fs::create_dir_all(folder.join("wasm")).expect("a folder");
    for file in ["package.json", "prepublish.mjs"] {
        fs::copy(root().join("web/packages/onestep").join(file), folder.join(file)).expect("a copy");
    }
    let script = || Command::new("node").arg("prepublish.mjs").current_dir(&folder).output();
    if let Ok(refused) = script() {
        let sentence = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(1), "{sentence}");
        assert!(sentence.contains("cannot be published without") && sentence.contains("onestep-wasm_bg.wasm"), "{sentence}");
        for name in ["onestep-wasm", "onestep-wasm-cpu", "onestep-wasm-cpu-relaxed"] {
            fs::write(folder.join(format!("wasm/{name}.js")), "").expect("a file");
            fs::write(folder.join(format!("wasm/{name}_bg.wasm")), "").expect("a file");
        }
        let refused = script().expect("node runs");
        assert!(String::from_utf8_lossy(&refused.stderr).contains("types/public/index.d.ts"), "published without types");
        fs::create_dir_all(folder.join("types/public")).expect("a folder");
        fs::write(folder.join("types/public/index.d.ts"), "").expect("a file");
        let accepted = script().expect("node runs");
        assert!(accepted.status.success(), "{}", String::from_utf8_lossy(&accepted.stderr));
    } else {
        println!("skipped: node is not on PATH");
    }
    fs::remove_dir_all(&folder).expect("removed");
}
