//! The commands that need no training, on the model of the repository and on the CPU.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The bundle of the repository: by what cargo says now, since a test may have been built in another clone.
fn bundle() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).to_owned(), PathBuf::from);
    package.join("../../models/emoji")
}

/// Runs what must succeed in `folder`, with `--json`; gives the object that it printed.
fn printed(folder: &Path, words: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_onestep"))
        .current_dir(folder)
        .args(words)
        .args(["--json", "--progress", "never"])
        .output()
        .expect("the program starts");
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn an_image_is_generated_again_byte_by_byte() {
    let home = tempfile::tempdir().unwrap();
    let bundle = bundle();
    let bundle = bundle.to_str().expect("a path in UTF-8");
    for name in ["a.png", "b.png"] {
        let said = printed(home.path(), &["generate", "red heart", "--seed", "7", "--bundle", bundle, "--device", "cpu", "--out", name]);
        assert_eq!((said["seed"].as_u64(), said["path"].as_str()), (Some(7), Some(name)));
    }
    let [a, b] = ["a.png", "b.png"].map(|name| fs::read(home.path().join(name)).unwrap());
    assert!(a == b && a.starts_with(b"\x89PNG"));
}

#[test]
fn a_bundle_is_inspected_and_timed() {
    let home = tempfile::tempdir().unwrap();
    let bundle = bundle();
    let bundle = bundle.to_str().expect("a path in UTF-8");
    let inspected = printed(home.path(), &["inspect", bundle]);
    let counts = inspected["components"]["generator"]["by_kind"].as_object().expect("counts of operations");
    let total: u64 = counts.values().filter_map(Value::as_u64).sum();
    assert_eq!(Some(total), inspected["components"]["generator"]["operations"].as_u64());

    let timed = printed(home.path(), &["bench", bundle, "--device", "cpu", "--repeats", "1", "--tensors", "t.safetensors"]);
    assert_eq!(timed["milliseconds"]["image"].as_array().map(Vec::len), Some(1));
    let compared = printed(home.path(), &["bench", bundle, "--device", "cpu", "--repeats", "1", "--against", "t.safetensors"]);
    assert_eq!(compared["agreement"]["generator"].as_f64(), Some(0.0), "{compared}");
}
