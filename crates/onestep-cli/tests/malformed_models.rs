//! Models that are damaged or have parts that do not fit: every command that reads a model refuses each with exit code 3 and one sentence that names
//! the file and the key or tensor, within 5 seconds of CPU time and 1 GB of address space, and writes nothing.
//!
//! A row of the tables is the sound pipeline of `support/tiny_pipeline.rs` with one change.

#[path = "support/tiny_pipeline.rs"]
mod tiny_pipeline;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use burn::tensor::Device;
use onestep_nets::{Init, UNet2DConditionConfig, weights};
use onestep_train::pipeline_folder::{MODEL, TEXT_WEIGHTS, TOKENIZER, UNET_WEIGHTS, VAE_WEIGHTS};
use onestep_train::store::{self, tensor_bytes};
use serde_json::{Map, Value, json};
use tiny_pipeline::{TOKENS, sound, tokenizer, unet_config, with};

const UNET: &str = "unet/config.json";
const VAE: &str = "vae/config.json";
const TEXT: &str = "text_encoder/config.json";
const SCHEDULER: &str = "scheduler/scheduler_config.json";
const INDEX: &str = "model_index.json";
/// The file with these signs in its name is written by a pickle that was run.
const MARK: &str = "pickle-was-run";

/// Changes the model in a folder.
type Change = Box<dyn Fn(&Path) + Send + Sync>;

/// A model that is refused.
struct Row {
    name: String,
    change: Change,
    /// What the sentence names.
    parts: Vec<String>,
}

fn row(name: impl Into<String>, parts: &[&str], change: impl Fn(&Path) + Send + Sync + 'static) -> Row {
    Row { name: name.into(), change: Box::new(change), parts: parts.iter().map(|part| (*part).to_owned()).collect() }
}

/// A row with another file.
fn file(name: impl Into<String>, path: &'static str, bytes: impl Into<Vec<u8>>, parts: &[&str]) -> Row {
    let bytes = bytes.into();
    row(name, &[&[path], parts].concat(), move |model| write(&model.join(path), &bytes))
}

/// A row with another value of a configuration; the key is named.
fn key(path: &'static str, key: &'static str, value: Value, parts: &[&str]) -> Row {
    let name: String = format!("{path} {key} {value}").chars().take(60).collect();
    row(name, &[&[path, key], parts].concat(), move |model| {
        let mut config = json_of(&model.join(path));
        config[key] = value.clone();
        write(&model.join(path), config.to_string().as_bytes());
    })
}

/// A row with another class, which is named.
fn class(path: &'static str, key: &'static str, value: Value, named: &str) -> Row {
    row(format!("{path} {key} {value}"), &[path, named], move |model| {
        let mut config = json_of(&model.join(path));
        config[key] = value.clone();
        write(&model.join(path), config.to_string().as_bytes());
    })
}

/// A row with several other values, of which the first key is named.
fn keys(name: &'static str, path: &'static str, values: Value, parts: &[&str]) -> Row {
    row(name, &[&[path], parts].concat(), move |model| {
        let mut config = json_of(&model.join(path));
        for (key, value) in values.as_object().expect("an object") {
            match value {
                Value::String(word) if word == "REMOVE" => drop(config.as_object_mut().expect("an object").remove(key)),
                value => config[key] = value.clone(),
            }
        }
        write(&model.join(path), config.to_string().as_bytes());
    })
}

/// A row with other bytes made of those of a weight file.
fn weights_row(name: &'static str, path: &'static str, parts: &[&str], change: impl Fn(Vec<u8>) -> Vec<u8> + Send + Sync + 'static) -> Row {
    row(format!("{path} {name}"), &[&[path], parts].concat(), move |model| {
        let bytes = fs::read(model.join(path)).expect("weights");
        write(&model.join(path), &change(bytes));
    })
}

fn json_of(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("a file")).expect("JSON")
}

/// Writes a file anew, since models share their files by hard links.
fn write(path: &Path, bytes: &[u8]) {
    remove(path);
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    fs::write(path, bytes).expect("a write");
}

fn remove(path: &Path) {
    if path.is_dir() {
        fs::remove_dir_all(path).expect("a folder");
    } else if path.symlink_metadata().is_ok() {
        fs::remove_file(path).expect("a file");
    }
}

/// A folder with the sound model in `base` and prompts in `prompts.txt`.
fn home() -> &'static Path {
    static HOME: OnceLock<PathBuf> = OnceLock::new();
    HOME.get_or_init(|| {
        let home = tempfile::tempdir().expect("a temporary folder").keep();
        store::write_folder(&home.join("base"), MODEL, sound()).expect("a write");
        fs::write(home.join("prompts.txt"), "red square\na green square\n").expect("a write");
        home
    })
}

/// A copy of the sound model.
fn copy(name: &str) -> PathBuf {
    let path = home().join(name);
    for (file, _) in sound() {
        let to = path.join(file);
        fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
        fs::hard_link(home().join("base").join(file), to).expect("a link");
    }
    path
}

/// The commands that read a model; `MODEL` and `OUT` are replaced.
const COMMANDS: [&[&str]; 2] = [
    &[
        "pairs",
        "--teacher",
        "MODEL",
        "--prompts",
        "prompts.txt",
        "--count",
        "4",
        "--shard",
        "4",
        "--batch",
        "4",
        "--steps",
        "5",
        "--device",
        "cpu",
        "--quiet",
        "--out",
        "OUT",
    ],
    &["export", "--model", "MODEL", "--out", "OUT"],
];

/// Runs the program within the limits of time and memory.
fn run(words: &[&str], model: &str, out: &str) -> (ExitStatus, String) {
    let words = words.iter().map(|word| match *word {
        "MODEL" => model,
        "OUT" => out,
        word => word,
    });
    let program = env!("CARGO_BIN_EXE_onestep");
    // A shell sets limits without unsafe code: seconds of CPU time, so that other load does not count, and KiB of addresses.
    let mut command = if cfg!(target_os = "linux") {
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -t 5; ulimit -v 1000000; exec \"$0\" \"$@\"", program]);
        command
    } else {
        Command::new(program)
    };
    command.args(words).current_dir(home()).env("ONESTEP_PROGRESS", "never").stdin(Stdio::null()).stdout(Stdio::null());
    let told_path = home().join(format!("{out}.stderr"));
    let mut child = command.stderr(fs::File::create(&told_path).expect("a file")).spawn().expect("the program starts");
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("a process") {
            break status;
        }
        if begun.elapsed() > Duration::from_secs(60) {
            child.kill().expect("a process");
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let told = String::from_utf8_lossy(&fs::read(&told_path).expect("a file")).into_owned();
    fs::remove_file(told_path).expect("a file");
    (status, told)
}

/// Checks one row; returns what is wrong.
fn problems(number: usize, group: &str, row: &Row) -> Vec<String> {
    let model = format!("{group}-{number}");
    let path = copy(&model);
    (row.change)(&path);
    let mut problems = Vec::new();
    for words in COMMANDS {
        let out = format!("never-{group}-{number}-{}", words[0]);
        let (status, told) = run(words, &model, &out);
        let mut wrong = |what: String| problems.push(format!("{} ({}): {what}: {}", row.name, words[0], told.trim_end()));
        match status.code() {
            Some(3) => {}
            Some(code) => wrong(format!("exit code {code}")),
            None => wrong(format!("{status}")),
        }
        if told.contains("fault of onestep") || told.contains("please report") || !told.starts_with("error: ") || told.trim_end().contains('\n') {
            wrong("not one sentence".into());
        }
        let missing: Vec<_> = row.parts.iter().filter(|part| !told.contains(part.as_str())).collect();
        if !missing.is_empty() {
            wrong(format!("{missing:?} not named"));
        }
        if home().join(&out).exists() {
            wrong("something was written".into());
        }
    }
    if home().join(MARK).exists() {
        problems.push(format!("{}: code of a pickle was run", row.name));
    }
    remove(&path);
    problems
}

/// Checks all rows, and tells all that is wrong.
fn check(group: &str, rows: Vec<Row>) {
    static SOUND: OnceLock<()> = OnceLock::new();
    SOUND.get_or_init(|| {
        for words in COMMANDS {
            let (status, told) = run(words, "base", &format!("sound-{}", words[0]));
            assert!(status.success(), "the sound model, {words:?}: {told}");
        }
    });
    let next = AtomicUsize::new(0);
    let work = || {
        let mut problems_of_rows = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(row) = rows.get(number) else { return problems_of_rows };
            problems_of_rows.extend(problems(number, group, row));
        }
    };
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..2).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a worker")).collect()
    });
    assert!(wrong.is_empty(), "{} problems of {} rows:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

const LFS: &[u8] = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";

#[test]
fn configurations_that_are_not_what_they_should_be() {
    let mut rows = Vec::new();
    for path in [UNET, VAE, TEXT, SCHEDULER, INDEX, TOKENIZER] {
        let named = |what: &str| format!("{path} {what}");
        let all = &sound().iter().find(|(name, _)| name == path).expect("a file").1;
        rows.push(file(named("empty"), path, b"", &["empty"]));
        rows.push(file(named("truncated"), path, &all[..all.len() / 2], &[]));
        rows.push(file(named("not UTF-8"), path, [&all[..all.len() - 1], b",\"x\": \"\xff\"}"].concat(), &[]));
        rows.push(file(named("an array"), path, b"[1, 2]", &[]));
        rows.push(file(named("a page"), path, b"<!DOCTYPE html><html></html>", &["HTML"]));
        rows.push(file(named("a pointer"), path, LFS, &["git lfs pull"]));
        rows.push(file(named("deep"), path, "[".repeat(200_000), &[]));
        rows.push(file(named("deep object"), path, "{\"a\":".repeat(50_000), &[]));
        rows.push(row(named("a folder"), &[path], move |model| {
            remove(&model.join(path));
            fs::create_dir(model.join(path)).expect("a folder");
        }));
        rows.push(row(named("missing"), &[path], move |model| remove(&model.join(path))));
        #[cfg(unix)]
        rows.push(row(named("a link to nowhere"), &[path], move |model| {
            remove(&model.join(path));
            std::os::unix::fs::symlink("nowhere", model.join(path)).expect("a link");
        }));
    }
    check("files", rows);
}

#[test]
fn values_of_the_denoiser() {
    let huge = || json!(1u64 << 60);
    check(
        "unet",
        vec![
            class(UNET, "_class_name", json!("UNet3DConditionModel"), "UNet3DConditionModel"),
            key(UNET, "_class_name", json!(7), &[]),
            key(UNET, "sample_size", json!("8"), &[]),
            key(UNET, "sample_size", json!(null), &["256"]),
            key(UNET, "sample_size", json!(0), &[]),
            key(UNET, "sample_size", json!(-8), &[]),
            key(UNET, "sample_size", json!(1.5), &[]),
            key(UNET, "sample_size", huge(), &[]),
            key(UNET, "sample_size", json!([8]), &[]),
            key(UNET, "sample_size", json!({"a": 1}), &[]),
            key(UNET, "in_channels", json!("4"), &[]),
            key(UNET, "in_channels", json!(-4), &[]),
            key(UNET, "in_channels", json!(1_000_000_000_000u64), &[]),
            key(UNET, "out_channels", json!(8), &[VAE, "latent_channels"]),
            key(UNET, "block_out_channels", json!([]), &[]),
            key(UNET, "block_out_channels", json!("8"), &[]),
            key(UNET, "block_out_channels", json!([8, "a"]), &[]),
            key(UNET, "block_out_channels", json!([8, -8]), &[]),
            key(UNET, "block_out_channels", json!([8, 1u64 << 40]), &[]),
            key(UNET, "block_out_channels", json!(vec![8; 100_000]), &[]),
            key(UNET, "layers_per_block", json!(1_000_000_000), &[]),
            key(UNET, "layers_per_block", json!(0), &[]),
            key(UNET, "layers_per_block", json!(-1), &[]),
            key(UNET, "layers_per_block", json!([1]), &[]),
            key(UNET, "down_block_types", json!(["CrossAttnDownBlock2D", "KDownBlock2D"]), &["KDownBlock2D"]),
            key(UNET, "down_block_types", json!(["DownBlock2D"]), &[]),
            key(UNET, "down_block_types", json!([1, 2]), &[]),
            key(UNET, "up_block_types", json!("UpBlock2D"), &[]),
            key(UNET, "mid_block_type", json!("UNetMidBlock2DSimpleCrossAttn"), &["UNetMidBlock2DSimpleCrossAttn"]),
            key(UNET, "cross_attention_dim", json!(0), &[]),
            key(UNET, "cross_attention_dim", json!(1_000_000_000_000u64), &[]),
            key(UNET, "cross_attention_dim", json!("8"), &[]),
            key(UNET, "attention_head_dim", json!(3), &[]),
            key(UNET, "attention_head_dim", json!(0), &[]),
            key(UNET, "attention_head_dim", json!(null), &[]),
            key(UNET, "transformer_layers_per_block", json!(1_000_000_000), &[]),
            key(UNET, "norm_num_groups", json!(3), &[]),
            key(UNET, "norm_num_groups", json!(0), &[]),
            key(UNET, "act_fn", json!("snake"), &["snake"]),
            key(UNET, "norm_eps", json!("small"), &[]),
            key(UNET, "time_embedding_type", json!("fourier"), &["fourier"]),
            key(UNET, "time_embedding_dim", json!(1u64 << 40), &[]),
            key(UNET, "class_embed_type", json!("timestep"), &["timestep"]),
            key(UNET, "num_class_embeds", json!(10), &[]),
            key(UNET, "addition_embed_type", json!("image"), &["image"]),
            keys("sizes of images in Stable Diffusion 1", UNET, json!({"addition_embed_type": "text_time"}), &["text_time"]),
            key(UNET, "encoder_hid_dim", json!(1024), &[]),
            key(UNET, "dual_cross_attention", json!(true), &[]),
            key(UNET, "resnet_time_scale_shift", json!("scale_shift"), &["scale_shift"]),
            row("a larger kernel than that of the weights", &[UNET_WEIGHTS, "conv_in.weight"], |model| {
                write(&model.join(UNET), &with(unet_config(), "conv_in_kernel", json!(5)));
            }),
            row("attention of 24 features", &[UNET, "cross_attention_dim = 24", TEXT, "hidden_size = 8"], |model| {
                let wide = with(unet_config(), "cross_attention_dim", json!(24));
                write(&model.join(UNET), &wide);
                write(&model.join(UNET_WEIGHTS), &unet_weights(&wide));
            }),
            row("for inpainting", &[UNET, "in_channels = 9", VAE, "latent_channels = 4", "inpainting"], |model| {
                let wide = with(unet_config(), "in_channels", json!(9));
                write(&model.join(UNET), &wide);
                write(&model.join(UNET_WEIGHTS), &unet_weights(&wide));
            }),
        ],
    );
}

fn unet_weights(config: &[u8]) -> Vec<u8> {
    // Concurrent tests share the source of random numbers, and each wants its own.
    static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _one = ONE.lock();
    let config = UNet2DConditionConfig::from_json(std::str::from_utf8(config).expect("text")).expect("a configuration");
    weights::save(&config.init(&Device::flex()), &BTreeMap::new())
}

#[test]
fn values_of_autoencoder_text_encoder_and_scheduler() {
    let many = || json!(1u64 << 40);
    let count = tokenizer(TOKENS).vocabulary_size();
    check(
        "values",
        vec![
            class(VAE, "_class_name", json!("AutoencoderKLCogVideoX"), "AutoencoderKLCogVideoX"),
            key(VAE, "latent_channels", json!(16), &[UNET, "in_channels = 4"]),
            key(VAE, "latent_channels", json!("4"), &[]),
            key(VAE, "latent_channels", json!(-1), &[]),
            key(VAE, "latent_channels", many(), &[]),
            key(VAE, "in_channels", json!(1), &["3"]),
            key(VAE, "out_channels", json!(4), &["3"]),
            key(VAE, "block_out_channels", json!([8, 1u64 << 40]), &[]),
            key(VAE, "block_out_channels", json!([]), &[]),
            key(VAE, "layers_per_block", json!(1_000_000_000), &[]),
            key(VAE, "down_block_types", json!(["DownEncoderBlock2D", "AttnDownEncoderBlock2D"]), &["AttnDownEncoderBlock2D"]),
            key(VAE, "norm_num_groups", json!(3), &[]),
            key(VAE, "scaling_factor", json!("0.18"), &[]),
            key(VAE, "scaling_factor", json!(0), &[]),
            key(VAE, "act_fn", json!("snake"), &["snake"]),
            key(TEXT, "model_type", json!("t5"), &["t5"]),
            class(TEXT, "architectures", json!(["T5EncoderModel"]), "T5EncoderModel"),
            class(TEXT, "architectures", json!(["CLIPTextModelWithProjection"]), "CLIPTextModelWithProjection"),
            key(TEXT, "vocab_size", many(), &[]),
            keys("fewer ids than embeddings", TEXT, json!({ "vocab_size": count - 2 }), &["token_embedding", &count.to_string()]),
            key(TEXT, "vocab_size", json!(-1), &[]),
            key(TEXT, "vocab_size", json!("many"), &[]),
            key(TEXT, "hidden_size", json!(1_000_000_000_000u64), &[]),
            key(TEXT, "hidden_size", json!(24), &["cross_attention_dim"]),
            key(TEXT, "intermediate_size", many(), &[]),
            key(TEXT, "num_hidden_layers", json!(1_000_000_000), &[]),
            key(TEXT, "num_hidden_layers", json!(0), &[]),
            key(TEXT, "num_attention_heads", json!(3), &[]),
            key(TEXT, "num_attention_heads", json!(0), &[]),
            keys("fewer positions than embeddings", TEXT, json!({ "max_position_embeddings": 8 }), &["position_embedding", "16"]),
            key(TEXT, "max_position_embeddings", many(), &[]),
            key(TEXT, "hidden_act", json!("snake"), &["snake"]),
            key(TEXT, "layer_norm_eps", json!("small"), &[]),
            key(SCHEDULER, "_class_name", json!("FlowMatchEulerDiscreteScheduler"), &["FlowMatchEulerDiscreteScheduler"]),
            key(SCHEDULER, "_class_name", json!("EDMEulerScheduler"), &["EDMEulerScheduler"]),
            key(SCHEDULER, "_class_name", json!("MyScheduler"), &["MyScheduler"]),
            key(SCHEDULER, "_class_name", json!(3), &[]),
            key(SCHEDULER, "num_train_timesteps", json!(0), &[]),
            key(SCHEDULER, "num_train_timesteps", json!(1_000_000_000_000u64), &[]),
            key(SCHEDULER, "num_train_timesteps", json!("1000"), &[]),
            key(SCHEDULER, "beta_start", json!(-1.0), &[]),
            key(SCHEDULER, "beta_start", json!("x"), &[]),
            key(SCHEDULER, "beta_end", json!(2.0), &[]),
            key(SCHEDULER, "beta_end", json!("NaN"), &[]),
            key(SCHEDULER, "beta_schedule", json!("quadratic"), &["quadratic"]),
            key(SCHEDULER, "prediction_type", json!("flow_prediction"), &["flow_prediction"]),
            key(SCHEDULER, "timestep_spacing", json!("random"), &["random"]),
            key(SCHEDULER, "steps_offset", json!(-5), &[]),
            key(SCHEDULER, "steps_offset", json!(100_000), &[]),
            key(SCHEDULER, "trained_betas", json!([0.5, 0.5]), &[]),
            key(SCHEDULER, "thresholding", json!(true), &[]),
            key(SCHEDULER, "clip_sample", json!("yes"), &[]),
            keys("a beta that is no number", SCHEDULER, json!({"beta_start": null}), &["beta_start"]),
            keys("no channels of the denoiser", UNET, json!({"in_channels": "REMOVE", "block_out_channels": "REMOVE"}), &[]),
            keys("no widths of the text encoder", TEXT, json!({"hidden_size": "REMOVE"}), &["hidden_size"]),
        ],
    );
}

#[test]
fn indices_of_pipelines_and_folders_that_are_none() {
    let pipeline = |name: &'static str| class(INDEX, "_class_name", json!(name), name);
    let mut rows: Vec<Row> = [
        "StableDiffusion3Pipeline",
        "FluxPipeline",
        "ZImagePipeline",
        "PixArtSigmaPipeline",
        "StableCascadeDecoderPipeline",
        "KandinskyV22Pipeline",
        "StableDiffusionXLPipeline",
        "StableDiffusionControlNetPipeline",
        "StableDiffusionUpscalePipeline",
        "IFPipeline",
        "MyPipeline",
    ]
    .map(pipeline)
    .into();
    rows.extend([
        key(INDEX, "_class_name", json!(["StableDiffusionPipeline"]), &[]),
        keys("no class of the pipeline", INDEX, json!({"_class_name": "REMOVE"}), &["_class_name"]),
        key(INDEX, "unet", json!([null, null]), &[]),
        key(INDEX, "unet", json!("UNet2DConditionModel"), &[]),
        key(INDEX, "unet", json!(["diffusers", "Transformer2DModel"]), &["Transformer2DModel"]),
        key(INDEX, "unet", json!(["diffusers"]), &[]),
        key(INDEX, "vae", json!(["../../evil", "AutoencoderKL"]), &["../../evil"]),
        key(INDEX, "vae", json!(["diffusers", "VQModel"]), &["VQModel"]),
        key(INDEX, "text_encoder", json!(["transformers", "T5EncoderModel"]), &["T5EncoderModel"]),
        key(INDEX, "text_encoder_2", json!(["transformers", "CLIPTextModelWithProjection"]), &[]),
        key(INDEX, "tokenizer", json!(["transformers", "T5Tokenizer"]), &["T5Tokenizer"]),
        key(INDEX, "scheduler", json!(["diffusers", "EDMEulerScheduler"]), &["EDMEulerScheduler"]),
        key(INDEX, "controlnet", json!(["diffusers", "ControlNetModel"]), &[]),
        key(INDEX, "../unet", json!(["diffusers", "UNet2DConditionModel"]), &[]),
        row("no folder of the denoiser", &["unet"], |model| remove(&model.join("unet"))),
        row("no folder of the tokenizer", &["tokenizer/tokenizer.json"], |model| remove(&model.join("tokenizer"))),
        row("a file for the folder of the denoiser", &["unet"], |model| {
            remove(&model.join("unet"));
            write(&model.join("unet"), b"x");
        }),
        row("an empty folder", &["model_index.json"], |model| {
            remove(model);
            fs::create_dir(model).expect("a folder");
        }),
        row("a component", &["one component", "whole model"], |model| {
            for name in ["vae", "text_encoder", "tokenizer", "scheduler", INDEX] {
                remove(&model.join(name));
            }
            for name in ["config.json", "diffusion_pytorch_model.safetensors"] {
                fs::rename(model.join("unet").join(name), model.join(name)).expect("a move");
            }
            remove(&model.join("unet"));
        }),
    ]);
    check("folders", rows);
}

/// A safetensors file with this header.
fn with_header(header: &[u8], data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header, data].concat()
}

/// Header and data of a safetensors file.
fn parts_of(bytes: &[u8]) -> (Map<String, Value>, &[u8]) {
    let length = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
    (serde_json::from_slice(&bytes[8..8 + length]).expect("a header"), &bytes[8 + length..])
}

/// The file with another entry of one tensor.
fn with_entry(bytes: &[u8], tensor: &str, change: impl Fn(&mut Value)) -> Vec<u8> {
    let (mut header, data) = parts_of(bytes);
    change(header.get_mut(tensor).expect("the tensor"));
    with_header(&serde_json::to_vec(&header).expect("JSON"), data)
}

type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// The file with other tensors.
fn with_tensors(bytes: &[u8], change: impl Fn(&mut Tensors)) -> Vec<u8> {
    let mut tensors = store::read_tensors(bytes, "weights").expect("tensors");
    change(&mut tensors);
    let tensors: Vec<_> = tensors.into_iter().map(|(name, (shape, values))| (name, shape, values)).collect();
    tensor_bytes(&tensors)
}

#[test]
fn weight_files() {
    let mut rows = Vec::new();
    for (path, tensor) in [(UNET_WEIGHTS, "conv_in.bias"), (VAE_WEIGHTS, "decoder.conv_in.bias"), (TEXT_WEIGHTS, "text_model.final_layer_norm.bias")]
    {
        let entry = |name, parts: &[&str], change: fn(&mut Value)| {
            weights_row(name, path, &[&[tensor], parts].concat(), move |bytes| with_entry(&bytes, tensor, change))
        };
        let offsets = |name, change: fn(u64, u64) -> Value| {
            weights_row(name, path, &["tensor"], move |bytes| {
                with_entry(&bytes, tensor, |entry| {
                    let [start, end] = [0usize, 1].map(|side| entry["data_offsets"][side].as_u64().expect("a number"));
                    entry["data_offsets"] = change(start, end);
                })
            })
        };
        let tensors = |name, parts: &[&str], change: fn(&mut Tensors, &str)| {
            weights_row(name, path, parts, move |bytes| with_tensors(&bytes, |tensors| change(tensors, tensor)))
        };
        rows.extend([
            weights_row("empty", path, &["empty"], |_| Vec::new()),
            weights_row("four bytes", path, &[], |bytes| bytes[..4].to_vec()),
            weights_row("truncated header", path, &[], |bytes| bytes[..100].to_vec()),
            weights_row("half", path, &[], |bytes| bytes[..bytes.len() / 2].to_vec()),
            weights_row("without the last byte", path, &[], |bytes| bytes[..bytes.len() - 1].to_vec()),
            weights_row("with one byte more", path, &[], |bytes| [&bytes[..], &[0]].concat()),
            weights_row("header of 2^63 bytes", path, &[], |bytes| [&(1u64 << 63).to_le_bytes()[..], &bytes[8..]].concat()),
            weights_row("header of 2^40 bytes", path, &[], |bytes| [&(1u64 << 40).to_le_bytes()[..], &bytes[8..]].concat()),
            weights_row("header as long as the file", path, &[], |bytes| [&(bytes.len() as u64).to_le_bytes()[..], &bytes[8..]].concat()),
            weights_row("header that is no JSON", path, &[], |_| with_header(b"{\"a\": ", &[])),
            weights_row("header that is not UTF-8", path, &[], |_| with_header(b"{\"\xff\": {}}", &[])),
            weights_row("header that is deep", path, &[], |_| with_header("{\"a\":".repeat(100_000).as_bytes(), &[])),
            weights_row("no tensors", path, &[], |_| with_header(b"{}", &[])),
            weights_row("a page", path, &["HTML"], |_| b"<!DOCTYPE html><html></html>".to_vec()),
            weights_row("a pointer", path, &["git lfs pull"], |_| LFS.to_vec()),
            weights_row("an archive", path, &["ZIP"], |bytes| archive(&[("archive/data.pkl", &bytes[..64])])),
            weights_row("a pickle", path, &["pickle"], |_| b"\x80\x02}q\0.".to_vec()),
            weights_row("GGUF", path, &["GGUF"], |_| b"GGUF\x03\0\0\0".to_vec()),
            // The neighbour may be named.
            offsets("overlapping", |start, end| json!([start + 4, end + 4])),
            offsets("outside the file", |start, end| json!([start + (1 << 40), end + (1 << 40)])),
            offsets("negative offsets", |start, end| json!([start as i64 - end as i64 - 4, -4])),
            offsets("reversed offsets", |start, end| json!([end, start])),
            entry("an unknown type", &["F13"], |entry| entry["dtype"] = json!("F13")),
            entry("whole numbers", &["I32"], |entry| entry["dtype"] = json!("I32")),
            entry("another length", &[], |entry| entry["shape"] = json!([7])),
            entry("a huge shape", &[], |entry| entry["shape"] = json!([1u64 << 40, 1u64 << 40])),
            entry("a negative shape", &[], |entry| entry["shape"] = json!([-8])),
            entry("another number of axes", &[], |entry| entry["shape"] = json!([1, entry["shape"][0]])),
            tensors("without a tensor", &[tensor], |tensors, name| drop(tensors.remove(name))),
            tensors("with a surplus tensor", &["stranger.weight"], |tensors, _| {
                tensors.insert("stranger.weight".into(), (vec![2], vec![1.0; 2]));
            }),
            tensors("another shape", &[tensor], |tensors, name| {
                tensors.insert(name.into(), (vec![3], vec![1.0; 3]));
            }),
            tensors("NaN", &[tensor, "must be finite"], |tensors, name| tensors.get_mut(name).expect("the tensor").1[1] = f32::NAN),
            tensors("infinite", &[tensor, "must be finite"], |tensors, name| tensors.get_mut(name).expect("the tensor").1[0] = f32::NEG_INFINITY),
            row(format!("{path} a folder"), &[path], move |model| {
                remove(&model.join(path));
                fs::create_dir(model.join(path)).expect("a folder");
            }),
            row(format!("{path} missing"), &[Path::new(path).parent().expect("a folder").to_str().expect("text")], move |model| {
                remove(&model.join(path))
            }),
        ]);
        #[cfg(unix)]
        rows.push(row(format!("{path} a link to nowhere"), &[path], move |model| {
            remove(&model.join(path));
            std::os::unix::fs::symlink("nowhere", model.join(path)).expect("a link");
        }));
    }
    check("weights", rows);
}

/// A pickle that would write a file.
const RUNS_CODE: &str = "cos\nsystem\n(S'touch pickle-was-run'\ntR.";
/// How PyTorch begins files of its old format: the pickle of a number.
const LEGACY: &[u8] = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.";

/// A ZIP archive of files that are not compressed.
fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut bytes, mut central) = (Vec::new(), Vec::new());
    for (name, content) in files {
        let mut sum = flate2::Crc::new();
        sum.update(content);
        let offset = bytes.len() as u32;
        let length = content.len() as u32;
        // Version, flags, method, time, date; then sum and lengths.
        let common = [&[20, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], &sum.sum().to_le_bytes(), &length.to_le_bytes(), &length.to_le_bytes()].concat();
        let name_length = [&(name.len() as u16).to_le_bytes()[..], &[0, 0]].concat();
        bytes.extend([b"PK\x03\x04", &common[..], &name_length, name.as_bytes(), content].concat());
        central.extend([b"PK\x01\x02\x14\0", &common[..], &name_length, &[0; 10], &offset.to_le_bytes(), name.as_bytes()].concat());
    }
    let count = (files.len() as u16).to_le_bytes();
    let (start, length) = ((bytes.len() as u32).to_le_bytes(), (central.len() as u32).to_le_bytes());
    [&bytes[..], &central, b"PK\x05\x06\0\0\0\0", &count, &count, &length, &start, &[0, 0]].concat()
}

/// The model's denoiser in another file.
fn denoiser(model: &Path, name: &str, bytes: &[u8]) {
    remove(&model.join(UNET_WEIGHTS));
    write(&model.join("unet").join(name), bytes);
}

#[test]
fn weights_in_other_layouts() {
    const BIN: &str = "diffusion_pytorch_model.bin";
    let bin = |name: &'static str, bytes: Vec<u8>| {
        row(format!(".bin {name}"), &["unet/diffusion_pytorch_model.bin"], move |model| denoiser(model, BIN, &bytes))
    };
    let other = |name: &'static str| row(format!("only {name}"), &["unet", name], move |model| denoiser(model, name, b"x"));
    let pickle = RUNS_CODE.as_bytes();
    let mut rows = vec![
        bin("empty", Vec::new()),
        bin("of text", b"weights".to_vec()),
        bin("of a pointer", LFS.to_vec()),
        bin("of a page", b"<html></html>".to_vec()),
        bin("of code", pickle.to_vec()),
        bin("of code in an archive", archive(&[("archive/data.pkl", pickle), ("archive/version", b"3\n")])),
        bin("of an archive without a pickle", archive(&[("archive/version", b"3\n")])),
        bin("of an empty archive", archive(&[])),
        bin("of half an archive", archive(&[("archive/data.pkl", pickle)])[..40].to_vec()),
        bin("of a pickle that ends", archive(&[("archive/data.pkl", b"\x80\x02}q\0(X\x06\0\0\0")])),
        bin("of a pickle with a huge text", archive(&[("archive/data.pkl", b"\x80\x02X\xff\xff\xff\x7f")])),
        bin("of a pickle with a number", archive(&[("archive/data.pkl", b"\x80\x02K\x01.")])),
        bin("of the old format, truncated", LEGACY.to_vec()),
        bin("of the old format with code", [LEGACY, b"\x80\x02M\xe9\x03.", b"\x80\x02}q\0.", pickle].concat()),
        other("diffusion_pytorch_model.onnx"),
        other("diffusion_pytorch_model.msgpack"),
        other("diffusion_pytorch_model.gguf"),
        other("weights.safetensors"),
        row("two variants", &["unet", "fp16", "bf16", "--variant"], |model| {
            let bytes = fs::read(model.join(UNET_WEIGHTS)).expect("weights");
            denoiser(model, "diffusion_pytorch_model.fp16.safetensors", &bytes);
            denoiser(model, "diffusion_pytorch_model.bf16.safetensors", &bytes);
        }),
    ];
    const SHARDS: [&str; 2] = ["diffusion_pytorch_model-00001-of-00002.safetensors", "diffusion_pytorch_model-00002-of-00002.safetensors"];
    const SHARD_INDEX: &str = "diffusion_pytorch_model.safetensors.index.json";
    const TENSOR: &str = "conv_in.bias";
    let sharded = |name: &'static str, parts: &[&str], change: fn(&mut Value, &Path)| {
        row(format!("shards: {name}"), parts, move |model| {
            let all = store::read_tensors(&fs::read(model.join(UNET_WEIGHTS)).expect("weights"), "weights").expect("tensors");
            let mut map = Map::new();
            for (number, shard) in SHARDS.iter().enumerate() {
                let is_in = |name: &str| usize::from(!name.starts_with("conv_in")) == number;
                let tensors: Vec<_> =
                    all.iter().filter(|(name, _)| is_in(name)).map(|(name, (shape, values))| (name.clone(), shape.clone(), values.clone())).collect();
                map.extend(tensors.iter().map(|(name, _, _)| (name.clone(), json!(shard))));
                denoiser(model, shard, &tensor_bytes(&tensors));
            }
            let mut index = json!({ "metadata": {"total_size": 1}, "weight_map": map });
            change(&mut index, &model.join("unet"));
            write(&model.join("unet").join(SHARD_INDEX), index.to_string().as_bytes());
        })
    };
    let index = format!("unet/{SHARD_INDEX}");
    rows.extend([
        sharded("no map", &[&index, "weight_map"], |index, _| *index = json!({})),
        sharded("a list", &[&index], |index, _| *index = json!([1])),
        sharded("an empty map", &[&index, "empty"], |index, _| index["weight_map"] = json!({})),
        sharded("a file that is missing", &[&index, TENSOR, "missing.safetensors"], |index, _| {
            index["weight_map"][TENSOR] = json!("missing.safetensors")
        }),
        sharded("a file elsewhere", &[&index, TENSOR], |index, _| index["weight_map"][TENSOR] = json!("../vae/diffusion_pytorch_model.safetensors")),
        sharded("an absolute path", &[&index, TENSOR], |index, _| index["weight_map"][TENSOR] = json!("/etc/passwd")),
        sharded("a number for a file", &[&index, TENSOR], |index, _| index["weight_map"][TENSOR] = json!(7)),
        sharded("the wrong file", &[&index, TENSOR], |index, _| index["weight_map"][TENSOR] = json!(SHARDS[1])),
        sharded("a tensor that is missing", &[&index, "stranger"], |index, _| index["weight_map"]["stranger"] = json!(SHARDS[0])),
        sharded("a tensor that is not named", &[&index, TENSOR], |index, _| drop(index["weight_map"].as_object_mut().expect("a map").remove(TENSOR))),
        sharded("a tensor in both", &["unet/", TENSOR], |_, unet| {
            let first = fs::read(unet.join(SHARDS[0])).expect("a shard");
            let second = fs::read(unet.join(SHARDS[1])).expect("a shard");
            let bias = store::read_tensors(&first, "a shard").expect("tensors").remove(TENSOR).expect("the tensor");
            write(&unet.join(SHARDS[1]), &with_tensors(&second, |tensors| drop(tensors.insert(TENSOR.into(), bias.clone()))));
        }),
        sharded("a truncated shard", &["unet/", SHARDS[1]], |_, unet| {
            let bytes = fs::read(unet.join(SHARDS[1])).expect("a shard");
            write(&unet.join(SHARDS[1]), &bytes[..bytes.len() - 9]);
        }),
        sharded("a folder for a shard", &["unet/", SHARDS[1]], |_, unet| {
            remove(&unet.join(SHARDS[1]));
            fs::create_dir(unet.join(SHARDS[1])).expect("a folder");
        }),
    ]);
    // In place of the folder.
    for (name, bytes) in [
        ("text", b"weights".to_vec()),
        ("nothing in it", Vec::new()),
        ("unrelated tensors", tensor_bytes(&[("a".into(), vec![1], vec![1.0])])),
        ("code", RUNS_CODE.as_bytes().to_vec()),
        ("code in an archive", archive(&[("archive/data.pkl", RUNS_CODE.as_bytes())])),
        ("GGUF", b"GGUF\x03\0\0\0".to_vec()),
    ] {
        rows.push(row(format!("a file of {name}"), &["layouts-"], move |model| {
            remove(model);
            write(model, &bytes);
        }));
    }
    check("layouts", rows);
}

#[test]
fn tokenizers() {
    let count = tokenizer(TOKENS).vocabulary_size();
    let changed = |name: &'static str, parts: &[&str], change: fn(&mut Value)| {
        row(name, &[&[TOKENIZER], parts].concat(), move |model| {
            let mut json = json_of(&model.join(TOKENIZER));
            change(&mut json);
            write(&model.join(TOKENIZER), json.to_string().as_bytes());
        })
    };
    let of_files = |name: &'static str, parts: &[&str], vocabulary: Option<&'static [u8]>, merges: Option<&'static [u8]>| {
        row(name, &[&["tokenizer/"], parts].concat(), move |model| {
            remove(&model.join(TOKENIZER));
            for (name, bytes) in [("vocab.json", vocabulary), ("merges.txt", merges)] {
                if let Some(bytes) = bytes {
                    write(&model.join("tokenizer").join(name), bytes);
                }
            }
        })
    };
    const IDS: &[u8] = b"{\"a\": 0, \"a</w>\": 1, \"<|startoftext|>\": 2, \"<|endoftext|>\": 3}";
    const MERGES: &[u8] = b"#version: 0.2\n";
    check(
        "tokenizers",
        vec![
            row("more tokens than positions", &[TOKENIZER, "32 tokens", TEXT, "max_position_embeddings = 16"], |model| {
                write(&model.join(TOKENIZER), tokenizer(32).to_json().as_bytes());
            }),
            changed("another model", &["WordPiece"], |json| {
                json["model"] =
                    json!({"type": "WordPiece", "vocab": {}, "unk_token": "x", "continuing_subword_prefix": "#", "max_input_chars_per_word": 9})
            }),
            changed("a vocabulary that is a list", &[], |json| json["model"]["vocab"] = json!([1])),
            changed("an empty vocabulary", &[], |json| json["model"]["vocab"] = json!({})),
            changed("an id of 2^40", &[], |json| json["model"]["vocab"]["zz"] = json!(1u64 << 40)),
            changed("a negative id", &[], |json| json["model"]["vocab"]["zz"] = json!(-1)),
            changed("no model", &["model"], |json| json["model"] = Value::Null),
            changed("merges of nothing", &[], |json| json["model"]["merges"] = json!([["qq", "ww"]])),
            changed("merges that are numbers", &[], |json| json["model"]["merges"] = json!([1, 2])),
            changed("an unknown normaliser", &["normalizer"], |json| json["normalizer"] = json!({"type": "Mystery"})),
            changed("an unknown splitter", &["pre_tokenizer"], |json| json["pre_tokenizer"] = json!({"type": "Mystery"})),
            changed("a pattern that never ends", &[], |json| {
                json["pre_tokenizer"] = json!({"type": "Split", "pattern": {"Regex": "(a*)*$"}, "behavior": "Removed", "invert": false})
            }),
            changed("no added tokens", &[], |json| json["added_tokens"] = json!(7)),
            changed("padding that is text", &["padding"], |json| json["padding"] = json!("77")),
            changed("padding to 2^40", &[], |json| json["padding"]["strategy"] = json!({"Fixed": 1u64 << 40})),
            row("an id without embedding", &[TOKENIZER, TEXT, &(count + 1).to_string()], move |model| {
                let mut json = json_of(&model.join(TOKENIZER));
                json["added_tokens"].as_array_mut().expect("tokens").push(
                    json!({"id": count, "content": "<my-thing>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}),
                );
                write(&model.join(TOKENIZER), json.to_string().as_bytes());
            }),
            of_files("vocabulary and merges: no merges", &[], Some(IDS), None),
            of_files("vocabulary and merges: no vocabulary", &[], None, Some(MERGES)),
            of_files("vocabulary and merges: an empty vocabulary", &["vocab.json"], Some(b""), Some(MERGES)),
            of_files("vocabulary and merges: a list", &["vocab.json"], Some(b"[]"), Some(MERGES)),
            of_files(
                "vocabulary and merges: an id twice",
                &["vocab.json"],
                Some(b"{\"a\": 0, \"b\": 0, \"<|startoftext|>\": 1, \"<|endoftext|>\": 2}"),
                Some(MERGES),
            ),
            of_files("vocabulary and merges: no end", &["vocab.json"], Some(b"{\"a\": 0}"), Some(MERGES)),
            of_files("vocabulary and merges: a merge of one", &["merges.txt"], Some(IDS), Some(b"#version: 0.2\nab\n")),
            of_files("vocabulary and merges: a merge of unknown tokens", &["merges.txt"], Some(IDS), Some(b"#version: 0.2\nq w\n")),
            of_files("vocabulary and merges: not UTF-8", &["merges.txt"], Some(IDS), Some(b"#version: 0.2\n\xff a\n")),
        ],
    );
}
