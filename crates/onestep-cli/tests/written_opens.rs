//! What one command writes, the next one opens: `export` refuses what `generate` would refuse, `inspect` ends like `generate`, and a set of
//! pairs is compared with its teacher.

#[path = "support/journey.rs"]
mod fixture;
mod support;

use std::fs;
use std::path::Path;

use fixture::{copy_folder, journey, run};
use serde_json::{Value, json};
use support::text;

const CHUNK: usize = 16 << 20;

fn json_of(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Brings the sizes and hashes of a bundle's manifest up to its files.
fn hash_again(bundle: &Path) {
    let path = bundle.join("manifest.json");
    let mut manifest = json_of(&path);
    for file in manifest["files"].as_array_mut().unwrap() {
        let bytes = fs::read(bundle.join(file["name"].as_str().unwrap())).unwrap();
        file["size"] = bytes.len().into();
        file["chunks"] = bytes.chunks(CHUNK).map(onestep_train::store::sha256).collect::<Vec<_>>().into();
    }
    fs::write(path, manifest.to_string()).unwrap();
}

/// Exit codes of `inspect` and `generate`, and what both said.
fn inspected_and_generated(folder: &Path, bundle: &str) -> ([i32; 2], String) {
    let inspect = run(folder, &["inspect", bundle]);
    let generate = run(folder, &["generate", "red square", "--bundle", bundle, "--device", "cpu", "--out", "image.png"]);
    let said = text(&inspect.stderr) + &text(&generate.stderr);
    ([inspect.status.code().unwrap(), generate.status.code().unwrap()], said)
}

/// Name of the copy, the file at fault, and the edit.
type Edit = (&'static str, &'static str, fn(&Path));

#[test]
fn inspect_ends_like_generate() {
    let home = tempfile::tempdir().unwrap();
    let edits: [Edit; 6] = [
        ("sound", "", |_| ()),
        ("tokenizer-empty", "tokenizer.json", |bundle| fs::write(bundle.join("tokenizer.json"), "").unwrap()),
        ("tokenizer-unknown-model", "tokenizer.json", |bundle| {
            let path = bundle.join("tokenizer.json");
            let mut tokenizer = json_of(&path);
            tokenizer["model"]["type"] = "Unigram".into();
            fs::write(path, tokenizer.to_string()).unwrap();
        }),
        ("other-image-size", "decoder", |bundle| {
            let path = bundle.join("manifest.json");
            let mut manifest = json_of(&path);
            manifest["generation"]["image"] = json!([8, 8]);
            fs::write(path, manifest.to_string()).unwrap();
        }),
        ("other-prompt-length", "text_encoder", |bundle| {
            let path = bundle.join("manifest.json");
            let mut manifest = json_of(&path);
            manifest["generation"]["prompt_tokens"] = 17.into();
            fs::write(path, manifest.to_string()).unwrap();
        }),
        ("weights-not-finite", "weights-00001.safetensors", |bundle| {
            let path = bundle.join("weights-00001.safetensors");
            let mut bytes = fs::read(&path).unwrap();
            // Whatever the last tensor is stored in: NaN in f16, and in f32 where two of them make one.
            let end = bytes.len();
            bytes[end - 4..].copy_from_slice(&[0xff, 0x7f, 0xff, 0x7f]);
            fs::write(path, bytes).unwrap();
        }),
    ];
    for (name, culprit, edit) in edits {
        let bundle = home.path().join(name);
        copy_folder(&journey().folder.join("bundle"), &bundle);
        edit(&bundle);
        hash_again(&bundle);
        let (codes, said) = inspected_and_generated(home.path(), name);
        assert_eq!(codes, if culprit.is_empty() { [0, 0] } else { [3, 3] }, "{name}: {said}");
        assert!(said.matches(culprit).count() >= 2, "{name}: {said}");
    }
}

#[test]
fn a_title_cannot_steer_the_terminal() {
    let home = tempfile::tempdir().unwrap();
    let bundle = home.path().join("b");
    copy_folder(&journey().folder.join("bundle"), &bundle);
    let path = bundle.join("manifest.json");
    let mut manifest = json_of(&path);
    manifest["title"] = format!("\u{1b}[31mred\u{202e}{}", "n".repeat(100_000)).into();
    fs::write(path, manifest.to_string()).unwrap();
    let output = run(home.path(), &["inspect", "b"]);
    let said = text(&output.stdout);
    assert!(output.status.success());
    assert!(said.contains("\\u{1b}[31mred\\u{202e}") && !said.contains('\u{1b}') && said.len() < 20_000, "{said}");
}

/// Tokenizers that the training side could use and the runtime could not: refused by `export` and `pairs` before they begin.
#[test]
fn tokenizers_that_the_runtime_does_not_read_are_refused_before_anything_is_written() {
    let home = tempfile::tempdir().unwrap();
    copy_folder(&journey().folder.join("images"), &home.path().join("images"));
    let cases: [(&str, &str, Value); 4] = [
        ("byte-fallback", "/model/byte_fallback", json!(true)),
        ("multiple", "/padding/pad_to_multiple_of", json!(7)),
        ("replace", "/normalizer", json!({ "type": "Replace", "pattern": { "Regex": "a+" }, "content": "b" })),
        ("unknown-key", "/version", json!("2.0")),
    ];
    for (name, pointer, value) in cases {
        let model = home.path().join(name);
        copy_folder(&journey().folder.join("student/model"), &model);
        let path = model.join("tokenizer/tokenizer.json");
        let mut tokenizer = json_of(&path);
        *tokenizer.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer} is in a tokenizer")) = value;
        fs::write(path, tokenizer.to_string()).unwrap();
        let export = run(home.path(), &["export", "--model", name, "--out", "out"]);
        let words = ["pairs", "--teacher", name, "--data", "images", "--count", "2", "--steps", "2", "--device", "cpu", "--out", "out"];
        for (command, output) in [("export", export), ("pairs", run(home.path(), &words))] {
            let said = text(&output.stderr);
            assert_eq!(output.status.code(), Some(3), "{name}, {command}: {said}");
            let key = pointer.rsplit('/').next().unwrap();
            assert!(said.contains("tokenizer.json") && said.contains(key) && !said.contains("report"), "{name}, {command}: {said}");
            assert!(!home.path().join("out").exists(), "{name}, {command} left something");
        }
    }
}

#[test]
fn pairs_of_another_shape_are_not_continued() {
    let home = tempfile::tempdir().unwrap();
    for name in ["images", "teacher", "pairs"] {
        copy_folder(&journey().folder.join(name), &home.path().join(name));
    }
    let path = home.path().join("pairs/index.json");
    let sound = json_of(&path);
    fs::remove_file(home.path().join("pairs").join(format!("pairs-00000-of-{:05}.safetensors", sound["shards"].as_array().unwrap().len()))).unwrap();
    for channels in [4_398_046_511_104_u64, 8, 0] {
        let mut index = sound.clone();
        index["shape"][0] = channels.into();
        fs::write(&path, index.to_string()).unwrap();
        let words = fixture::command("pairs", "pairs");
        let words: Vec<&str> = words.iter().map(String::as_str).chain(["--resume"]).collect();
        for words in [&words[..], &["distil", "--teacher", "teacher", "--pairs", "pairs", "--distance", "mse", "--device", "cpu", "--out", "d"]] {
            let output = run(home.path(), words);
            let said = text(&output.stderr);
            assert_eq!(output.status.code(), Some(3), "{words:?}: {said}");
            assert!(said.contains("index.json") || said.contains("missing"), "{words:?}: {said}");
        }
    }
}
