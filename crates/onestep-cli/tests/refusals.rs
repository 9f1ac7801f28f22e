//! Files and numbers that cannot be what they should: each is refused with exit code 3 (2 for a number on the command line) and a sentence that names
//! the culprit, before anything is computed.

mod support;
#[path = "support/tiny_pipeline.rs"]
mod tiny_pipeline;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use burn::tensor::Device;
use onestep_nets::{ClipTextConfig, Init, UNet2DConditionConfig, weights};
use onestep_program::{FileEntry, Manifest};
use onestep_train::pipeline_folder::{MODEL, TEXT_WEIGHTS, TOKENIZER, UNET_WEIGHTS, VAE_WEIGHTS, model_index};
use onestep_train::store::{self, tensor_bytes};
use serde_json::{Value, json};
use support::{text, write_images};
use tiny_pipeline::{TOKENS, scheduler_config, sound, tokenizer, unet_config, vae_config, with};

/// A sound pipeline with random weights in `base`, images in `images` and a bundle of it in `bundle`.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a temporary folder").keep();
        write_images(&folder.join("images"), 16);
        store::write_folder(&folder.join("base"), MODEL, sound()).expect("a write");
        succeed(&folder, &["export", "--model", "base", "--out", "bundle"]);
        folder
    })
}

fn run(folder: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onestep"));
    command.env("ONESTEP_PROGRESS", "never").stdin(Stdio::null()).current_dir(folder).args(words).output().expect("the program starts")
}

fn succeed(folder: &Path, words: &[&str]) -> String {
    let output = run(folder, words);
    assert!(output.status.success(), "{words:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// Runs what must be refused; the sentence has all of these parts and is no report of a fault.
fn refused(words: &[&str], code: i32, parts: &[&str]) {
    // A destination for each: tests run side by side, and two commands never write to one path.
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let never = format!("never{}x", NUMBER.fetch_add(1, Ordering::Relaxed));
    let words: Vec<String> = words.iter().map(|word| word.replace("never", &never)).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let output = run(folder(), &words);
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{words:?}: {told}");
    assert!(told.starts_with("error: ") && !told.contains("fault of onestep") && !told.contains("please report"), "{words:?}: {told}");
    parts.iter().for_each(|part| assert!(told.contains(part), "{words:?}: {part:?} is not in {told}"));
    let left = fs::read_dir(folder()).expect("the folder").flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    assert_eq!(left.filter(|name| name.contains(&never)).collect::<Vec<_>>(), [""; 0], "{words:?} left something");
}

const PAIRS: [&str; 15] =
    ["pairs", "--data", "images", "--count", "4", "--shard", "4", "--batch", "4", "--steps", "5", "--device", "cpu", "--quiet", "--teacher"];

/// Samples pairs with a pipeline; the bytes of their shard.
fn pairs(name: &str) -> Vec<u8> {
    let out = format!("pairs-{name}");
    succeed(folder(), &[&PAIRS[..], &[name, "--out", &out]].concat());
    fs::read(folder().join(out).join("pairs-00000-of-00001.safetensors")).expect("a shard")
}

/// The latents of a shard.
fn latents(shard: &[u8]) -> Vec<f32> {
    onestep_program::TensorFile::read(shard, "the shard").expect("a shard").get("latent").expect("a tensor").to_f32().expect("numbers")
}

/// Those of the sound pipeline.
fn base_pairs() -> &'static Vec<u8> {
    static PAIRS: OnceLock<Vec<u8>> = OnceLock::new();
    PAIRS.get_or_init(|| pairs("base"))
}

/// `pairs` and `export` refuse a pipeline alike, and leave nothing.
fn refused_by_both(name: &str, parts: &[&str]) {
    refused(&[&PAIRS[..], &[name, "--out", "pairs-never"]].concat(), 3, parts);
    refused(&["export", "--model", name, "--out", "bundle-never"], 3, parts);
}

/// A copy of `base` in which the files that `change` gives replace others.
fn changed(name: &str, files: &[(&str, Vec<u8>)]) -> PathBuf {
    let all = sound().iter().filter(|(path, _)| !files.iter().any(|(other, _)| other == path)).cloned();
    let path = folder().join(name);
    let all: Vec<_> = all.chain(files.iter().map(|(path, bytes)| ((*path).to_owned(), bytes.clone()))).collect();
    store::write_folder(&path, MODEL, &all).expect("a write");
    path
}

fn unet_weights(config: &[u8]) -> Vec<u8> {
    let config = UNet2DConditionConfig::from_json(&text(config)).expect("a configuration");
    weights::save(&config.init(&Device::flex()), &BTreeMap::new())
}

#[test]
fn schedulers_are_known_by_their_class() {
    const FILE: &str = "scheduler/scheduler_config.json";
    let flow = json!({"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 3.0});
    changed("flow", &[(FILE, flow.to_string().into_bytes())]);
    refused_by_both("flow", &[FILE, "_class_name = \"FlowMatchEulerDiscreteScheduler\""]);
    let mut euler = scheduler_config();
    euler["_class_name"] = "EulerDiscreteScheduler".into();
    euler.as_object_mut().expect("an object").remove("timestep_spacing");
    changed("euler", &[(FILE, euler.to_string().into_bytes())]);
    // The class's own default: linspace.
    let written = with(euler, "timestep_spacing", json!("linspace"));
    changed("euler-linspace", &[(FILE, written)]);
    let sampled = pairs("euler");
    assert!(sampled == pairs("euler-linspace") && sampled != *base_pairs());
    // Fresh noise in every step: no student can learn that. Another scheduler keeps the file's variances and timesteps.
    changed("ancestral", &[(FILE, with(scheduler_config(), "_class_name", json!("EulerAncestralDiscreteScheduler")))]);
    let told = ["EulerAncestralDiscreteScheduler", "fresh noise", "--scheduler"];
    refused(&[&PAIRS[..], &["ancestral", "--out", "pairs-never"]].concat(), 3, &told);
    changed("corrected", &[(FILE, with(scheduler_config(), "_class_name", json!("UniPCMultistepScheduler")))]);
    refused_by_both("corrected", &[FILE, "UniPCMultistepScheduler", "DDIMScheduler"]);
    for name in ["ancestral", "corrected"] {
        let out = format!("pairs-{name}-ddim");
        succeed(folder(), &[&PAIRS[..], &[name, "--scheduler", "ddim", "--out", &out]].concat());
        assert!(fs::read(folder().join(out).join("pairs-00000-of-00001.safetensors")).expect("a shard") == *base_pairs(), "{name}");
    }
    refused(&[&PAIRS[..], &["base", "--scheduler", "unipc", "--out", "pairs-never"]].concat(), 2, &["--scheduler unipc", "dpm-multistep"]);
    // As diffusers saves it: with a word that is no JSON for a key that does not matter. Of first order, it is DDIM.
    let mut solver = scheduler_config();
    for key in ["clip_sample", "set_alpha_to_one"] {
        solver.as_object_mut().expect("an object").remove(key);
    }
    solver["_class_name"] = "DPMSolverMultistepScheduler".into();
    solver["lambda_min_clipped"] = "HERE".into();
    solver["solver_order"] = 1.into();
    changed("solver", &[(FILE, solver.to_string().replace("\"HERE\"", "-Infinity").into_bytes())]);
    let (found, expected) = (latents(&pairs("solver")), latents(base_pairs()));
    let error: f32 = found.iter().zip(&expected).map(|(a, b)| (a - b).powi(2)).sum::<f32>() / expected.iter().map(|b| b.powi(2)).sum::<f32>();
    assert!(error.sqrt() < 1e-5, "the same variances and timesteps give the same latents: {error:.1e}");
}

#[test]
fn parts_that_do_not_fit_are_named_with_both_numbers() {
    let wide = with(unet_config(), "cross_attention_dim", json!(24));
    changed("wide", &[("unet/config.json", wide.clone()), (UNET_WEIGHTS, unet_weights(&wide))]);
    refused_by_both("wide", &["unet/config.json has cross_attention_dim = 24", "text_encoder/config.json has hidden_size = 8"]);

    let painting = with(unet_config(), "in_channels", json!(9));
    changed("inpainting", &[("unet/config.json", painting.clone()), (UNET_WEIGHTS, unet_weights(&painting))]);
    refused_by_both("inpainting", &["unet/config.json has in_channels = 9", "vae/config.json has latent_channels = 4", "inpainting"]);

    let deep = with(vae_config(), "latent_channels", json!(16));
    changed("sixteen", &[("vae/config.json", deep)]);
    refused_by_both("sixteen", &["in_channels = 4", "latent_channels = 16"]);

    changed("long", &[(TOKENIZER, tokenizer(32).to_json().as_bytes().to_vec())]);
    refused_by_both("long", &["tokenizer/tokenizer.json gives 32 tokens", "max_position_embeddings = 16"]);

    let count = tokenizer(TOKENS).vocabulary_size();
    let mut text_config: Value =
        serde_json::from_slice(&fs::read(folder().join("base/text_encoder/config.json")).expect("a file")).expect("a configuration");
    text_config["vocab_size"] = (count - 2).into();
    changed("few", &[("text_encoder/config.json", text_config.to_string().into_bytes())]);
    refused_by_both("few", &["text_encoder/config.json", &format!("[{count}, 8] instead of [{}, 8]", count - 2)]);

    let grey = with(vae_config(), "in_channels", json!(1));
    changed("grey", &[("vae/config.json", grey)]);
    refused_by_both("grey", &["vae/config.json", "in_channels = 1, expected 3"]);
}

#[test]
fn sizes_are_one_number() {
    for (name, size, parts) in [
        ("size-null", json!(null), vec!["unet/config.json", "sample_size is null or missing", "write one number instead, such as 256"]),
        ("size-zero", json!(0), vec!["sample_size = 0 is not within"]),
        ("size-huge", json!(1u64 << 60), vec!["sample_size = 1152921504606846976 is not within"]),
        ("size-text", json!("8"), vec!["sample_size = \"8\""]),
    ] {
        changed(name, &[("unet/config.json", with(unet_config(), "sample_size", size))]);
        refused_by_both(name, &parts);
    }
    changed("size-square", &[("unet/config.json", with(unet_config(), "sample_size", json!([8, 8])))]);
    assert!(pairs("size-square") == *base_pairs());
    changed("size-oblong", &[("unet/config.json", with(unet_config(), "sample_size", json!([8, 16])))]);
    refused(&[&PAIRS[..], &["size-oblong", "--out", "pairs-never"]].concat(), 3, &["images of 32x16 pixels", "only squares"]);
    succeed(folder(), &["export", "--model", "size-oblong", "--out", "bundle-oblong"]);
    succeed(folder(), &["export", "--model", "size-null", "--size", "32x16", "--out", "bundle-null"]);
}

#[test]
fn weights_are_found_under_every_name() {
    let whole = fs::read(folder().join("base").join(UNET_WEIGHTS)).expect("weights");
    let index = |file: &str| {
        let header = u64::from_le_bytes(whole[..8].try_into().expect("a length")) as usize;
        let tensors: serde_json::Map<String, Value> = serde_json::from_slice(&whole[8..8 + header]).expect("a header");
        let map: serde_json::Map<String, Value> =
            tensors.into_iter().filter(|(name, _)| name != "__metadata__").map(|(name, _)| (name, json!(file))).collect();
        json!({ "weight_map": map }).to_string().into_bytes()
    };
    let shard = "diffusion_pytorch_model-00001-of-00001.safetensors";
    for (name, others) in [
        ("variant", vec![("diffusion_pytorch_model.fp16.safetensors", whole.clone())]),
        ("sharded", vec![(shard, whole.clone()), ("diffusion_pytorch_model.safetensors.index.json", index(shard))]),
    ] {
        let path = changed(name, &[]);
        fs::remove_file(path.join(UNET_WEIGHTS)).expect("a file");
        for (other, bytes) in &others {
            fs::write(path.join("unet").join(other), bytes).expect("a write");
        }
        assert!(pairs(name) == *base_pairs(), "{name}");
        succeed(folder(), &["export", "--model", name, "--out", &format!("bundle-{name}")]);
        let weights = |bundle: &str| fs::read(folder().join(bundle).join("weights-00001.safetensors")).expect("weights");
        assert!(weights(&format!("bundle-{name}")) == weights("bundle"), "{name}");
    }
    let path = folder().join("variant/unet");
    fs::copy(path.join("diffusion_pytorch_model.fp16.safetensors"), path.join("diffusion_pytorch_model.ema.safetensors")).expect("a copy");
    refused_by_both("variant", &["variant/unet", "the variants ema, fp16", "--variant"]);
    let path = changed("pickled", &[]);
    fs::rename(path.join(UNET_WEIGHTS), path.join("unet/diffusion_pytorch_model.bin")).expect("a move");
    refused_by_both("pickled", &["unet/diffusion_pytorch_model.bin", "not a checkpoint of PyTorch"]);
    fs::rename(path.join("unet/diffusion_pytorch_model.bin"), path.join("unet/weights.gguf")).expect("a move");
    refused_by_both("pickled", &["pickled/unet: expected weights", "only weights.gguf"]);
}

#[test]
fn tokenizer_files_that_are_missing_or_do_not_fit_are_named() {
    let path = changed("vocabulary", &[]);
    fs::remove_file(path.join(TOKENIZER)).expect("a file");
    refused_by_both("vocabulary", &["vocabulary has no tokenizer/tokenizer.json, nor tokenizer/vocab.json with tokenizer/merges.txt"]);
    fs::copy(tokenizer_fixture("vocab.json"), path.join("tokenizer/vocab.json")).expect("a copy");
    refused_by_both("vocabulary", &["found only vocab.json; fetch merges.txt"]);
    fs::write(path.join("tokenizer/merges.txt"), "#version: 0.2\ni n\nin ☃\n").expect("a write");
    refused_by_both("vocabulary", &["tokenizer/merges.txt: line 3", "\"☃\""]);
    fs::copy(tokenizer_fixture("merges.txt"), path.join("tokenizer/merges.txt")).expect("a copy");
    refused_by_both("vocabulary", &["tokenizer/vocab.json has 1514 ids", "vocab_size = "]);
    fs::write(path.join("tokenizer/tokenizer_config.json"), "{\"model_max_length\": 77}").expect("a write");
    refused_by_both("vocabulary", &["tokenizer/vocab.json gives 77 tokens", "max_position_embeddings = 16"]);
}

fn tokenizer_fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/tokenizers").join(name)
}

/// A tokenizer as published Stable Diffusion folders have it goes through `pairs`, `distil` and `export`, and the bundle's is that of the student.
#[test]
fn a_published_tokenizer_is_read_and_long_captions_are_counted() {
    let mut text_config: Value =
        serde_json::from_slice(&fs::read(folder().join("base/text_encoder/config.json")).expect("a file")).expect("a configuration");
    text_config["vocab_size"] = 1514.into();
    let net = ClipTextConfig::from_json(&text_config.to_string()).expect("a configuration").init(&Device::flex());
    let path = changed(
        "published",
        &[("text_encoder/config.json", text_config.to_string().into_bytes()), (TEXT_WEIGHTS, weights::save(&net, &BTreeMap::new()))],
    );
    fs::remove_file(path.join(TOKENIZER)).expect("a file");
    for name in ["vocab.json", "merges.txt"] {
        fs::copy(tokenizer_fixture(name), path.join("tokenizer").join(name)).expect("a copy");
    }
    fs::write(path.join("tokenizer/tokenizer_config.json"), "{\"model_max_length\": 16, \"pad_token\": \"!\"}").expect("a write");

    write_images(&folder().join("long-captions"), 16);
    let metadata = folder().join("long-captions/metadata.jsonl");
    let long = fs::read_to_string(&metadata).expect("a file").replace("\"a red square\"", &format!("\"{}\"", "red square ".repeat(9).trim()));
    fs::write(metadata, long).expect("a write");
    let note = "1 of 16 captions is longer than the 16 tokens that are read; the first: red square red square";
    let told = |words: &[&str]| {
        let output = run(folder(), words);
        assert!(output.status.success(), "{words:?}: {}", text(&output.stderr));
        text(&output.stderr)
    };
    let pairs = "pairs --teacher published --data long-captions --count 16 --shard 16 --batch 4 --steps 2 --device cpu --out published-pairs";
    let distil = "distil --teacher published --pairs published-pairs --distance mse --no-discriminator --steps 1 --batch 2 --device cpu --out published-student";
    for words in [pairs, distil] {
        let told = told(&words.split(' ').collect::<Vec<_>>());
        assert_eq!(told.matches(note).count(), 1, "{told}");
    }
    told(&["export", "--model", "published-student", "--out", "published-bundle"]);
    let [bundle, student] = ["published-bundle/tokenizer.json", "published-student/model/tokenizer/tokenizer.json"]
        .map(|name| fs::read(folder().join(name)).expect("a file"));
    assert!(bundle == student, "the bundle has another tokenizer");
    told(&["export", "--model", "published", "--out", "published-bundle-2"]);
    assert!(fs::read(folder().join("published-bundle-2/tokenizer.json")).expect("a file") == bundle, "the teacher's bundle has another tokenizer");
}

#[test]
fn files_that_are_something_else_are_told_as_what_they_are() {
    let contents: [(&str, Vec<u8>, &str); 6] = [
        ("empty", Vec::new(), "the file is empty"),
        ("pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n".to_vec(), "git lfs pull"),
        ("page", b"<!DOCTYPE html><html></html>".to_vec(), "HTML"),
        ("json", b"{\"weight_map\": {}}".to_vec(), "JSON text"),
        ("archive", b"PK\x03\x04\x00\x00\x08\x08\x00\x00\x00\x00".to_vec(), "ZIP archive, as PyTorch's"),
        ("pickle", b"\x80\x02}q\x00(X\x06\x00\x00\x00".to_vec(), "a pickle"),
    ];
    for (name, bytes, part) in contents {
        let name = format!("instead-{name}");
        let path = changed(&name, &[(VAE_WEIGHTS, bytes.clone())]);
        refused_by_both(&name, &[&format!("{name}/{VAE_WEIGHTS}"), part]);
        fs::write(folder().join(format!("{name}.safetensors")), &bytes).expect("a write");
        let inputs = format!("{name}.safetensors");
        refused(
            &["debug", "run-component", "vae_decoder", "--model", "base", "--inputs", &inputs, "--out", "never.safetensors"],
            3,
            &[&inputs, part],
        );
        fs::remove_dir_all(path).expect("a folder");
    }
    for (name, bytes, part) in [("config-empty", &b""[..], "empty"), ("config-page", b"<html>", "HTML"), ("config-cut", b"{\"a\": 1", "EOF")] {
        changed(name, &[("unet/config.json", bytes.to_vec())]);
        refused_by_both(name, &["unet/config.json", part]);
    }
    let path = changed("folder-for-a-file", &[]);
    fs::remove_file(path.join(UNET_WEIGHTS)).expect("a file");
    fs::create_dir(path.join(UNET_WEIGHTS)).expect("a folder");
    refused_by_both("folder-for-a-file", &[UNET_WEIGHTS, "a folder"]);
}

#[test]
fn the_index_of_a_pipeline_and_the_classes_of_its_parts_are_read() {
    let index: Value = serde_json::from_slice(&model_index(&["vae", "unet", "text_encoder", "scheduler", "tokenizer"]).1).expect("JSON");
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)).into_bytes();
    for (name, bytes, parts) in [
        ("index-text", b"no JSON".to_vec(), vec!["not a JSON object"]),
        ("index-deep", deep, vec!["nesting"]),
        ("index-list", b"[]".to_vec(), vec!["not a JSON object"]),
        ("index-class", with(index.clone(), "_class_name", json!("StableDiffusionXLPipeline")), vec!["StableDiffusionXLPipeline"]),
        ("index-part", with(index.clone(), "unet", json!(["diffusers", "Transformer2DModel"])), vec!["unet", "Transformer2DModel"]),
        ("index-library", with(index.clone(), "vae", json!(["../../evil", "AutoencoderKL"])), vec!["vae", "../../evil"]),
        ("index-more", with(index.clone(), "text_encoder_2", json!(["transformers", "CLIPTextModelWithProjection"])), vec!["text_encoder_2"]),
        ("index-path", with(index.clone(), "../unet", json!(["diffusers", "UNet2DConditionModel"])), vec!["../unet"]),
        ("index-kind", with(index.clone(), "unet", json!({"a": 1})), vec!["unet"]),
        ("index-short", with(index.clone(), "unet", json!(["diffusers"])), vec!["unet", "expected a library and a class"]),
        ("index-scheduler", with(index.clone(), "scheduler", json!(["diffusers", "EDMEulerScheduler"])), vec!["scheduler", "EDMEulerScheduler"]),
    ] {
        changed(name, &[("model_index.json", bytes)]);
        refused_by_both(name, &[&["model_index.json"], &parts[..]].concat());
    }
    // What does not change a latent may be there, or null, or an option of the pipeline.
    let mut more = index;
    more["safety_checker"] = json!(["stable_diffusion", "StableDiffusionSafetyChecker"]);
    more["image_encoder"] = json!([null, null]);
    more["requires_safety_checker"] = json!(true);
    changed("index-whole", &[("model_index.json", more.to_string().into_bytes())]);
    assert!(pairs("index-whole") == *base_pairs());

    for (name, file, bytes, part) in [
        ("class-unet", "unet/config.json", with(unet_config(), "_class_name", json!("UNet2DModel")), "the class UNet2DModel is not implemented"),
        (
            "class-vae",
            "vae/config.json",
            with(vae_config(), "_class_name", json!("AutoencoderTiny")),
            "the class is AutoencoderTiny, expected AutoencoderKL",
        ),
        ("class-text", "text_encoder/config.json", b"{\"architectures\": [\"CLIPTextModelWithProjection\"]}".to_vec(), "CLIPTextModelWithProjection"),
        ("class-type", "text_encoder/config.json", b"{\"model_type\": \"t5\"}".to_vec(), "model_type = \"t5\""),
    ] {
        changed(name, &[(file, bytes)]);
        refused_by_both(name, &[file, part]);
    }
}

/// A file with these tensors for `run`.
fn inputs(name: &str, tensors: &[(&str, &[usize], f32)]) -> String {
    let tensors: Vec<_> =
        tensors.iter().map(|(name, shape, value)| ((*name).to_owned(), shape.to_vec(), vec![*value; shape.iter().product()])).collect();
    let file = format!("{name}.safetensors");
    fs::write(folder().join(&file), tensor_bytes(&tensors)).expect("a write");
    file
}

#[test]
fn inputs_are_compared_with_the_network_before_it_sees_them() {
    let unet = |sample: &'static [usize], timestep: &'static [usize], states: &'static [usize]| {
        [("sample", sample, 0.5), ("timestep", timestep, 3.0), ("encoder_hidden_states", states, 0.5)]
    };
    let cases = [
        ("unet", unet(&[1, 4, 8, 8], &[1], &[1, 5, 7]).to_vec(), "encoder_hidden_states: expected [1,L,8]"),
        ("unet", unet(&[2, 4, 8, 8], &[2], &[1, 5, 8]).to_vec(), "encoder_hidden_states: expected [2,L,8]"),
        ("unet", unet(&[2, 4, 8, 8], &[3], &[2, 5, 8]).to_vec(), "timestep: expected [1] or [2]"),
        ("unet", unet(&[1, 9, 8, 8], &[1], &[1, 5, 8]).to_vec(), "sample: expected [B,4,H,W], found [1, 9, 8, 8]"),
        ("unet", unet(&[1, 4, 8], &[1], &[1, 5, 8]).to_vec(), "sample: expected 4 axes"),
        ("unet", unet(&[1, 4, 8, 8], &[1], &[1, 8]).to_vec(), "encoder_hidden_states: expected 3 axes"),
        ("unet", unet(&[0, 4, 8, 8], &[1], &[0, 5, 8]).to_vec(), "sample: expected 4 axes, none of them empty"),
        ("unet", unet(&[1, 4, 8, 8], &[1], &[1, 0, 8]).to_vec(), "encoder_hidden_states: expected 3 axes, none of them empty"),
        ("vae_encoder", vec![("sample", &[1, 4, 16, 16], 0.5)], "sample: expected [B,3,H,W]"),
        ("vae_encoder", vec![("sample", &[1, 3, 1, 16], 0.5)], "sample: expected at least 2 rows and columns"),
        ("vae_decoder", vec![("latents", &[1, 3, 8, 8], 0.5)], "latents: expected [B,4,H,W]"),
        ("text_encoder", vec![("input_ids", &[1, 17], 1.0)], "input_ids: expected [B,L] with L at most 16"),
        ("text_encoder", vec![("input_ids", &[1, 16], 1000.0)], "input_ids: expected whole numbers from 0 to"),
        ("text_encoder", vec![("input_ids", &[1, 16], -1.0)], "found -1 at element 0"),
        ("text_encoder", vec![("input_ids", &[1, 16], 1.5)], "found 1.5 at element 0"),
        ("text_encoder", vec![("input_ids", &[1, 16], f32::NAN)], "found NaN at element 0"),
    ];
    for (number, (component, tensors, part)) in cases.into_iter().enumerate() {
        let file = inputs(&format!("inputs-{number}"), &tensors);
        let words = ["debug", "run-component", component, "--model", "base", "--inputs", &file, "--out", "never.safetensors", "--device"];
        refused(&[&words[..], &["cpu"]].concat(), 3, &[part]);
        refused(&[&words[..], &["burn"]].concat(), 3, &[part]);
    }
    let file = inputs("bundle-ids", &[("input_ids", &[1, 16], 1000.0)]);
    refused(
        &["debug", "run-component", "text_encoder", "--model", "bundle", "--inputs", &file, "--out", "never.safetensors"],
        3,
        &["input_ids", "from 0 to", "1000"],
    );
    let file = inputs("control", &[("a\u{1b}[2J", &[1], 1.0)]);
    refused(&["debug", "run-component", "vae_decoder", "--model", "base", "--inputs", &file, "--out", "never.safetensors"], 3, &["a\\u{1b}[2J"]);
    assert!(!folder().join("never.safetensors").exists());
}

/// The header of a weight file with its first entry once more.
fn twice(bytes: &[u8]) -> Vec<u8> {
    let length = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
    let header = text(&bytes[8..8 + length]);
    let (start, end) = (header.find("\"decoder.conv_out.bias\"").expect("a tensor"), header.trim_end().len() - 1);
    let entry = &header[start..start + header[start..].find('}').expect("an end") + 1];
    let header = format!("{},{entry}}}", &header[..end]);
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &bytes[8 + length..]].concat()
}

#[test]
fn tensors_that_are_named_twice_or_not_finite_are_refused_wherever_weights_are_read() {
    let base = folder().join("base");
    let latents = inputs("latents", &[("latents", &[1, 4, 8, 8], 0.5)]);
    for (name, change, part) in [
        ("twice", twice as fn(&[u8]) -> Vec<u8>, "tensor decoder.conv_out.bias is named twice"),
        (
            "infinite",
            |bytes| {
                let mut bytes = bytes.to_vec();
                // The first tensor is one of the decoder, which every command reads.
                let first = 8 + u64::from_le_bytes(bytes[..8].try_into().expect("a length")) as usize;
                bytes[first..first + 4].copy_from_slice(&f32::INFINITY.to_le_bytes());
                bytes
            },
            "must be finite",
        ),
    ] {
        let weights = change(&fs::read(base.join(VAE_WEIGHTS)).expect("weights"));
        changed(name, &[(VAE_WEIGHTS, weights)]);
        let path = format!("{name}/{VAE_WEIGHTS}");
        refused(&["debug", "run-component", "vae_decoder", "--model", name, "--inputs", &latents, "--out", "never.safetensors"], 3, &[&path, part]);
        refused_by_both(name, &[&path, part]);
    }
    // In a bundle with the right hashes.
    let bundle = folder().join("bundle-infinite");
    fs::create_dir(&bundle).expect("a folder");
    for entry in fs::read_dir(folder().join("bundle")).expect("the bundle") {
        let path = entry.expect("an entry").path();
        fs::copy(&path, bundle.join(path.file_name().expect("a name"))).expect("a copy");
    }
    let mut manifest: Manifest = serde_json::from_slice(&fs::read(bundle.join("manifest.json")).expect("a manifest")).expect("a manifest");
    let name = manifest.weights[0].clone();
    let mut bytes = fs::read(bundle.join(&name)).expect("weights");
    let last = bytes.len() - 2;
    // All ones in the exponent of an f16, and of the f32 that may lie there.
    bytes[last..].copy_from_slice(&[0xff, 0x7f]);
    for entry in manifest.files.iter_mut().filter(|entry| entry.name == name) {
        *entry = FileEntry::of(&name, &bytes);
    }
    fs::write(bundle.join(&name), bytes).expect("a write");
    fs::write(bundle.join("manifest.json"), manifest.to_json()).expect("a write");
    for words in
        [&["inspect", "bundle-infinite"][..], &["generate", "red square", "--bundle", "bundle-infinite", "--device", "cpu", "--out", "never.png"]]
    {
        refused(words, 3, &[&name, "not finite at ["]);
    }
}

#[test]
fn an_index_of_shards_agrees_with_its_shards() {
    let path = changed("shards", &[]);
    let latents = inputs("shard-latents", &[("latents", &[1, 4, 8, 8], 0.5)]);
    let words = ["debug", "run-component", "vae_decoder", "--model", "shards", "--inputs", &latents, "--out"];
    succeed(folder(), &[&words[..], &["whole.safetensors"]].concat());
    let all = store::read_tensors(&fs::read(path.join(VAE_WEIGHTS)).expect("weights"), "weights").expect("tensors");
    fs::remove_file(path.join(VAE_WEIGHTS)).expect("a file");
    let part = |wanted: &dyn Fn(&str) -> bool| -> Vec<u8> {
        let tensors: Vec<_> =
            all.iter().filter(|(name, _)| wanted(name)).map(|(name, (shape, data))| (name.clone(), shape.clone(), data.clone())).collect();
        tensor_bytes(&tensors)
    };
    let is_first = |name: &str| name.starts_with("decoder.");
    let names = ["a-00001-of-00002.safetensors", "a-00002-of-00002.safetensors"];
    fs::write(path.join("vae").join(names[0]), part(&is_first)).expect("a write");
    fs::write(path.join("vae").join(names[1]), part(&|name| !is_first(name))).expect("a write");
    let index_path = path.join("vae/diffusion_pytorch_model.safetensors.index.json");
    let map: serde_json::Map<String, Value> = all.keys().map(|name| (name.clone(), json!(names[usize::from(!is_first(name))]))).collect();
    let write = |map: &Value| fs::write(&index_path, json!({"metadata": {"total_size": 1}, "weight_map": map}).to_string()).expect("a write");
    write(&json!(map));
    succeed(folder(), &[&words[..], &["sharded.safetensors"]].concat());
    let read = |name: &str| fs::read(folder().join(name)).expect("a result");
    assert!(read("whole.safetensors") == read("sharded.safetensors"));

    let with = |key: &str, value: Value| {
        let mut map = map.clone();
        map.insert(key.into(), value);
        json!(map)
    };
    let without = |key: &str| {
        let mut map = map.clone();
        map.remove(key);
        json!(map)
    };
    const KEY: &str = "decoder.conv_in.bias";
    for (map, parts) in [
        (json!({}), vec!["weight_map is empty"]),
        (json!([1]), vec!["expected a weight_map"]),
        (json!(null), vec!["expected a weight_map"]),
        (with(KEY, json!(7)), vec![KEY, "7", "expected the name of a file in the folder of the index"]),
        (with(KEY, json!("")), vec![KEY, "expected the name of a file in the folder of the index"]),
        (with(KEY, json!("../base/vae/diffusion_pytorch_model.safetensors")), vec![KEY, "expected the name of a file in the folder of the index"]),
        (with(KEY, json!("/etc/passwd")), vec![KEY, "expected the name of a file in the folder of the index"]),
        (with(KEY, json!("a\0b")), vec![KEY, "expected the name of a file in the folder of the index"]),
        (with(KEY, json!(".")), vec![KEY, "expected the name of a file in the folder of the index"]),
        (with(KEY, json!("diffusion_pytorch_model.safetensors.index.json")), vec!["expected safetensors; this is JSON text"]),
        (with(KEY, json!("missing.safetensors")), vec![KEY, "missing.safetensors", "no such file"]),
        (with(KEY, json!(names[1])), vec![names[0], KEY, "weight_map has it in"]),
        (with("decoder.stranger", json!(names[0])), vec!["decoder.stranger", names[0], "no such tensor"]),
        (without(KEY), vec![names[0], KEY, "weight_map does not name it"]),
    ] {
        write(&map);
        refused(&[&words[..], &["never.safetensors"]].concat(), 3, &[&["index.json"], &parts[..]].concat());
    }
}

#[test]
fn prompts_come_from_a_file() {
    let file = |name: &str, bytes: &str| fs::write(folder().join(name), bytes).expect("a write");
    file("prompts.txt", "red square\r\n\r\na green square\r\nred square\r\n");
    file("prompts.jsonl", "{\"caption\": \"red square\"}\n{\"caption\": \"a green square\"}\n{\"caption\": \"red square\"}\n");
    file("prompts.csv", "\u{feff}id,Prompt,short\n1,red square,red\n2,\"a green square\",\n3,red square,\n");
    file("prompts-short.csv", "short\nred\n");
    const COMMAND: [&str; 14] =
        ["pairs", "--teacher", "base", "--count", "7", "--shard", "4", "--batch", "4", "--steps", "5", "--device", "cpu", "--prompts"];
    let shards = |name: &str| {
        succeed(folder(), &[&COMMAND[..], &[name, "--out", &format!("of-{name}")]].concat());
        [0, 1].map(|number| fs::read(folder().join(format!("of-{name}/pairs-0000{number}-of-00002.safetensors"))).expect("a shard"))
    };
    let of_text = shards("prompts.txt");
    assert!(of_text == shards("prompts.jsonl") && of_text == shards("prompts.csv"));
    let index: Value = serde_json::from_slice(&fs::read(folder().join("of-prompts.txt/index.json")).expect("an index")).expect("JSON");
    assert_eq!((&index["prompts"], &index["names"]), (&json!(["red square", "a green square", "red square"]), &json!([])));
    // A student is trained on them: conditions by prompts, labels by their texts.
    let distil =
        ["distil", "--teacher", "base", "--pairs", "of-prompts.txt", "--distance", "mse", "--no-discriminator", "--steps", "2", "--batch", "4"];
    succeed(folder(), &[&distil[..], &["--device", "cpu", "--out", "student-of-prompts"]].concat());

    let again = |name: &'static str| [&COMMAND[..], &[name, "--out", "of-prompts.txt", "--resume"]].concat();
    fs::remove_file(folder().join("of-prompts.txt/pairs-00001-of-00002.safetensors")).expect("a shard");
    succeed(folder(), &again("prompts.jsonl"));
    assert!(fs::read(folder().join("of-prompts.txt/pairs-00001-of-00002.safetensors")).expect("a shard") == of_text[1]);
    file("prompts.txt", "red square\na blue square\nred square\n");
    refused(&again("prompts.txt"), 2, &["of-prompts.txt", "their prompts are others", "--prompts"]);
    let column = [&COMMAND[..], &["prompts.csv", "--caption-column", "short", "--out", "never"]].concat();
    succeed(folder(), &[&COMMAND[..], &["prompts.csv", "--caption-column", "short", "--out", "of-column"]].concat());
    refused(&[&column[..], &["--data", "images"]].concat(), 2, &["--data", "--prompts"]);
    let without = &COMMAND[..COMMAND.len() - 1];
    refused(&[without, &["--out", "never"]].concat(), 2, &["--data", "--prompts FILE"]);
    refused(&[without, &["--data", "images", "--caption-column", "x", "--out", "never"]].concat(), 2, &["--caption-column"]);
    for (name, more, parts) in [
        ("prompts.txt", vec!["--caption-column", "x"], vec!["prompts.txt", "no columns"]),
        ("prompts.csv", vec!["--caption-column", "x"], vec!["prompts.csv", "a column x", "\"short\""]),
        ("prompts-short.csv", vec![], vec!["prompts-short.csv, line 1", "--caption-column"]),
        ("nowhere.txt", vec![], vec!["nowhere.txt", "nothing there"]),
        ("images", vec![], vec!["images", "a folder"]),
    ] {
        refused(&[&COMMAND[..], &[name, "--out", "never"], &more[..]].concat(), 3, &parts);
    }
}

#[test]
fn absurd_numbers_are_refused_by_option_and_value() {
    folder();
    let huge = ["4294967295", "18446744073709551615"];
    for value in huge {
        let told = format!("--batch {value}");
        for words in [
            &["train", "autoencoder", "--data", "images", "--size", "16", "--preset", "test"][..],
            &["train", "teacher", "--data", "images", "--autoencoder", "base", "--preset", "test"],
            &["train", "latent-vgg", "--data", "images", "--autoencoder", "base"],
            &["train", "latent-lpips", "--data", "images", "--autoencoder", "base", "--metric", "base"],
            &["train", "image-classifier", "--data", "images", "--size", "16"],
            &["distil", "--teacher", "base", "--pairs", "pairs", "--distance", "mse"],
        ] {
            refused(&[words, &["--device", "cpu", "--out", "absurd", "--batch", value]].concat(), 2, &[&told]);
        }
        for (option, words) in [
            ("--size", &["train", "autoencoder", "--preset", "test"][..]),
            ("--size", &["train", "image-classifier"]),
            ("--layers", &["train", "image-classifier", "--size", "16"]),
            ("--channels", &["train", "image-classifier", "--size", "16"]),
            ("--prompt-tokens", &["train", "teacher", "--autoencoder", "base", "--preset", "test"]),
        ] {
            refused(&[words, &["--data", "images", "--device", "cpu", "--out", "absurd", option, value]].concat(), 2, &[option, value]);
        }
        refused(&["bench", "bundle", "--device", "cpu", "--repeats", value], 2, &["--repeats", value]);
        refused(
            &["train", "autoencoder", "--data", "images", "--out", "absurd", "--steps", "18446744073709551615"],
            2,
            &["--steps 18446744073709551615"],
        );
        refused(&["debug", "distance", "--weights", "base", "--inputs", "base", "--out", "absurd", "--ensemble", value], 2, &["--ensemble", value]);
        let widths = format!("{value},64,64,64,64");
        refused(
            &["train", "latent-vgg", "--data", "images", "--autoencoder", "base", "--out", "absurd", "--widths", &widths],
            2,
            &["--widths", value],
        );
        refused(
            &["train", "latent-lpips", "--data", "images", "--autoencoder", "base", "--metric", "base", "--out", "absurd", "--count", value],
            2,
            &["--count", value],
        );
    }
    // Not absurd each, but together.
    refused(
        &["train", "autoencoder", "--data", "images", "--size", "1024", "--preset", "test", "--device", "cpu", "--out", "absurd", "--batch", "60000"],
        2,
        &["--batch 60000", "at most 170", "[3, 1024, 1024]"],
    );
    refused(
        &["train", "image-classifier", "--data", "images", "--size", "16", "--out", "absurd", "--channels", "16384,16384,16384", "--layers", "64"],
        2,
        &["--channels [16384, 16384, 16384] with --layers 64", "parameters"],
    );
    let pairs = ["pairs", "--teacher", "base", "--data", "images", "--out", "absurd", "--device", "cpu"];
    refused(&[&pairs[..], &["--count", "1000000000000000", "--shard", "1000000000000000"]].concat(), 2, &["--shard 1000000000000000"]);
    refused(&[&pairs[..], &["--guidance", "nan"]].concat(), 2, &["--guidance NaN"]);
    refused(
        &["train", "teacher", "--data", "images", "--autoencoder", "base", "--preset", "test", "--out", "absurd", "--weight-cap", "nan"],
        2,
        &["--weight-cap NaN"],
    );
    assert!(!folder().join("absurd").exists());
}
