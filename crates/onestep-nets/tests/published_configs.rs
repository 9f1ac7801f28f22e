//! The configurations of published models, as far as they matter here, and the number of parameters that those have.

#![recursion_limit = "256"]

use burn::tensor::Device;
use onestep_nets::{
    AutoencoderKlConfig, ClipConfig, ClipTextConfig, InceptionLayout, InceptionV3, Init, SchedulerConfig, UNet2DConditionConfig, weights,
};
use serde_json::{Value, json};

fn count<M: burn::module::Module>(module: &M) -> usize {
    weights::parameters(module).iter().map(|parameter| parameter.shape.iter().product::<usize>()).sum()
}

fn stable_diffusion_1() -> Value {
    json!({
        "_class_name": "UNet2DConditionModel", "_diffusers_version": "0.6.0", "act_fn": "silu", "attention_head_dim": 8,
        "block_out_channels": [320, 640, 1280, 1280], "center_input_sample": false, "cross_attention_dim": 768,
        "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
        "downsample_padding": 1, "flip_sin_to_cos": true, "freq_shift": 0, "in_channels": 4, "layers_per_block": 2,
        "mid_block_scale_factor": 1, "norm_eps": 1e-05, "norm_num_groups": 32, "out_channels": 4, "sample_size": 64,
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"]
    })
}

fn with(mut base: Value, changes: Value) -> Value {
    for (key, value) in changes.as_object().unwrap() {
        base[key] = value.clone();
    }
    base
}

fn stable_diffusion_2() -> Value {
    with(
        stable_diffusion_1(),
        json!({
            "attention_head_dim": [5, 10, 20, 20], "cross_attention_dim": 1024, "dual_cross_attention": false,
            "num_class_embeds": null, "only_cross_attention": false, "upcast_attention": true,
            "use_linear_projection": true, "sample_size": 96
        }),
    )
}

fn sdxl() -> Value {
    json!({
        "_class_name": "UNet2DConditionModel", "_diffusers_version": "0.19.0.dev0", "act_fn": "silu",
        "addition_embed_type": "text_time", "addition_embed_type_num_heads": 64, "addition_time_embed_dim": 256,
        "attention_head_dim": [5, 10, 20], "block_out_channels": [320, 640, 1280], "center_input_sample": false,
        "class_embed_type": null, "class_embeddings_concat": false, "conv_in_kernel": 3, "conv_out_kernel": 3,
        "cross_attention_dim": 2048, "cross_attention_norm": null,
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"], "downsample_padding": 1,
        "dual_cross_attention": false, "encoder_hid_dim": null, "encoder_hid_dim_type": null, "flip_sin_to_cos": true,
        "freq_shift": 0, "in_channels": 4, "layers_per_block": 2, "mid_block_only_cross_attention": null,
        "mid_block_scale_factor": 1, "mid_block_type": "UNetMidBlock2DCrossAttn", "norm_eps": 1e-05,
        "norm_num_groups": 32, "num_attention_heads": null, "num_class_embeds": null, "only_cross_attention": false,
        "out_channels": 4, "projection_class_embeddings_input_dim": 2816, "resnet_out_scale_factor": 1.0,
        "resnet_skip_time_act": false, "resnet_time_scale_shift": "default", "sample_size": 128,
        "time_cond_proj_dim": null, "time_embedding_act_fn": null, "time_embedding_dim": null,
        "time_embedding_type": "positional", "timestep_post_act": null, "transformer_layers_per_block": [1, 2, 10],
        "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"], "upcast_attention": null,
        "use_linear_projection": true
    })
}

#[test]
fn unets_have_the_published_sizes() {
    for (config, parameters) in [(stable_diffusion_1(), 859_520_964), (stable_diffusion_2(), 865_910_724), (sdxl(), 2_567_463_684)] {
        let config = UNet2DConditionConfig::from_json(&config.to_string()).unwrap();
        assert_eq!(count(&config.init(&Device::flex())), parameters);
    }
}

#[test]
fn the_autoencoder_has_the_published_size() {
    let config = json!({
        "_class_name": "AutoencoderKL", "act_fn": "silu", "block_out_channels": [128, 256, 512, 512],
        "down_block_types": vec!["DownEncoderBlock2D"; 4], "up_block_types": vec!["UpDecoderBlock2D"; 4],
        "in_channels": 3, "latent_channels": 4, "layers_per_block": 2, "norm_num_groups": 32, "out_channels": 3,
        "sample_size": 512
    });
    let config = AutoencoderKlConfig::from_json(&config.to_string()).unwrap();
    assert_eq!((config.scaling_factor, config.downscale()), (0.18215, 8));
    assert_eq!(count(&config.init(&Device::flex())), 83_653_863);
}

#[test]
fn text_encoders_have_the_published_sizes() {
    let clip = json!({
        "_name_or_path": "openai/clip-vit-large-patch14", "architectures": ["CLIPTextModel"], "attention_dropout": 0.0,
        "bos_token_id": 0, "dropout": 0.0, "eos_token_id": 2, "hidden_act": "quick_gelu", "hidden_size": 768,
        "initializer_factor": 1.0, "initializer_range": 0.02, "intermediate_size": 3072, "layer_norm_eps": 1e-05,
        "max_position_embeddings": 77, "model_type": "clip_text_model", "num_attention_heads": 12,
        "num_hidden_layers": 12, "pad_token_id": 1, "torch_dtype": "float32", "vocab_size": 49408
    });
    let open_clip = with(
        clip.clone(),
        json!({
            "architectures": ["CLIPTextModelWithProjection"], "hidden_act": "gelu", "hidden_size": 1280,
            "intermediate_size": 5120, "num_attention_heads": 20, "num_hidden_layers": 32, "projection_dim": 1280
        }),
    );
    for (config, parameters) in [(clip, 123_060_480), (open_clip, 694_659_840)] {
        let config = ClipTextConfig::from_json(&config.to_string()).unwrap();
        assert_eq!(count(&config.init(&Device::flex())), parameters);
    }
}

#[test]
fn evaluation_networks_have_the_published_sizes() {
    let base = json!({
        "architectures": ["CLIPModel"], "initializer_factor": 1.0, "logit_scale_init_value": 2.6592, "model_type": "clip",
        "projection_dim": 512, "text_config_dict": null, "vision_config_dict": null,
        "text_config": {
            "architectures": null, "attention_dropout": 0.0, "bos_token_id": 0, "dropout": 0.0, "eos_token_id": 2,
            "hidden_act": "quick_gelu", "hidden_size": 512, "intermediate_size": 2048, "max_position_embeddings": 77,
            "model_type": "clip_text_model", "num_attention_heads": 8, "num_hidden_layers": 12, "pad_token_id": 1,
            "projection_dim": 512, "vocab_size": 49408
        },
        "vision_config": {
            "architectures": null, "attention_dropout": 0.0, "dropout": 0.0, "hidden_act": "quick_gelu", "hidden_size": 768,
            "image_size": 224, "intermediate_size": 3072, "model_type": "clip_vision_model", "num_attention_heads": 12,
            "num_hidden_layers": 12, "patch_size": 32, "projection_dim": 512
        }
    });
    let text = json!({ "hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "num_hidden_layers": 12, "projection_dim": 768 });
    let vision = json!({
        "hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16, "num_hidden_layers": 24, "patch_size": 14,
        "projection_dim": 768
    });
    let large = with(base.clone(), json!({ "projection_dim": 768, "text_config_dict": text, "vision_config_dict": vision }));
    for (config, parameters) in [(base, 151_277_313), (large, 427_616_513)] {
        let config = ClipConfig::from_json(&config.to_string()).unwrap();
        assert_eq!(count(&config.init(&Device::flex())), parameters);
    }
    // 23,834,568 of them are learnt; the rest are means and variances.
    assert_eq!(count(&InceptionV3::new(InceptionLayout::Torchvision, true, &Device::flex())), 23_869_000);
}

#[test]
fn the_scheduler_that_is_published_with_stable_diffusion_is_read() {
    let config = json!({
        "_class_name": "PNDMScheduler", "_diffusers_version": "0.6.0", "beta_end": 0.012,
        "beta_schedule": "scaled_linear", "beta_start": 0.00085, "num_train_timesteps": 1000, "set_alpha_to_one": false,
        "skip_prk_steps": true, "steps_offset": 1, "trained_betas": null, "clip_sample": false
    });
    SchedulerConfig::from_json(&config.to_string()).unwrap();
}

#[test]
fn what_is_not_implemented_is_refused_by_key() {
    for (key, value) in [
        ("_class_name", json!("UNet2DModel")),
        ("_class_name", json!(null)),
        ("act_fn", json!("mish")),
        ("down_block_types", json!(["AttnDownBlock2D", "DownBlock2D", "DownBlock2D", "DownBlock2D"])),
        ("mid_block_type", json!("UNetMidBlock2D")),
        ("mid_block_type", json!(null)),
        ("resnet_time_scale_shift", json!("scale_shift")),
        ("time_cond_proj_dim", json!(2)),
        ("num_attention_heads", json!(8)),
        ("only_cross_attention", json!([false, true, true, true])),
        ("addition_embed_type", json!("image")),
        ("addition_time_embed_dim", json!(null)),
        ("norm_num_groups", json!(null)),
        ("norm_num_groups", json!(48)),
        ("norm_num_groups", json!(0)),
        ("block_out_channels", json!([])),
        ("block_out_channels", json!([u64::MAX, 640, 1280, 1280])),
        ("layers_per_block", json!([2, 2])),
        ("attention_head_dim", json!(7)),
        ("attention_head_dim", json!(0)),
        ("conv_in_kernel", json!(4)),
        ("norm_eps", json!(0.0)),
        ("freq_shift", json!(1e9)),
        ("transformer_layers_per_block", json!([[1, 2], 2, 3, 4])),
        ("in_channels", json!(-4)),
    ] {
        let mut config = with(stable_diffusion_1(), json!({ key: value }));
        if key == "addition_time_embed_dim" {
            config["addition_embed_type"] = json!("text_time");
        }
        let error = UNet2DConditionConfig::from_json(&config.to_string()).unwrap_err().to_string();
        // Both keys of a pair that does not fit may be named.
        assert!(error.contains(key), "{key}: {error}");
        assert!(serde_json::from_value::<UNet2DConditionConfig>(config).is_err());
    }
    for (json, key) in [
        (json!({"_class_name": "AutoencoderTiny"}), "_class_name = \"AutoencoderTiny\": only \"AutoencoderKL\" is implemented"),
        (json!({"down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D"]}), "down_block_types"),
        (json!({"up_block_types": ["MidBlock"]}), "up_block_types"),
        (json!({"latents_mean": [0.0]}), "latents_mean"),
        (json!({"scaling_factor": 0.0}), "scaling_factor"),
        (json!({"latent_channels": 0}), "latent_channels"),
    ] {
        let error = AutoencoderKlConfig::from_json(&json.to_string()).unwrap_err().to_string();
        assert!(error.contains(key), "{key}: {error}");
    }
    for (json, key) in [
        (json!({"hidden_act": "relu"}), "hidden_act"),
        (json!({"model_type": "t5"}), "model_type"),
        (json!({"architectures": ["T5EncoderModel"]}), "architectures"),
        (json!({"text_config": {}}), "text_config"),
        (json!({"num_attention_heads": 7}), "num_attention_heads"),
        (json!({"vocab_size": 1e30}), "vocab_size"),
    ] {
        let error = ClipTextConfig::from_json(&json.to_string()).unwrap_err().to_string();
        assert!(error.contains(key), "{key}: {error}");
    }
    for (json, key) in [
        (json!({"model_type": "siglip"}), "model_type"),
        (json!({"architectures": ["CLIPTextModel"]}), "architectures"),
        (json!({"projection_dim": 0}), "projection_dim"),
        (json!({"text_config": 7}), "text_config"),
        (json!({"text_config": {"hidden_act": "relu"}}), "hidden_act"),
        (json!({"vision_config": {"hidden_act": "relu"}}), "hidden_act"),
        (json!({"vision_config": {"image_size": [224, 224]}}), "image_size"),
        (json!({"vision_config": {"image_size": 1u64 << 40}}), "image_size"),
        (json!({"vision_config": {"patch_size": 0}}), "patch_size"),
        (json!({"vision_config": {"patch_size": 225}}), "patch_size"),
        (json!({"vision_config": {}, "vision_config_dict": {"num_attention_heads": 5}}), "num_attention_heads"),
    ] {
        let error = ClipConfig::from_json(&json.to_string()).unwrap_err().to_string();
        assert!(error.contains(key), "{key}: {error}");
    }
}
