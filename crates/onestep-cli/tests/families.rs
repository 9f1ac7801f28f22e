//! Teachers of every family are sampled and distilled, with latents of a size that does not halve evenly. Weights are random.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use burn::module::Module;
use burn::tensor::Device;
use onestep_nets::{AutoencoderKlConfig, AutoencoderTinyConfig, ClipTextConfig, Init, UNet2DConditionConfig, weights};
use onestep_train::data::{CaptionTokenizer, TokenizerOptions};
use serde_json::{Value, json};
use support::{text, write_images};

/// Tokens of a prompt.
const TOKENS: usize = 16;
/// Rows and columns of a latent.
const LATENT: usize = 9;

fn write(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    fs::write(path, bytes).expect("a file");
}

/// Writes the configuration and random weights of a component.
fn component<C: Init<Network: Module>>(folder: &Path, name: &str, file: &str, config: &Value, parse: impl Fn(&str) -> C) {
    let network = parse(&config.to_string()).init(&Device::flex());
    write(folder, &format!("{name}/config.json"), config.to_string());
    write(folder, &format!("{name}/{file}.safetensors"), weights::save(&network, &BTreeMap::new()));
}

fn text_encoder(folder: &Path, name: &str, class: &str, width: usize, tokenizer: &CaptionTokenizer) {
    let config = json!({
        "architectures": [class], "model_type": "clip_text_model", "vocab_size": tokenizer.vocabulary_size(), "hidden_size": width,
        "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": TOKENS,
        "eos_token_id": tokenizer.end_id(), "projection_dim": 10, "hidden_act": "gelu",
    });
    component(folder, name, "model", &config, |json| ClipTextConfig::from_json(json).expect("a configuration"));
}

/// Writes a pipeline: `unet` adds keys to the denoiser's configuration, `second` is the width of a second text encoder.
fn pipeline(folder: &Path, unet: Value, second: Option<usize>, tiny_autoencoder: bool) {
    let options = TokenizerOptions { length: TOKENS, ..TokenizerOptions::default() };
    let tokenizer = CaptionTokenizer::train(["red square", "a green square", "blue"], &options).expect("a tokenizer");
    let mut config = json!({
        "_class_name": "UNet2DConditionModel", "sample_size": LATENT, "in_channels": 4, "out_channels": 4, "layers_per_block": 1, "norm_num_groups": 4,
        "block_out_channels": [8, 16], "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"], "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
        "cross_attention_dim": 8 + second.unwrap_or_default(), "attention_head_dim": [2, 4],
    });
    for (key, value) in unet.as_object().expect("an object") {
        config[key] = value.clone();
    }
    component(folder, "unet", "diffusion_pytorch_model", &config, |json| UNet2DConditionConfig::from_json(json).expect("a configuration"));
    let vae_class = if tiny_autoencoder {
        let config = json!({
            "_class_name": "AutoencoderTiny", "encoder_block_out_channels": [8, 8], "decoder_block_out_channels": [8, 8],
            "num_encoder_blocks": [1, 1], "num_decoder_blocks": [1, 1],
        });
        component(folder, "vae", "diffusion_pytorch_model", &config, |json| AutoencoderTinyConfig::from_json(json).expect("a configuration"));
        "AutoencoderTiny"
    } else {
        let config = json!({
            "_class_name": "AutoencoderKL", "sample_size": 2 * LATENT, "latent_channels": 4, "layers_per_block": 1, "norm_num_groups": 4,
            "block_out_channels": [8, 8], "down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D"], "up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D"],
        });
        component(folder, "vae", "diffusion_pytorch_model", &config, |json| AutoencoderKlConfig::from_json(json).expect("a configuration"));
        "AutoencoderKL"
    };
    text_encoder(folder, "text_encoder", "CLIPTextModel", 8, &tokenizer);
    write(folder, "tokenizer/tokenizer.json", tokenizer.to_json());
    let scheduler = json!({
        "_class_name": "DDIMScheduler", "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "clip_sample": false,
        "num_train_timesteps": 1000, "prediction_type": "epsilon", "set_alpha_to_one": true, "steps_offset": 0, "timestep_spacing": "trailing",
    });
    write(folder, "scheduler/scheduler_config.json", scheduler.to_string());
    let mut index = json!({
        "_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", vae_class],
        "text_encoder": ["transformers", "CLIPTextModel"], "tokenizer": ["transformers", "PreTrainedTokenizerFast"],
        "scheduler": ["diffusers", "DDIMScheduler"],
    });
    if let Some(width) = second {
        text_encoder(folder, "text_encoder_2", "CLIPTextModelWithProjection", width, &tokenizer);
        write(folder, "tokenizer_2/tokenizer.json", tokenizer.to_json());
        index["_class_name"] = json!("StableDiffusionXLPipeline");
        index["text_encoder_2"] = json!(["transformers", "CLIPTextModelWithProjection"]);
        index["tokenizer_2"] = json!(["transformers", "PreTrainedTokenizerFast"]);
        index["force_zeros_for_empty_prompt"] = json!(true);
    }
    write(folder, "model_index.json", index.to_string());
}

fn succeed(folder: &Path, words: &str) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onestep"));
    let command = command.env("ONESTEP_PROGRESS", "never").stdin(Stdio::null()).current_dir(folder).args(words.split(' '));
    let output = command.output().expect("the program starts");
    assert!(output.status.success(), "{words}: {}", text(&output.stderr));
}

/// The latents of the pairs that a teacher samples.
fn pairs(folder: &Path, teacher: &str, out: &str) -> Vec<u8> {
    let options = "--data images --count 4 --shard 4 --batch 4 --steps 3 --device cpu --quiet";
    succeed(folder, &format!("pairs --teacher {teacher} --out {out} {options}"));
    fs::read(folder.join(out).join("pairs-00000-of-00001.safetensors")).expect("a shard")
}

/// Samples pairs, distils two steps with the discriminator, and opens the student; returns its index.
fn distil(folder: &Path, teacher: &str) -> Value {
    pairs(folder, teacher, "pairs");
    let options = "--distance mse --steps 2 --batch 4 --regression-fraction 0 --device cpu --quiet";
    succeed(folder, &format!("distil --teacher {teacher} --pairs pairs --out student {options}"));
    let log = fs::read_to_string(folder.join("student/log.jsonl")).expect("a log");
    let steps: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(steps.iter().any(|step| step["discriminator"].is_number()), "the discriminator is trained: {log}");
    // It is a model like any other.
    pairs(folder, "student/model", "again");
    let index = fs::read(folder.join("student/model/model_index.json")).expect("an index");
    serde_json::from_slice(&index).expect("JSON")
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    write_images(&folder.path().join("images"), 2 * LATENT as u32);
    folder
}

fn stable_diffusion_xl() -> Value {
    json!({
        "use_linear_projection": true, "transformer_layers_per_block": [1, 2], "addition_embed_type": "text_time", "addition_time_embed_dim": 4,
        "projection_class_embeddings_input_dim": 10 + 6 * 4,
    })
}

#[test]
fn stable_diffusion_xl_is_sampled_and_distilled() {
    let folder = folder();
    let path = folder.path();
    pipeline(&path.join("teacher"), stable_diffusion_xl(), Some(12), false);
    let index = distil(path, "teacher");
    assert_eq!(index["_class_name"], "StableDiffusionXLPipeline");
    assert_eq!(index["text_encoder_2"], json!(["transformers", "CLIPTextModelWithProjection"]));
    assert!(path.join("student/model/tokenizer_2/tokenizer.json").exists());
    // The unconditional prediction has states of zeros, or those of the empty prompt.
    let file = path.join("teacher/model_index.json");
    let index = fs::read_to_string(&file).expect("an index");
    fs::write(&file, index.replace("\"force_zeros_for_empty_prompt\":true", "\"force_zeros_for_empty_prompt\":false")).expect("a write");
    assert_ne!(pairs(path, "teacher", "other"), fs::read(path.join("pairs/pairs-00000-of-00001.safetensors")).expect("a shard"));
}

#[test]
fn a_teacher_with_the_tiny_autoencoder_is_distilled() {
    let folder = folder();
    pipeline(&folder.path().join("teacher"), json!({}), None, true);
    assert_eq!(distil(folder.path(), "teacher")["vae"], json!(["diffusers", "AutoencoderTiny"]));
    // Programs of the odd size, which a test image is generated with.
    succeed(folder.path(), "export --model student/model --out bundle --quiet");
}

#[test]
fn a_teacher_that_takes_the_guidance_scale_is_distilled() {
    let folder = folder();
    let path = folder.path();
    pipeline(&path.join("teacher"), json!({ "time_cond_proj_dim": 8 }), None, false);
    distil(path, "teacher");
    let options = "--data images --count 4 --shard 4 --batch 4 --steps 3 --device cpu --quiet";
    succeed(path, &format!("pairs --teacher teacher --out other --guidance 5 {options}"));
    let shard = |name: &str| fs::read(path.join(name).join("pairs-00000-of-00001.safetensors")).expect("a shard");
    assert_ne!(shard("other"), shard("pairs"));
}

/// Exports a model, and generates an image with the bundle on the CPU; returns the bundle's manifest.
fn export(folder: &Path, model: &str) -> Value {
    succeed(folder, &format!("export --model {model} --out bundle --quiet"));
    succeed(folder, "inspect bundle");
    succeed(folder, "generate red --bundle bundle --device cpu --seed 1 --out image.png");
    assert!(fs::read(folder.join("image.png")).expect("an image").starts_with(b"\x89PNG"));
    serde_json::from_slice(&fs::read(folder.join("bundle/manifest.json")).expect("a manifest")).expect("JSON")
}

#[test]
fn models_of_every_family_are_exported() {
    let cases = [
        ("xl", stable_diffusion_xl(), Some(12), false),
        ("guided", json!({ "time_cond_proj_dim": 8 }), None, false),
        ("tiny", json!({}), None, true),
    ];
    for (name, unet, second, tiny_autoencoder) in cases {
        let folder = folder();
        pipeline(&folder.path().join(name), unet, second, tiny_autoencoder);
        let manifest = export(folder.path(), name);
        assert_eq!(manifest.get("tokenizer_2").is_some(), second.is_some(), "{name}");
        assert_eq!(manifest["generation"].get("end_of_text").is_some(), second.is_some(), "{name}");
    }
}
