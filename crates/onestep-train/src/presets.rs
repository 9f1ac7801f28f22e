//! Network sizes for training from scratch.

use onestep_nets::{AutoencoderKlConfig, ClipTextConfig, SchedulerConfig, UNet2DConditionConfig};
use serde_json::json;

use crate::error::TrainError;

/// The configurations of all networks of a model.
#[derive(Clone, Debug)]
pub struct Preset {
    /// The name on the command line.
    pub name: &'static str,
    /// The autoencoder; it maps images [3,64,64] to latents [4,16,16].
    pub vae: AutoencoderKlConfig,
    /// The denoiser.
    pub unet: UNet2DConditionConfig,
    /// The text encoder, for the tokenizer's vocabulary.
    pub text_encoder: ClipTextConfig,
    /// The noise schedule.
    pub scheduler: SchedulerConfig,
}

/// Name, autoencoder channels, U-Net channels, text width, text layers.
type Size = (&'static str, [usize; 3], [usize; 3], usize, usize);

/// `test` is for tests: it trains in seconds, and its images show nothing.
const SIZES: &[Size] =
    &[("test", [8, 8, 16], [16, 16, 32], 32, 1), ("tiny", [16, 24, 48], [32, 64, 96], 128, 2), ("small", [32, 64, 128], [96, 192, 288], 256, 4)];

/// The names of all presets.
pub fn names() -> Vec<&'static str> {
    SIZES.iter().map(|size| size.0).collect()
}

/// Autoencoder and denoiser downsample by 4 each.
const DOWNSCALE: usize = 16;

/// The preset of that name for square images with a side of `image` pixels, `vocabulary` token ids and `tokens` tokens per prompt.
///
/// # Errors
/// An unknown name, with those that exist; a side that is no multiple of 16.
pub fn preset(name: &str, image: usize, vocabulary: usize, tokens: usize, end_id: u32) -> Result<Preset, TrainError> {
    let Some(&(name, vae, unet, text, layers)) = SIZES.iter().find(|size| size.0 == name) else {
        return Err(TrainError::new(crate::TrainErrorKind::Usage, format!("no preset {name:?}; there are {}", names().join(", "))));
    };
    if image == 0 || !image.is_multiple_of(DOWNSCALE) {
        let message = format!("--size {image}: expected a multiple of {DOWNSCALE}, which the networks can halve four times, such as 64");
        return Err(TrainError::new(crate::TrainErrorKind::Usage, message));
    }
    let config = |error: onestep_nets::ConfigError| TrainError::input(format!("preset {name}: {error}"));
    let heads = |width: usize| (width / 32).max(1);
    let vae = json!({
        "sample_size": image, "latent_channels": 4, "layers_per_block": 1, "norm_num_groups": 8, "block_out_channels": vae,
        "down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D"],
        "up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D"],
    });
    let unet = json!({
        "sample_size": image / 4, "in_channels": 4, "out_channels": 4, "layers_per_block": 1, "norm_num_groups": 8, "block_out_channels": unet,
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
        "cross_attention_dim": text, "attention_head_dim": unet.map(heads), "use_linear_projection": true,
    });
    let text_encoder = json!({
        "vocab_size": vocabulary, "hidden_size": text, "intermediate_size": text * 4, "num_hidden_layers": layers, "num_attention_heads": heads(text),
        "max_position_embeddings": tokens, "hidden_act": "quick_gelu", "eos_token_id": end_id, "bos_token_id": 0, "pad_token_id": end_id,
    });
    let scheduler = json!({
        "num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "prediction_type": "epsilon",
        "timestep_spacing": "trailing", "steps_offset": 0, "set_alpha_to_one": true, "clip_sample": false,
    });
    Ok(Preset {
        name,
        vae: AutoencoderKlConfig::from_json(&vae.to_string()).map_err(config)?,
        unet: UNet2DConditionConfig::from_json(&unet.to_string()).map_err(config)?,
        text_encoder: ClipTextConfig::from_json(&text_encoder.to_string()).map_err(config)?,
        scheduler: SchedulerConfig::from_json(&scheduler.to_string()).map_err(config)?,
    })
}
