//! A sound pipeline with random weights, as small as one can be.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use burn::tensor::Device;
use onestep_nets::{AutoencoderKlConfig, ClipTextConfig, Init, UNet2DConditionConfig, weights};
use onestep_train::data::{CaptionTokenizer, TokenizerOptions};
use onestep_train::pipeline_folder::{TEXT_WEIGHTS, TOKENIZER, UNET_WEIGHTS, VAE_WEIGHTS, model_index};
use serde_json::{Value, json};

/// Features of the texts.
const WIDTH: usize = 8;
/// Tokens of a prompt.
pub const TOKENS: usize = 16;

pub fn unet_config() -> Value {
    json!({
        "_class_name": "UNet2DConditionModel", "sample_size": 8, "in_channels": 4, "out_channels": 4, "layers_per_block": 1, "norm_num_groups": 4,
        "block_out_channels": [8, 8], "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"], "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
        "cross_attention_dim": WIDTH, "attention_head_dim": 2,
    })
}

pub fn vae_config() -> Value {
    json!({
        "_class_name": "AutoencoderKL", "sample_size": 16, "latent_channels": 4, "layers_per_block": 1, "norm_num_groups": 4, "block_out_channels": [8, 8],
        "down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D"], "up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D"],
    })
}

pub fn scheduler_config() -> Value {
    json!({
        "_class_name": "DDIMScheduler", "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "clip_sample": false,
        "num_train_timesteps": 1000, "prediction_type": "epsilon", "set_alpha_to_one": true, "steps_offset": 0, "timestep_spacing": "trailing",
    })
}

pub fn tokenizer(length: usize) -> CaptionTokenizer {
    let options = TokenizerOptions { length, ..TokenizerOptions::default() };
    CaptionTokenizer::train(["red square", "a green square", "blue"], &options).expect("a tokenizer")
}

/// The files of the sound pipeline, with random weights. Made once: concurrent tests share the source of random numbers.
pub fn sound() -> &'static Vec<(String, Vec<u8>)> {
    static FILES: OnceLock<Vec<(String, Vec<u8>)>> = OnceLock::new();
    FILES.get_or_init(pipeline)
}

fn pipeline() -> Vec<(String, Vec<u8>)> {
    let device = Device::flex();
    let tokenizer = tokenizer(TOKENS);
    let text = json!({
        "architectures": ["CLIPTextModel"], "model_type": "clip_text_model", "vocab_size": tokenizer.vocabulary_size(), "hidden_size": WIDTH,
        "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": TOKENS, "eos_token_id": tokenizer.end_id(),
    });
    let (unet, vae) = (unet_config(), vae_config());
    let unet_net = UNet2DConditionConfig::from_json(&unet.to_string()).expect("a configuration").init(&device);
    let vae_net = AutoencoderKlConfig::from_json(&vae.to_string()).expect("a configuration").init(&device);
    let text_net = ClipTextConfig::from_json(&text.to_string()).expect("a configuration").init(&device);
    let none = BTreeMap::new();
    vec![
        ("unet/config.json".into(), unet.to_string().into_bytes()),
        (UNET_WEIGHTS.into(), weights::save(&unet_net, &none)),
        ("vae/config.json".into(), vae.to_string().into_bytes()),
        (VAE_WEIGHTS.into(), weights::save(&vae_net, &none)),
        ("text_encoder/config.json".into(), text.to_string().into_bytes()),
        (TEXT_WEIGHTS.into(), weights::save(&text_net, &none)),
        ("scheduler/scheduler_config.json".into(), scheduler_config().to_string().into_bytes()),
        (TOKENIZER.into(), tokenizer.to_json().as_bytes().to_vec()),
        model_index(&["vae", "unet", "text_encoder", "scheduler", "tokenizer"]),
    ]
}

/// A configuration with another value, as the bytes of its file.
pub fn with(mut config: Value, key: &str, value: Value) -> Vec<u8> {
    config[key] = value;
    config.to_string().into_bytes()
}
