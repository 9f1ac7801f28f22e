//! Which family of models a file is of.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::single_file_error::SingleFileError;
use crate::Family;

/// What stands before the U-Net's names.
pub(super) const UNET: &str = "model.diffusion_model.";

/// What the U-Net predicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PredictionType {
    /// The noise.
    Epsilon,
    /// The velocity `alpha_t eps - sigma_t x_0`.
    V,
}

impl PredictionType {
    /// The value of `prediction_type` in `scheduler_config.json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Epsilon => "epsilon",
            Self::V => "v_prediction",
        }
    }

    /// The type that the name says, as diffusers writes it (`epsilon`, `v_prediction`) or as the metadata of safetensors
    /// files have it (`epsilon`, `v`).
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "epsilon" | "eps" => Some(Self::Epsilon),
            "v_prediction" | "v" => Some(Self::V),
            _ => None,
        }
    }

    /// The type that the original configuration file of a model states, a `.yaml` file in the same folder
    /// (`v2-inference-v.yaml` has `parameterization: "v"`). `None` for other texts.
    pub fn from_original_config(yaml: &str) -> Option<Self> {
        let value = |key: &str| {
            let line = yaml.lines().map(str::trim).find(|line| line.strip_prefix(key).is_some_and(|rest| rest.starts_with(':')))?;
            Some(line[key.len() + 1..].split('#').next().unwrap_or("").trim().trim_matches(['"', '\'']))
        };
        match value("parameterization") {
            Some(name) => Self::from_name(name),
            // The noise is what the original code predicts if its configuration says nothing.
            None => value("linear_start").map(|_| Self::Epsilon),
        }
    }
}

impl Family {
    /// The factor of latents, as published with the family.
    pub fn scaling_factor(self) -> f64 {
        match self {
            Self::StableDiffusion1 | Self::StableDiffusion2 => 0.18215,
            Self::StableDiffusionXl => 0.13025,
        }
    }

    /// Side of the images that the family is made for, in pixels.
    pub fn image_size(self, prediction: PredictionType) -> usize {
        match (self, prediction) {
            (Self::StableDiffusion1, _) | (Self::StableDiffusion2, PredictionType::Epsilon) => 512,
            (Self::StableDiffusion2, PredictionType::V) => 768,
            (Self::StableDiffusionXl, _) => 1024,
        }
    }

    /// The keys of `scheduler_config.json`, as published with the family. A single file has no scheduler.
    pub fn scheduler(self, prediction: PredictionType, zero_terminal_snr: bool) -> Map<String, Value> {
        let (class, key, value) = match self {
            // diffusers' PNDMScheduler knows no zero terminal SNR.
            Self::StableDiffusion1 if !zero_terminal_snr => ("PNDMScheduler", "skip_prk_steps", json!(true)),
            Self::StableDiffusion1 | Self::StableDiffusion2 => ("DDIMScheduler", "clip_sample", json!(false)),
            Self::StableDiffusionXl => ("EulerDiscreteScheduler", "interpolation_type", json!("linear")),
        };
        let mut keys = Map::new();
        for (key, value) in [
            ("_class_name", json!(class)),
            ("num_train_timesteps", json!(1000)),
            ("beta_start", json!(0.00085)),
            ("beta_end", json!(0.012)),
            ("beta_schedule", json!("scaled_linear")),
            ("trained_betas", Value::Null),
            ("prediction_type", json!(prediction.name())),
            ("timestep_spacing", json!("leading")),
            ("steps_offset", json!(1)),
            (key, value),
        ] {
            keys.insert(key.to_owned(), value);
        }
        if self != Self::StableDiffusionXl {
            keys.insert("set_alpha_to_one".to_owned(), json!(false));
        }
        if zero_terminal_snr {
            keys.insert("rescale_betas_zero_snr".to_owned(), json!(true));
        }
        keys
    }
}

/// Tensors by which other models are known, most of them those by which diffusers 0.42 tells them apart. They stand in the
/// file as they are or behind `model.diffusion_model.`.
const OTHERS: &[(&str, &str)] = &[
    ("single_stream_modulation.lin.weight", "FLUX.2"),
    ("early_stream_modulations.image.lin.weight", "FLUX.3"),
    ("distilled_guidance_layer.in_proj.bias", "Chroma"),
    ("double_blocks.0.img_attn.norm.key_norm.scale", "FLUX.1"),
    ("transformer_blocks.0.attn.norm_added_k.weight", "a transformer of FLUX, Stable Diffusion 3 or Qwen-Image"),
    ("joint_blocks.0.context_block.adaLN_modulation.1.bias", "Stable Diffusion 3"),
    ("text_encoders.clip_l.transformer.text_model.embeddings.position_embedding.weight", "Stable Diffusion 3"),
    ("double_layers.0.attn.w1q.weight", "AuraFlow"),
    ("layers.0.adaLN_modulation.0.weight", "Z-Image"),
    ("cap_embedder.0.weight", "Lumina 2"),
    ("blocks.0.cross_attn.q_linear.weight", "Sana or PixArt"),
    ("head.modulation", "Wan"),
    ("vace_blocks.0.after_proj.bias", "Wan VACE"),
    ("txt_in.individual_token_refiner.blocks.0.adaLN_modulation.1.bias", "HunyuanVideo"),
    ("double_stream_blocks.0.block.adaLN_modulation.1.bias", "HiDream"),
    ("patchify_proj.weight", "LTX-Video"),
    ("blocks.0.attn.qkv_x.weight", "Mochi"),
    ("net.x_embedder.proj.1.weight", "Cosmos"),
    ("txt_in.text_norm.weight", "Qwen-Image"),
    ("txtfusion.projector.weight", "Krea 2"),
    ("clip_txt_mapper.weight", "Stable Cascade"),
    ("down_blocks.1.0.channelwise.0.weight", "Stable Cascade"),
    ("edm_mean", "Playground 2.5"),
    ("conditioner.embedders.0.model.text_projection", "the refiner of Stable Diffusion XL"),
    ("conditioner.embedders.0.model.ln_final.weight", "the refiner of Stable Diffusion XL"),
    ("label_emb.weight", "the upscaler of Stable Diffusion 2"),
    ("noise_augmentor.betas", "Stable unCLIP"),
    ("control_model.time_embed.0.weight", "a ControlNet"),
    ("controlnet_cond_embedding.conv_in.weight", "a ControlNet"),
    ("input_hint_block.0.weight", "a ControlNet"),
    ("down_blocks.0.motion_modules.0.temporal_transformer.norm.weight", "AnimateDiff"),
    ("emb_params", "an embedding of textual inversion"),
    ("string_to_param", "an embedding of textual inversion"),
    ("clip_g", "an embedding of textual inversion"),
];

/// Parts of names that only LoRA files have.
const LORA: [&str; 8] = [".lora_down.", ".lora_up.", ".lora_A.", ".lora_B.", ".lora.down.", ".lora.up.", ".hada_w1_a", ".lokr_w1"];

/// Refuses models that are known and not supported.
pub(super) fn refuse_others(tensors: &BTreeMap<String, Vec<usize>>) -> Result<(), SingleFileError> {
    for (name, family) in OTHERS {
        let found = ["", UNET].into_iter().map(|prefix| format!("{prefix}{name}")).find(|key| tensors.contains_key(key));
        if let Some(key) = found {
            return Err(SingleFileError::OtherFamily { family, key });
        }
    }
    match tensors.keys().find(|key| LORA.iter().any(|part| key.contains(part))) {
        Some(key) => Err(SingleFileError::Lora { key: key.clone() }),
        None => Ok(()),
    }
}
