//! Models in every layout that libraries write, and models with parts that do not fit.

use std::fs;
use std::path::{Path, PathBuf};

use onestep_pipeline::{
    ComponentClass, Family, ImageSize, OpenOptions, Part, Pipeline, PipelineError, Use,
    config::{AutoencoderKlConfig, ClipTextConfig, UNet2DConditionConfig},
    expected_tensors::{autoencoder_tensors, text_encoder_tensors, unet_tensors},
    inspect::Report,
    lora::LoraOption,
    single_file::{UNetBlocks, original_autoencoder},
    weights::{WeightFormat, locate},
};
use onestep_store::tensor_bytes;
use serde_json::{Value, json};

/// The denoiser's weights.
const UNET: &str = "unet/diffusion_pytorch_model.safetensors";

/// A tensor: its name, shape and values.
type Tensor = (String, Vec<usize>, Vec<f32>);

fn unet_config(xl: bool) -> Value {
    let mut unet = json!({
        "_class_name": "UNet2DConditionModel", "sample_size": 8, "in_channels": 4, "out_channels": 4, "layers_per_block": 1, "norm_num_groups": 4,
        "block_out_channels": [8, 8], "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"], "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
        "cross_attention_dim": 8, "attention_head_dim": 2,
    });
    if xl {
        // 6 features of pooled text and 6 ids of 4 features.
        for (key, value) in [
            ("addition_embed_type", json!("text_time")),
            ("addition_time_embed_dim", json!(4)),
            ("projection_class_embeddings_input_dim", json!(30)),
            ("cross_attention_dim", json!(18)),
        ] {
            unet[key] = value;
        }
    }
    unet
}

fn vae_config() -> Value {
    json!({
        "_class_name": "AutoencoderKL", "sample_size": 16, "latent_channels": 4, "layers_per_block": 1, "norm_num_groups": 4, "block_out_channels": [8, 8],
        "down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D"], "up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D"],
    })
}

fn text_config(class: &str, hidden: usize) -> Value {
    json!({
        "architectures": [class], "model_type": "clip_text_model", "vocab_size": 83, "hidden_size": hidden, "intermediate_size": 16, "num_hidden_layers": 1,
        "num_attention_heads": 2, "max_position_embeddings": 16, "eos_token_id": 82, "projection_dim": 6, "hidden_act": "quick_gelu",
    })
}

fn index(class: &str, xl: bool) -> Value {
    let mut index = json!({
        "_class_name": class, "vae": ["diffusers", "AutoencoderKL"], "unet": ["diffusers", "UNet2DConditionModel"],
        "scheduler": ["diffusers", "DDIMScheduler"], "text_encoder": ["transformers", "CLIPTextModel"], "tokenizer": ["transformers", "CLIPTokenizer"],
        "safety_checker": [null, null], "requires_safety_checker": false,
    });
    if xl {
        index["text_encoder_2"] = json!(["transformers", "CLIPTextModelWithProjection"]);
        index["tokenizer_2"] = json!(["transformers", "CLIPTokenizer"]);
    }
    index
}

/// The tensors of a component, with values that differ.
fn tensors(part: Part, xl: bool) -> Vec<Tensor> {
    let text = |class, hidden| ClipTextConfig::from_json(&text_config(class, hidden).to_string()).expect("a configuration");
    match part {
        Part::Unet => {
            let config = UNet2DConditionConfig::from_json(&unet_config(xl).to_string()).expect("a configuration");
            filled(|visit| unet_tensors(&config, visit))
        }
        Part::Vae => {
            let config = AutoencoderKlConfig::from_json(&vae_config().to_string()).expect("a configuration");
            filled(|visit| autoencoder_tensors(&config, visit))
        }
        Part::TextEncoder => filled(|visit| text_encoder_tensors(&text("CLIPTextModel", 8), visit)),
        Part::TextEncoder2 => filled(|visit| text_encoder_tensors(&text("CLIPTextModelWithProjection", 10), visit)),
    }
}

/// A `tokenizer.json` that gives `tokens` ids below `ids`.
fn tokenizer(tokens: usize, ids: usize) -> Value {
    json!({
        "version": "1.0", "added_tokens": [], "normalizer": null, "pre_tokenizer": null, "decoder": null,
        "truncation": { "max_length": tokens }, "padding": { "strategy": { "Fixed": tokens }, "pad_id": 1 },
        "post_processor": { "type": "RobertaProcessing", "cls": ["start", 0], "sep": ["end", 1] },
        "model": { "type": "BPE", "vocab": { "start": 0, "end": 1, "last": ids - 1 }, "merges": [] },
    })
}

fn write_json(path: &Path, value: &Value) {
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    fs::write(path, value.to_string()).expect("a write");
}

/// A pipeline of parts that fit.
fn sound(folder: &Path, xl: bool) {
    write_json(&folder.join("model_index.json"), &index(if xl { "StableDiffusionXLPipeline" } else { "StableDiffusionPipeline" }, xl));
    if xl {
        write_json(&folder.join("text_encoder_2/config.json"), &text_config("CLIPTextModelWithProjection", 10));
        write_json(&folder.join("tokenizer_2/tokenizer.json"), &tokenizer(16, 83));
        fs::write(folder.join(Part::TextEncoder2.weights_name()), tensor_bytes(&tensors(Part::TextEncoder2, xl))).expect("a write");
    }
    write_json(&folder.join("unet/config.json"), &unet_config(xl));
    write_json(&folder.join("vae/config.json"), &vae_config());
    write_json(&folder.join("text_encoder/config.json"), &text_config("CLIPTextModel", 8));
    write_json(&folder.join("tokenizer/tokenizer.json"), &tokenizer(16, 83));
    write_json(
        &folder.join("scheduler/scheduler_config.json"),
        &json!({"_class_name": "DDIMScheduler", "clip_sample": false, "beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}),
    );
    for part in [Part::Unet, Part::Vae, Part::TextEncoder] {
        fs::write(folder.join(part.weights_name()), tensor_bytes(&tensors(part, xl))).expect("a write");
    }
}

fn open(folder: &Path) -> Result<Pipeline, PipelineError> {
    Pipeline::open(folder, &OpenOptions::default())
}

fn hash(folder: &Path) -> String {
    let pipeline = open(folder).expect("a pipeline");
    pipeline.check_for(Use::Sample).expect("parts that fit");
    pipeline.hash(|_| {}).expect("a hash")
}

/// `{name: tensor}` as `torch.save` writes it: a stored ZIP archive with a pickle of protocol 2 and a file for each storage.
fn torch_file(path: &Path, tensors: &[Tensor]) {
    let mut pickle = b"\x80\x02}(".to_vec();
    let text = |out: &mut Vec<u8>, text: &str| {
        out.push(b'X');
        out.extend((text.len() as u32).to_le_bytes());
        out.extend(text.as_bytes());
    };
    let number = |out: &mut Vec<u8>, number: usize| {
        out.push(b'J');
        out.extend((number as u32).to_le_bytes());
    };
    for (storage, (name, shape, data)) in tensors.iter().enumerate() {
        text(&mut pickle, name);
        pickle.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        text(&mut pickle, "storage");
        pickle.extend(b"ctorch\nFloatStorage\n");
        text(&mut pickle, &storage.to_string());
        text(&mut pickle, "cpu");
        number(&mut pickle, data.len());
        pickle.extend(b"tQ");
        number(&mut pickle, 0);
        let strides: Vec<usize> = (0..shape.len()).map(|axis| shape[axis + 1..].iter().product()).collect();
        for numbers in [shape, &strides] {
            pickle.push(b'(');
            numbers.iter().for_each(|value| number(&mut pickle, *value));
            pickle.push(b't');
        }
        pickle.extend(b"\x89ccollections\nOrderedDict\n)RtR");
    }
    pickle.extend(b"u.");
    let mut writer = zip::ZipWriter::new(fs::File::create(path).expect("a file"));
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let mut entry = |name: &str, bytes: &[u8]| {
        writer.start_file(format!("archive/{name}"), options).expect("an entry");
        std::io::Write::write_all(&mut writer, bytes).expect("a write");
    };
    entry("data.pkl", &pickle);
    entry("version", b"3\n");
    for (storage, (_, _, data)) in tensors.iter().enumerate() {
        entry(&format!("data/{storage}"), &data.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>());
    }
    writer.finish().expect("an archive");
}

#[test]
fn the_same_weights_in_every_layout_are_the_same_model() {
    let home = tempfile::tempdir().expect("a folder");
    let at = |name: &str| home.path().join(name);
    sound(&at("base"), false);
    let base = hash(&at("base"));

    // Names with a variant, which is the only one.
    sound(&at("variant"), false);
    for part in [Part::Unet, Part::Vae, Part::TextEncoder] {
        let path = at("variant").join(part.weights_name());
        fs::rename(&path, path.with_extension("fp16.safetensors")).expect("a move");
    }
    assert_eq!(hash(&at("variant")), base);

    // Shards with an index, with and without a variant.
    for (name, infix, indexed) in
        [("shards", "", "diffusion_pytorch_model.safetensors.index.json"), ("fp16", ".fp16", "diffusion_pytorch_model.safetensors.index.fp16.json")]
    {
        sound(&at(name), false);
        fs::remove_file(at(name).join(Part::Unet.weights_name())).expect("a file");
        let mut map = serde_json::Map::new();
        let all = tensors(Part::Unet, false);
        for (number, shard) in all.chunks(all.len().div_ceil(2)).enumerate() {
            let file = format!("diffusion_pytorch_model{infix}-{:05}-of-00002.safetensors", number + 1);
            map.extend(shard.iter().map(|(name, ..)| (name.clone(), json!(file))));
            fs::write(at(name).join("unet").join(file), tensor_bytes(shard)).expect("a write");
        }
        write_json(&at(name).join("unet").join(indexed), &json!({"metadata": {"total_size": 32}, "weight_map": map}));
        assert_eq!(hash(&at(name)), base, "{name}");
    }

    // Checkpoints of PyTorch, also as trainers wrap them.
    sound(&at("bin"), false);
    for (part, file) in [(Part::Unet, "diffusion_pytorch_model.bin"), (Part::TextEncoder, "pytorch_model.bin")] {
        fs::remove_file(at("bin").join(part.weights_name())).expect("a file");
        let wrap = |(name, shape, data)| (if part == Part::Unet { format!("state_dict.{name}") } else { name }, shape, data);
        torch_file(&at("bin").join(part.name()).join(file), &tensors(part, false).into_iter().map(wrap).collect::<Vec<_>>());
    }
    assert_eq!(locate(&at("bin/unet"), None).expect("weights").format, WeightFormat::PyTorch);
    assert_eq!(hash(&at("bin")), base);

    // Former names: a text encoder without prefix and with the buffer of positions, attention of old autoencoders.
    sound(&at("former"), false);
    let mut text: Vec<Tensor> =
        tensors(Part::TextEncoder, false).into_iter().map(|(name, shape, data)| (name.replace("text_model.", ""), shape, data)).collect();
    text.push(("embeddings.position_ids".into(), vec![1, 2], vec![0.0, 1.0]));
    fs::write(at("former").join(Part::TextEncoder.weights_name()), tensor_bytes(&text)).expect("a write");
    let vae: Vec<Tensor> = tensors(Part::Vae, false)
        .into_iter()
        .map(|(name, mut shape, data)| {
            let old = [("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")];
            let old = old.iter().find(|(now, _)| name.contains(now)).map(|(now, then)| name.replace(now, then));
            if old.as_ref().is_some_and(|old| old.ends_with("weight")) {
                shape.extend([1, 1]);
            }
            (old.unwrap_or(name), shape, data)
        })
        .collect();
    fs::write(at("former").join(Part::Vae.weights_name()), tensor_bytes(&vae)).expect("a write");
    assert_eq!(hash(&at("former")), base);

    // A download: links into blobs.
    #[cfg(unix)]
    {
        sound(&at("blobs"), false);
        for folder in ["linked", "linked/unet", "linked/vae", "linked/text_encoder", "linked/scheduler", "linked/tokenizer"] {
            fs::create_dir(at(folder)).expect("a folder");
            for entry in fs::read_dir(at(&folder.replace("linked", "blobs"))).expect("a folder").flatten() {
                if entry.path().is_file() {
                    std::os::unix::fs::symlink(entry.path(), at(folder).join(entry.file_name())).expect("a link");
                }
            }
        }
        assert_eq!(hash(&at("linked")), base);
        fs::remove_file(at("blobs").join(Part::Unet.weights_name())).expect("a file");
        let told = open(&at("linked")).expect("a pipeline").check_for(Use::Sample).expect_err("a refusal").to_string();
        assert!(told.contains("a link that leads nowhere"), "{told}");
    }

    // One value makes another model.
    sound(&at("other"), false);
    let mut unet = tensors(Part::Unet, false);
    unet[0].2[0] = 100.0;
    fs::write(at("other").join(Part::Unet.weights_name()), tensor_bytes(&unet)).expect("a write");
    assert_ne!(hash(&at("other")), base);
}

/// The tensors that a configuration implies, with values that differ.
fn filled(mut visit: impl FnMut(&mut onestep_pipeline::expected_tensors::Visit<'_, ()>) -> Result<(), ()>) -> Vec<Tensor> {
    let mut all: Vec<Tensor> = Vec::new();
    visit(&mut |name: &str, shape: &[usize]| {
        let values = (0..shape.iter().product()).map(|index: usize| ((index * 7 + all.len() * 13) % 32) as f32 / 16.0 - 1.0).collect();
        all.push((name.to_owned(), shape.to_vec(), values));
        Ok(())
    })
    .expect("no error");
    all
}

#[test]
fn a_single_file_is_the_folder_that_it_was_made_from() {
    let unet = json!({
        "in_channels": 4, "out_channels": 4, "layers_per_block": 1, "norm_num_groups": 32, "block_out_channels": [32, 64], "attention_head_dim": 8,
        "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"], "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"], "cross_attention_dim": 64,
    });
    let vae = json!({
        "layers_per_block": 1, "block_out_channels": [32, 64], "down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D"],
        "up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D"],
    });
    let text = json!({"hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 1, "num_attention_heads": 1, "vocab_size": 50});
    let unet = UNet2DConditionConfig::from_json(&unet.to_string()).expect("a configuration");
    let vae = AutoencoderKlConfig::from_json(&vae.to_string()).expect("a configuration");
    let text = ClipTextConfig::from_json(&text.to_string()).expect("a configuration");
    let networks = [
        (Part::Unet, filled(|visit| unet_tensors(&unet, visit))),
        (Part::Vae, filled(|visit| autoencoder_tensors(&vae, visit))),
        (Part::TextEncoder, filled(|visit| text_encoder_tensors(&text, visit))),
    ];
    let names: std::collections::BTreeSet<&str> = networks[0].1.iter().map(|(name, ..)| name.as_str()).collect();
    let blocks = UNetBlocks::of(|name| names.contains(name));
    let original = |part: Part, (name, shape, data): &Tensor| {
        let (name, mut shape) = match part {
            Part::Unet => (format!("model.diffusion_model.{}", blocks.original(name).expect("a name")), shape.clone()),
            Part::Vae => (format!("first_stage_model.{}", original_autoencoder(name, 2).expect("a name")), shape.clone()),
            _ => (format!("cond_stage_model.transformer.{name}"), shape.clone()),
        };
        if name.contains(".attn_1.") && shape.len() == 2 {
            shape.extend([1, 1]);
        }
        (name, shape, data.clone())
    };
    let mut all: Vec<Tensor> = networks.iter().flat_map(|(part, tensors)| tensors.iter().map(|tensor| original(*part, tensor))).collect();
    all.push(("model_ema.decay".into(), vec![], vec![0.5]));
    let home = tempfile::tempdir().expect("a folder");
    let (file, checkpoint) = (home.path().join("model.safetensors"), home.path().join("model.ckpt"));
    fs::write(&file, tensor_bytes(&all)).expect("a write");
    torch_file(&checkpoint, &all.into_iter().map(|(name, shape, data)| (format!("state_dict.{name}"), shape, data)).collect::<Vec<_>>());
    for path in [&file, &checkpoint] {
        let pipeline = open(path).expect("a model");
        assert_eq!(pipeline.family(), Ok(Family::StableDiffusion1));
        pipeline.check_for(Use::Sample).expect("parts that fit");
        for (part, tensors) in &networks {
            let weights = pipeline.weights(*part).expect("weights");
            assert_eq!(weights.names().count(), tensors.len());
            for (name, shape, data) in tensors {
                let tensor = weights.read(name).expect("a tensor");
                assert!(tensor.shape == *shape && tensor.to_f32().as_ref() == Some(data), "{name}");
            }
        }
        let told = pipeline.tokenizer(Part::TextEncoder).expect_err("none").to_string();
        assert!(told.contains("a single file has no tokenizer") && told.contains("--tokenizer"), "{told}");
        assert!(Report::new(&pipeline).to_string().contains("part of a single file"));
    }

    // A LoRA of rank 1 changes one weight while it is read, and what is written of it.
    let name = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q";
    let lora = home.path().join("lora.safetensors");
    let module = format!("unet.{name}");
    let tensors = [(format!("{module}.lora_A.weight"), vec![1, 64], vec![0.5; 64]), (format!("{module}.lora_B.weight"), vec![64, 1], vec![2.0; 64])];
    fs::write(&lora, tensor_bytes(&tensors)).expect("a write");
    let with = |path: &Path| {
        let loras = vec![LoraOption { path: path.to_owned(), weight: 0.5 }];
        Pipeline::open(&file, &OpenOptions { loras, ..OpenOptions::default() })
    };
    let pipeline = with(&lora).expect("a LoRA");
    let weights = pipeline.weights(Part::Unet).expect("weights");
    let plain = &networks[0].1.iter().find(|(other, ..)| *other == format!("{name}.weight")).expect("a tensor").2;
    let merged = weights.read(&format!("{name}.weight")).expect("a tensor").to_f32().expect("floats");
    assert!(merged.iter().zip(plain).all(|(merged, plain)| (merged - plain - 0.5).abs() < 1e-6));
    assert_ne!(pipeline.hash(|_| {}).expect("a hash"), open(&file).expect("a model").hash(|_| {}).expect("a hash"));
    let told = with(&home.path().join("missing.safetensors")).expect_err("a refusal").to_string();
    assert!(told.contains("missing.safetensors"), "{told}");
    fs::write(&lora, tensor_bytes(&tensors[..1])).expect("a write");
    let told = with(&lora).expect_err("a refusal").to_string();
    assert!(told.contains("lora.safetensors") && told.contains("lora_A"), "{told}");
}

/// A pipeline in which `change` has changed the files.
fn changed(xl: bool, change: impl FnOnce(&Path)) -> String {
    let home = tempfile::tempdir().expect("a folder");
    sound(home.path(), xl);
    change(home.path());
    let told = open(home.path()).and_then(|pipeline| pipeline.check_for(Use::Sample)).expect_err("a refusal").to_string();
    told.replace(&home.path().display().to_string(), "T")
}

/// Changes a key of a configuration.
fn set(file: &str, key: &str, value: Value) -> impl FnOnce(&Path) {
    move |folder: &Path| {
        let path = folder.join(file);
        let mut config: Value = serde_json::from_slice(&fs::read(&path).expect("a file")).expect("JSON");
        config[key] = value;
        write_json(&path, &config);
    }
}

#[test]
fn parts_that_do_not_fit_are_named_with_both_numbers() {
    for (xl, file, key, value, parts) in [
        (false, "unet/config.json", "cross_attention_dim", json!(24), ["cross_attention_dim = 24", "text_encoder/config.json has hidden_size = 8"]),
        (false, "text_encoder/config.json", "hidden_size", json!(12), ["cross_attention_dim = 8", "hidden_size = 12"]),
        (
            false,
            "unet/config.json",
            "in_channels",
            json!(9),
            ["in_channels = 9", "vae/config.json has latent_channels = 4: they must be equal; models for"],
        ),
        (false, "unet/config.json", "out_channels", json!(8), ["out_channels = 8", "latent_channels = 4"]),
        (false, "vae/config.json", "latent_channels", json!(16), ["in_channels = 4", "latent_channels = 16"]),
        (false, "vae/config.json", "in_channels", json!(1), ["vae/config.json", "in_channels = 1, expected 3"]),
        (false, "vae/config.json", "out_channels", json!(4), ["vae/config.json", "out_channels = 4, expected 3"]),
        (false, "unet/config.json", "time_cond_proj_dim", json!(0), ["unet/config.json", "time_cond_proj_dim = 0"]),
        (false, "unet/config.json", "class_embed_type", json!("timestep"), ["unet/config.json", "class_embed_type = \"timestep\""]),
        (false, "text_encoder/config.json", "hidden_act", json!("relu"), ["text_encoder/config.json", "hidden_act = \"relu\""]),
        (false, "scheduler/scheduler_config.json", "_class_name", json!("FlowMatchEulerDiscreteScheduler"), ["scheduler/", "FlowMatchEuler"]),
        (false, "model_index.json", "unet", json!(["diffusers", "UNet2DModel"]), ["model_index.json", "UNet2DModel of diffusers"]),
        (false, "model_index.json", "text_encoder", json!(["transformers", "T5EncoderModel"]), ["model_index.json", "T5EncoderModel"]),
        (false, "model_index.json", "text_encoder", json!([null, null]), ["model_index.json", "does not name the component text_encoder"]),
        (false, "model_index.json", "tokenizer", json!(["transformers", "T5Tokenizer"]), ["model_index.json", "T5Tokenizer"]),
        (false, "model_index.json", "tokenizer", json!(null), ["model_index.json", "tokenizer is null; expected a library and a class"]),
        (false, "model_index.json", "controlnet", json!(["diffusers", "ControlNetModel"]), ["model_index.json", "ControlNetModel"]),
        (false, "model_index.json", "_class_name", json!("StableDiffusion3Pipeline"), ["model_index.json", "the family Stable Diffusion 3"]),
        (false, "model_index.json", "_class_name", json!("FluxPipeline"), ["model_index.json", "the family FLUX"]),
        (false, "model_index.json", "_class_name", json!("ZImagePipeline"), ["model_index.json", "the family Z-Image"]),
        (false, "model_index.json", "_class_name", json!("OtherPipeline"), ["model_index.json", "an unknown family"]),
        (false, "model_index.json", "_class_name", json!(7), ["model_index.json", "there is no _class_name"]),
        (false, "model_index.json", "_class_name", json!("StableDiffusionXLPipeline"), ["model_index.json", "text_encoder_2"]),
        (false, "unet/config.json", "_class_name", json!("UNet2DModel"), ["unet/config.json", "UNet2DModel is not implemented"]),
        (false, "unet/config.json", "_class_name", json!("AutoencoderKL"), ["the class is AutoencoderKL, expected UNet2DConditionModel", "unet/"]),
        (false, "vae/config.json", "_class_name", json!("AutoencoderTiny"), ["the class is AutoencoderTiny, expected AutoencoderKL", "vae/"]),
        (true, "unet/config.json", "cross_attention_dim", json!(8), ["cross_attention_dim = 8", "it must be their sum, 18"]),
        (true, "text_encoder_2/config.json", "hidden_size", json!(12), ["text_encoder_2/config.json has hidden_size = 12", "their sum, 20"]),
        (true, "text_encoder_2/config.json", "projection_dim", json!(7), ["projection_class_embeddings_input_dim = 30", "projection_dim = 7"]),
        (true, "unet/config.json", "projection_class_embeddings_input_dim", json!(26), ["must be 30", "the refiner of SDXL"]),
        (
            true,
            "unet/config.json",
            "addition_embed_type",
            json!(null),
            ["addition_embed_type = null", "StableDiffusionXLPipeline expects \"text_time\""],
        ),
        (true, "text_encoder_2/config.json", "architectures", json!(["CLIPTextModel"]), ["expected CLIPTextModelWithProjection", "text_encoder_2/"]),
        (true, "model_index.json", "tokenizer_2", json!([null, null]), ["model_index.json", "does not name the component tokenizer_2"]),
    ] {
        let told = changed(xl, set(file, key, value.clone()));
        assert!(parts.iter().all(|part| told.contains(part)), "{file}, {key} = {value}: {told}");
    }
    // One text encoder, and a denoiser that wants the conditions of SDXL.
    let told = changed(false, |folder| {
        for (key, value) in
            [("addition_embed_type", json!("text_time")), ("addition_time_embed_dim", json!(4)), ("projection_class_embeddings_input_dim", json!(30))]
        {
            set("unet/config.json", key, value)(folder);
        }
    });
    assert!(told.contains("addition_embed_type = \"text_time\"") && told.contains("StableDiffusionPipeline expects null"), "{told}");
}

#[test]
fn files_that_are_missing_or_damaged_are_named() {
    let write = |name: &str, bytes: Vec<u8>| {
        let name = name.to_owned();
        Box::new(move |folder: &Path| fs::write(folder.join(name), bytes).expect("a write")) as Box<dyn FnOnce(&Path)>
    };
    let remove = |name: &str| {
        let name = name.to_owned();
        Box::new(move |folder: &Path| {
            let path = folder.join(name);
            if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.expect("a file");
        }) as Box<dyn FnOnce(&Path)>
    };
    let header = |text: &str, data: usize| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes(), &vec![0; data]].concat();
    type Case = (Box<dyn FnOnce(&Path)>, &'static [&'static str]);
    let cases: Vec<Case> = vec![
        (remove("unet"), &["unet/config.json", "nothing there"]),
        (remove("unet/config.json"), &["unet/config.json", "nothing there"]),
        (remove(UNET), &["T/unet: expected weights", "found none"]),
        (remove("text_encoder/model.safetensors"), &["T/text_encoder: expected weights"]),
        (remove("scheduler"), &["T has no scheduler/scheduler_config.json"]),
        (write("model_index.json", b"{".to_vec()), &["model_index.json", "EOF"]),
        (write("model_index.json", Vec::new()), &["model_index.json", "empty"]),
        (write("model_index.json", b"[]".to_vec()), &["model_index.json", "not a JSON object"]),
        (write("model_index.json", b"\xff{}".to_vec()), &["model_index.json", "not UTF-8"]),
        (write("unet/config.json", b"<html>".to_vec()), &["unet/config.json", "HTML"]),
        (write("vae/config.json", br#"{"block_out_channels": []}"#.to_vec()), &["vae/config.json", "block_out_channels"]),
        (write("text_encoder/config.json", br#"{"model_type": "t5"}"#.to_vec()), &["text_encoder/config.json", "model_type = \"t5\""]),
        (write("text_encoder/config.json", br#"{"text_config": {}}"#.to_vec()), &["text_encoder/config.json", "text_config"]),
        (write("scheduler/scheduler_config.json", b"1".to_vec()), &["scheduler/scheduler_config.json", "not a JSON object"]),
        (write(UNET, Vec::new()), &[UNET, "empty"]),
        (write(UNET, b"version https://git-lfs.github.com/spec/v1\n".to_vec()), &[UNET, "git lfs pull"]),
        (write(UNET, b"PK\x03\x04.........".to_vec()), &[UNET, "ZIP archive"]),
        (write(UNET, b"GGUF\x03\0\0\0\0\0\0\0".to_vec()), &[UNET, "GGUF"]),
        (write(UNET, vec![0xff; 100]), &[UNET, "bytes of a safetensors header"]),
        (write(UNET, header(r#"{"a":{"dtype":"I8","shape":[2],"data_offsets":[0,2]}}"#, 2)), &[UNET, "tensor a is stored as I8"]),
        (write(UNET, header(r#"{"a":{"dtype":"F64","shape":[1],"data_offsets":[0,8]}}"#, 8)), &[UNET, "tensor a is stored as F64"]),
        (write(UNET, header(r#"{"a":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}}"#, 1)), &[UNET, "tensor a is stored as F8_E4M3"]),
        (write(UNET, header(r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, 3)), &[UNET, "tensor a ends at byte"]),
        (
            write(UNET, header(r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, 4)),
            &[UNET, "tensor a is named twice"],
        ),
        (
            write(
                "text_encoder/model.safetensors",
                tensor_bytes(&[
                    ("text_model.final_layer_norm.bias".into(), vec![1], vec![0.0]),
                    ("final_layer_norm.bias".into(), vec![1], vec![0.0]),
                ]),
            ),
            &["text_encoder/model.safetensors", "are one parameter under two names"],
        ),
    ];
    for (change, parts) in cases {
        let told = changed(false, change);
        assert!(parts.iter().all(|part| told.contains(part)), "{parts:?}: {told}");
    }
    // Tensors that the configuration does not imply.
    type Change = fn(&mut Vec<Tensor>);
    let changes: [(Part, Change, &str); 4] = [
        (Part::Unet, |all| all.truncate(all.len() - 1), "unet/config.json: conv_out.bias [4] is missing"),
        (Part::Unet, |all| all[0].1.reverse(), "has shape [3, 3, 4, 8] instead of [8, 4, 3, 3]"),
        (Part::Vae, |all| all.push(("decoder.more".into(), vec![1], vec![0.0])), "vae/config.json: decoder.more is surplus"),
        (Part::TextEncoder, |all| all.clear(), "text_model.embeddings.token_embedding.weight [83, 8] is missing"),
    ];
    for (part, change, told_part) in changes {
        let told = changed(false, |folder| {
            let mut all = tensors(part, false);
            change(&mut all);
            fs::write(folder.join(part.weights_name()), tensor_bytes(&all)).expect("a write");
        });
        assert!(told.contains(told_part) && told.contains(&part.weights_name()), "{told_part}: {told}");
    }
    for (name, found) in [("missing", "nothing there"), ("", "a folder with neither")] {
        let home = tempfile::tempdir().expect("a folder");
        let told = open(&home.path().join(name)).expect_err("a refusal").to_string();
        assert!(told.contains("model_index.json") && told.contains(found), "{told}");
    }
}

#[test]
fn components_open_alone_and_of_other_families() {
    let home = tempfile::tempdir().expect("a folder");
    sound(home.path(), true);
    for (folder, part, class) in [
        ("unet", Part::Unet, ComponentClass::UNet2DConditionModel),
        ("vae", Part::Vae, ComponentClass::AutoencoderKl),
        ("text_encoder", Part::TextEncoder, ComponentClass::ClipTextModel),
        ("text_encoder_2", Part::TextEncoder2, ComponentClass::ClipTextModelWithProjection),
    ] {
        let pipeline = open(&home.path().join(folder)).expect("a component");
        assert_eq!(pipeline.component(part).expect("the component").class(), class);
        let elements: usize = tensors(part, true).iter().map(|(_, _, data)| data.len()).sum();
        assert_eq!(pipeline.weights(part).expect("weights").total_parameters(), elements as u64);
        let told = pipeline.check_for(Use::Sample).expect_err("a refusal").to_string();
        assert!(told.contains("the folder of one component") && told.contains(class.name()), "{told}");
    }
    set("model_index.json", "_class_name", json!("FluxPipeline"))(home.path());
    set("model_index.json", "text_encoder_2", json!(["transformers", "T5EncoderModel"]))(home.path());
    let pipeline = open(home.path()).expect("a pipeline");
    assert!(pipeline.weights(Part::Vae).is_ok());
    assert_eq!(pipeline.image_size().expect("a size"), [16, 16]);
    for told in [pipeline.unet_config().map(|_| ()), pipeline.text_config(Part::TextEncoder).map(|_| ()), pipeline.check_for(Use::Export)] {
        assert!(told.expect_err("a refusal").to_string().contains("FLUX"));
    }
}

#[test]
fn sizes_are_a_number_or_rows_and_columns() {
    let home = tempfile::tempdir().expect("a folder");
    sound(home.path(), false);
    let sizes = |size: Value, requested: Option<[usize; 2]>| {
        let requested = requested.map(|[height, width]| ImageSize { height, width });
        set("unet/config.json", "sample_size", size)(home.path());
        open(home.path()).and_then(|pipeline| pipeline.sizes(requested)).map(|sizes| (sizes.image, sizes.latent)).map_err(|error| error.to_string())
    };
    assert_eq!(sizes(json!(8), None), Ok(([16, 16], [4, 8, 8])));
    assert_eq!(sizes(json!([8, 8]), None), Ok(([16, 16], [4, 8, 8])));
    assert_eq!(sizes(json!([5, 9]), None), Ok(([10, 18], [4, 5, 9])));
    assert_eq!(sizes(json!(null), Some([6, 20])), Ok(([6, 20], [4, 3, 10])));
    for (size, requested, part) in [
        (json!(null), None, "sample_size is null or missing"),
        (json!(null), None, "--size"),
        (json!([8]), None, "expected rows and columns"),
        (json!(0), None, "sample_size = 0 is not within"),
        (json!(1u64 << 60), None, "is not within"),
        (json!("8"), None, "sample_size = \"8\""),
        (json!(8), Some([7, 16]), "--size 16x7: 7 is no multiple of 2"),
        (json!(8), Some([0, 16]), "0 is no multiple"),
        (json!(8), Some([1 << 20, 16]), "within 2..=4096"),
    ] {
        let told = sizes(size.clone(), requested).expect_err("a refusal");
        assert!(told.contains(part), "{size}, {requested:?}: {told}");
    }
}

#[test]
fn requested_sizes_are_width_and_height() {
    for (text, width, height) in [("512", 512, 512), ("768x512", 768, 512), ("16×8", 16, 8)] {
        assert_eq!(text.parse(), Ok(ImageSize { height, width }));
    }
    assert_eq!(["512x512", "768x512"].map(|text| text.parse::<ImageSize>().expect("a size").to_string()), ["512", "768x512"]);
    for text in ["", "0", "x", "5x", "-1", "4097", "1x1x1", "99999999999999999999", "5.5"] {
        assert!(text.parse::<ImageSize>().is_err(), "{text}");
    }
}

#[test]
fn tokens_are_compared_with_embeddings() {
    let home = tempfile::tempdir().expect("a folder");
    sound(home.path(), false);
    let pipeline = open(home.path()).expect("a pipeline");
    let check = |tokens, ids| {
        write_json(&home.path().join("tokenizer/tokenizer.json"), &tokenizer(tokens, ids));
        pipeline.check_tokenizer(Part::TextEncoder).map_err(|error| error.to_string())
    };
    assert_eq!(check(16, 83), Ok(()));
    let told = check(32, 83).expect_err("a refusal");
    assert!(told.contains("tokenizer.json gives 32 tokens for a prompt and text_encoder/config.json has max_position_embeddings = 16"), "{told}");
    let told = check(16, 85).expect_err("a refusal");
    assert!(told.contains("tokenizer.json has 85 ids and text_encoder/config.json has vocab_size = 83"), "{told}");
    fs::write(home.path().join("tokenizer/tokenizer.json"), "{}").expect("a write");
    let report = Report::new(&pipeline);
    assert!(report.uses.iter().all(|one| one.error.as_ref().is_some_and(|told| told.contains("tokenizer.json"))), "{report:?}");
    assert!(pipeline.tokenizer(Part::TextEncoder2).expect_err("none").to_string().contains("tokenizer_2/tokenizer.json"));
}

#[test]
fn a_report_says_what_a_model_is_and_what_it_is_good_for() {
    let home = tempfile::tempdir().expect("a folder");
    sound(home.path(), false);
    assert_eq!(open(home.path()).expect("a pipeline").family(), Ok(Family::StableDiffusion1));
    let report = Report::new(&open(home.path()).expect("a pipeline"));
    let elements: usize =
        [Part::Unet, Part::Vae, Part::TextEncoder].map(|part| tensors(part, false)).iter().flatten().map(|tensor| tensor.2.len()).sum();
    let found = (report.parameters, report.bytes, report.image, report.scheduler.as_deref());
    assert_eq!(found, (elements as u64, 4 * elements as u64, Some([16, 16]), Some("DDIMScheduler")));
    assert!(report.uses.iter().all(|one| one.error.is_none()), "{report:?}");
    let told = report.to_string();
    for part in ["Stable Diffusion 1.x", "16×16", " parameters · F32 · ", " bytes · safetensors", "export   yes"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    set("text_encoder/config.json", "hidden_act", json!("gelu"))(home.path());
    assert_eq!(open(home.path()).expect("a pipeline").family(), Ok(Family::StableDiffusion2));
    fs::write(home.path().join(Part::Unet.weights_name()), "none").expect("a write");
    let told = Report::new(&open(home.path()).expect("a pipeline")).to_string();
    assert!(told.contains("unet            UNet2DConditionModel · cannot be used") && told.contains("sample   no: "), "{told}");
}

#[test]
fn components_are_copied_as_files() {
    let home = tempfile::tempdir().expect("a folder");
    let (from, to): (PathBuf, PathBuf) = (home.path().join("from"), home.path().join("to"));
    sound(&from, false);
    let pipeline = open(&from).expect("a pipeline");
    let kind = onestep_store::recorded_folder_kind!("a model folder");
    let mut destination = onestep_store::FolderDestination::acquire(&to, kind, &[]).expect("a destination");
    for part in pipeline.parts() {
        for (name, source) in pipeline.component_files(*part).expect("files") {
            source.write(&name, &mut destination).expect("a copy");
        }
    }
    destination.publish().expect("a folder");
    for name in ["unet/config.json", &Part::Vae.weights_name(), "text_encoder/model.safetensors"] {
        assert_eq!(fs::read(from.join(name)).expect("a file"), fs::read(to.join(name)).expect("a file"), "{name}");
    }
}
