//! Single files against what diffusers makes of them (`tests/reference/single_file.py`).

mod names;

use std::collections::BTreeMap;

use names::{Model, Shapes, fixture, numbers};
use onestep_pipeline::{
    Family, Part,
    single_file::{Known, PredictionType, SingleFile, SingleFileError, StoredTensor, Transform, UNetBlocks, Undecided},
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Size of an f32.
const F32: usize = 4;

const MODELS: [(&str, Family); 6] = [
    ("sd15-full", Family::StableDiffusion1),
    ("sd21-full", Family::StableDiffusion2),
    ("sdxl-full", Family::StableDiffusionXl),
    ("sd1-small", Family::StableDiffusion1),
    ("sd2-small", Family::StableDiffusion2),
    ("sdxl-small", Family::StableDiffusionXl),
];

const V: Known = Known { family: None, prediction_type: Some(PredictionType::V) };

fn read(shapes: &Shapes) -> Result<SingleFile, SingleFileError> {
    SingleFile::read(shapes, &BTreeMap::new(), V)
}

/// The tensors and the configuration (as JSON) of each network.
fn networks(file: &SingleFile) -> BTreeMap<&'static str, (&BTreeMap<String, StoredTensor>, Value)> {
    let mut networks = BTreeMap::new();
    let json = |text: String| serde_json::from_str(&text).unwrap();
    if let Some(part) = &file.unet {
        networks.insert("unet", (&part.tensors, json(part.config.to_json())));
    }
    if let Some(part) = &file.vae {
        networks.insert("vae", (&part.tensors, json(part.config.to_json())));
    }
    for (name, part) in [("text_encoder", &file.text_encoder), ("text_encoder_2", &file.text_encoder_2)] {
        if let Some(part) = part {
            networks.insert(name, (&part.tensors, json(part.config.to_json())));
        }
    }
    networks
}

/// The bytes of a stored tensor, as the script computes them.
fn values(name: &str, shape: &[usize]) -> Vec<u8> {
    numbers(name, shape).flat_map(|number| (number as f32).to_le_bytes()).collect()
}

#[test]
fn every_tensor_of_diffusers_is_stored_and_every_stored_tensor_has_a_use() {
    for (name, family) in MODELS {
        let model = Model::read(name);
        let file = read(&model.stored).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((file.family, &*file.undecided), (Some(family), &[][..]), "{name}");
        let found = networks(&file);
        assert_eq!(found.keys().collect::<Vec<_>>(), model.networks.keys().collect::<Vec<_>>(), "{name}");
        let mut used = std::collections::BTreeSet::new();
        for (network, (tensors, _)) in &found {
            let shapes: Shapes = tensors.iter().map(|(name, tensor)| (name.clone(), tensor.shape.clone())).collect();
            assert_eq!(shapes, model.network(network), "{name} {network}");
            for tensor in tensors.values() {
                assert_eq!(tensor.stored_shape, model.stored[&tensor.key]);
                used.insert(tensor.key.clone());
            }
        }
        used.extend(file.ignored.iter().cloned());
        assert!(used.iter().eq(model.stored.keys()), "{name}: each stored tensor is used or passed over");
        for ignored in &file.ignored {
            let harmless = ["betas", "alphas", "sigmas", "model_ema", "position_ids", "logit_scale", "text_projection", "resblocks.23."];
            assert!(harmless.iter().any(|part| ignored.contains(part)), "{name}: {ignored}");
        }
    }
}

#[test]
fn the_published_models_have_their_numbers_of_tensors() {
    for (name, expected) in [("sd15-full", [686, 248, 196, 0]), ("sd21-full", [686, 248, 372, 0]), ("sdxl-full", [1680, 248, 196, 517])] {
        let file = read(&Model::read(name).stored).unwrap();
        let text = |part: &Option<_>| part.as_ref().map_or(0, |part: &onestep_pipeline::single_file::Network<_>| part.tensors.len());
        let counts = [
            file.unet.as_ref().unwrap().tensors.len(),
            file.vae.as_ref().unwrap().tensors.len(),
            text(&file.text_encoder),
            text(&file.text_encoder_2),
        ];
        assert_eq!(counts, expected, "{name}");
    }
}

#[test]
fn values_are_bit_identical_to_those_that_diffusers_loads() {
    let mut kinds = [0; 4];
    for name in ["sd1-small", "sd2-small", "sdxl-small"] {
        let model = Model::read(name);
        let file = read(&model.stored).unwrap();
        for (network, (tensors, _)) in networks(&file) {
            for (tensor_name, tensor) in tensors {
                let stored = values(&tensor.key, &tensor.stored_shape);
                let range = tensor.byte_range(F32).unwrap();
                let made = tensor.apply(stored[range.start as usize..range.end as usize].to_vec(), F32);
                let checksum: String = Sha256::digest(&made)[..8].iter().map(|byte| format!("{byte:02x}")).collect();
                let (_, expected) = &model.networks[network][tensor_name];
                assert_eq!(Some(&checksum), expected.as_ref(), "{name} {network} {tensor_name} from {tensor:?}");
                kinds[match tensor.transform {
                    Transform::None => 0,
                    Transform::Rows(_) => 1,
                    Transform::Transpose => 2,
                    Transform::DropTrailingOnes => 3,
                }] += 1;
            }
        }
    }
    assert!(kinds.iter().all(|&count| count > 0), "{kinds:?}");
}

#[test]
fn configurations_are_those_of_the_models() {
    let configs: BTreeMap<String, BTreeMap<String, BTreeMap<String, Value>>> =
        serde_json::from_str(&std::fs::read_to_string(fixture("single_file/configs.json")).unwrap()).unwrap();
    for (name, family) in MODELS {
        // 1.x and XL predict the noise, and their size does not depend on it.
        let file = read(&Model::read(name).stored).unwrap();
        for (network, (_, config)) in networks(&file) {
            for (key, expected) in &configs[name][network] {
                let found = &config[key];
                // A list of one value for each level says the same as the value.
                let same = |list: &Value, one: &Value| list.as_array().is_some_and(|list| list.iter().all(|value| value == one));
                let projection_of_none = key == "projection_dim";
                assert!(found == expected || same(expected, found) || projection_of_none, "{name} {network} {key}: {found} is not {expected}");
            }
        }
        let scheduler = file.scheduler.unwrap();
        let class = match family {
            Family::StableDiffusion1 => "PNDMScheduler",
            Family::StableDiffusion2 => "DDIMScheduler",
            Family::StableDiffusionXl => "EulerDiscreteScheduler",
        };
        assert_eq!((&scheduler["_class_name"], &scheduler["prediction_type"]), (&json!(class), &json!("v_prediction")));
        let pads: Vec<_> = file.tokenizers.iter().map(|tokenizer| (tokenizer.folder, tokenizer.pads_with_end)).collect();
        match family {
            Family::StableDiffusion1 => assert_eq!(pads, [("tokenizer", true)]),
            Family::StableDiffusion2 => assert_eq!(pads, [("tokenizer", false)]),
            Family::StableDiffusionXl => assert_eq!(pads, [("tokenizer", true), ("tokenizer_2", false)]),
        }
    }
}

#[test]
fn what_a_file_does_not_say_is_asked_for() {
    let read = |shapes: &Shapes, metadata: &[(&str, &str)], known: Known| {
        let metadata = metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        SingleFile::read(shapes, &metadata, known).unwrap()
    };
    let nothing = Known::default();
    let mut sd2 = Model::read("sd2-small").stored;
    let file = read(&sd2, &[], nothing);
    assert_eq!((file.undecided, file.scheduler, file.unet.unwrap().config.sample_size), (vec![Undecided::PredictionType], None, None));
    for (metadata, known, expected) in [
        (&[("modelspec.prediction_type", "v")][..], nothing, PredictionType::V),
        (&[("modelspec.prediction_type", "epsilon")], nothing, PredictionType::Epsilon),
        (&[("modelspec.prediction_type", "v")], Known { prediction_type: Some(PredictionType::Epsilon), ..nothing }, PredictionType::Epsilon),
    ] {
        let file = read(&sd2, metadata, known);
        assert_eq!((file.prediction_type, &*file.undecided), (Some(expected), &[][..]));
        assert_eq!(file.scheduler.unwrap()["prediction_type"], expected.name());
    }
    sd2.insert("v_pred".to_owned(), vec![0]);
    sd2.insert("ztsnr".to_owned(), vec![0]);
    let file = read(&sd2, &[], nothing);
    assert_eq!((file.prediction_type, file.scheduler.unwrap()["rescale_betas_zero_snr"].clone()), (Some(PredictionType::V), json!(true)));
    assert_eq!(read(&Model::read("sdxl-small").stored, &[], nothing).prediction_type, Some(PredictionType::Epsilon));

    // The autoencoders of 1.x and of XL have the same shapes and different factors.
    let vae: Shapes = only(&Model::read("sdxl-small").stored, "first_stage_model.", "");
    assert_eq!(read(&vae, &[], nothing).undecided, [Undecided::ScalingFactor]);
    let file = read(&vae, &[], Known { family: Some(Family::StableDiffusionXl), ..nothing });
    assert_eq!((&*file.undecided, file.vae.unwrap().config.scaling_factor), (&[][..], 0.13025));

    let yaml = "model:\n  params:\n    parameterization: \"v\"  # velocity\n    linear_start: 0.00085\n";
    assert_eq!(PredictionType::from_original_config(yaml), Some(PredictionType::V));
    assert_eq!(PredictionType::from_original_config("    linear_start: 0.00085\n"), Some(PredictionType::Epsilon));
    assert_eq!(PredictionType::from_original_config("a: 1"), None);
}

/// The tensors that begin with `prefix`, which becomes `new`.
fn only(shapes: &Shapes, prefix: &str, new: &str) -> Shapes {
    shapes.iter().filter_map(|(name, shape)| Some((format!("{new}{}", name.strip_prefix(prefix)?), shape.clone()))).collect()
}

#[test]
fn parts_are_read_with_and_without_prefix() {
    let model = Model::read("sd1-small");
    let parts = |file: &SingleFile| networks(file).keys().copied().collect::<Vec<_>>();
    for (prefix, new, network) in [
        ("model.diffusion_model.", "model.diffusion_model.", "unet"),
        ("model.diffusion_model.", "diffusion_model.", "unet"),
        ("model.diffusion_model.", "", "unet"),
        ("first_stage_model.", "first_stage_model.", "vae"),
        ("first_stage_model.", "vae.", "vae"),
        ("first_stage_model.", "", "vae"),
        ("cond_stage_model.transformer.", "cond_stage_model.transformer.", "text_encoder"),
        ("cond_stage_model.transformer.", "", "text_encoder"),
        ("cond_stage_model.transformer.text_model.", "", "text_encoder"),
        ("cond_stage_model.transformer.text_model.", "cond_stage_model.transformer.", "text_encoder"),
    ] {
        let shapes = only(&model.stored, prefix, new);
        let file = read(&shapes).unwrap_or_else(|error| panic!("{new} {network}: {error}"));
        assert_eq!(parts(&file), [network], "{new}");
        assert_eq!(networks(&file)[network].0.len(), model.networks[network].len());
    }
    let without_vae: Shapes = model.stored.iter().filter(|(name, _)| !name.starts_with("first_stage")).map(|(a, b)| (a.clone(), b.clone())).collect();
    assert_eq!(parts(&read(&without_vae).unwrap()), ["text_encoder", "unet"]);

    // Files of one network with diffusers' names, as one-step U-Nets are published.
    let unet = read(&Model::read("sdxl-full").network("unet")).unwrap();
    assert_eq!((unet.family, unet.unet.unwrap().tensors.len()), (Some(Family::StableDiffusionXl), 1680));
    let mut vae = model.network("vae");
    assert_eq!(read(&vae).unwrap().vae.unwrap().tensors.len(), 200);
    // With the names before 0.18, and matrices as convolutions.
    for (new, old) in [("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")] {
        for half in ["encoder", "decoder"] {
            for kind in ["weight", "bias"] {
                let module = format!("{half}.mid_block.attentions.0");
                let mut shape = vae.remove(&format!("{module}.{new}.{kind}")).unwrap();
                if kind == "weight" {
                    shape.extend([1, 1]);
                }
                vae.insert(format!("{module}.{old}.{kind}"), shape);
            }
        }
    }
    let file = read(&vae).unwrap();
    let tensor = &file.vae.as_ref().unwrap().tensors["decoder.mid_block.attentions.0.to_out.0.weight"];
    assert_eq!((&*tensor.key, &tensor.transform), ("decoder.mid_block.attentions.0.proj_attn.weight", &Transform::DropTrailingOnes));
}

#[test]
fn unets_with_other_inputs_are_told() {
    let mut shapes = Model::read("sd1-small").stored;
    assert_eq!(read(&shapes).unwrap().special_input(), None);
    for (channels, word) in [(9, "inpainting"), (8, "instructions"), (5, "depth")] {
        shapes.get_mut("model.diffusion_model.input_blocks.0.0.weight").unwrap()[1] = channels;
        let file = read(&shapes).unwrap();
        assert!(file.special_input().unwrap().starts_with(word));
        assert_eq!(file.unet.unwrap().config.in_channels, channels);
    }
}

#[test]
fn other_families_are_refused_by_name() {
    for (key, family) in [
        ("model.diffusion_model.joint_blocks.0.context_block.adaLN_modulation.1.bias", "Stable Diffusion 3"),
        ("double_blocks.0.img_attn.norm.key_norm.scale", "FLUX.1"),
        ("model.diffusion_model.double_blocks.0.img_attn.norm.key_norm.scale", "FLUX.1"),
        ("model.diffusion_model.layers.0.adaLN_modulation.0.weight", "Z-Image"),
        ("conditioner.embedders.0.model.ln_final.weight", "the refiner of Stable Diffusion XL"),
        ("control_model.time_embed.0.weight", "a ControlNet"),
        ("model.diffusion_model.label_emb.weight", "the upscaler of Stable Diffusion 2"),
        ("edm_mean", "Playground 2.5"),
    ] {
        let mut shapes = Model::read("sd1-small").stored;
        shapes.insert(key.to_owned(), vec![1]);
        assert_eq!(read(&shapes), Err(SingleFileError::OtherFamily { family, key: key.to_owned() }));
        assert!(read(&shapes).unwrap_err().to_string().contains(family));
    }
    let mut refiner = only(&Model::read("sdxl-small").stored, "model.diffusion_model.", "model.diffusion_model.");
    refiner.get_mut("model.diffusion_model.label_emb.0.0.weight").unwrap()[1] = 2560;
    assert!(read(&refiner).unwrap_err().to_string().contains("refiner"));
    let lora = Shapes::from([("lora_unet_mid_block_attentions_0_proj_in.lora_down.weight".to_owned(), vec![4, 64])]);
    assert!(read(&lora).unwrap_err().to_string().contains("--lora"));
    assert!(matches!(read(&Shapes::new()), Err(SingleFileError::Unrecognised { count: 0, .. })));
    assert!(matches!(read(&Shapes::from([("fc.weight".to_owned(), vec![1])])), Err(SingleFileError::Unrecognised { count: 1, .. })));
}

/// Every error names the tensor.
fn refused(shapes: &Shapes, key: &str) {
    let error = read(shapes).expect_err(key).to_string();
    assert!(error.contains(key), "{error:?} does not name {key}");
}

#[test]
fn a_tensor_that_is_missing_surplus_or_wrong_is_named() {
    for (name, _) in &MODELS[3..] {
        let model = Model::read(name);
        let file = read(&model.stored).unwrap();
        let all: Vec<_> = networks(&file).into_values().flat_map(|(tensors, _)| tensors.values().cloned().collect::<Vec<_>>()).collect();
        for (index, tensor) in all.iter().enumerate() {
            let mut shapes = model.stored.clone();
            let shape = shapes.get_mut(&tensor.key).unwrap();
            *shape.last_mut().unwrap() += 1;
            read(&shapes).expect_err(&tensor.key);
            if index % 7 == 0 {
                shapes.remove(&tensor.key);
                read(&shapes).expect_err(&tensor.key);
            }
        }
    }
    let shapes = Model::read("sdxl-small").stored;
    let (unet, clip, vae) = ("model.diffusion_model.", "conditioner.embedders.1.model.", "first_stage_model.");
    let fused = format!("{clip}transformer.resblocks.1.attn.in_proj_weight");
    for key in [
        format!("{unet}middle_block.0.in_layers.2.weight"),
        format!("{unet}output_blocks.2.2.conv.weight"),
        fused.clone(),
        format!("{clip}transformer.resblocks.2.mlp.c_fc.bias"),
        format!("{vae}decoder.up.1.upsample.conv.bias"),
        format!("{vae}encoder.mid.attn_1.q.weight"),
    ] {
        let mut shapes = shapes.clone();
        assert!(shapes.remove(&key).is_some(), "{key}");
        refused(&shapes, &key);
    }
    for key in [format!("{unet}middle_block.0.extra"), format!("{vae}encoder.extra.weight"), format!("{clip}extra")] {
        let mut shapes = shapes.clone();
        shapes.insert(key.clone(), vec![1]);
        refused(&shapes, &key);
    }
    for rows in [0, 127, 128, 383, 385] {
        let mut shapes = shapes.clone();
        shapes.insert(fused.clone(), vec![rows, 128]);
        refused(&shapes, &fused);
    }
    for shape in [vec![64], vec![64, 64, 2, 2], vec![64, 64, 1, 1, 2], vec![]] {
        let (mut shapes, key) = (shapes.clone(), format!("{vae}decoder.mid.attn_1.v.weight"));
        shapes.insert(key.clone(), shape);
        refused(&shapes, &key);
    }
}

#[test]
fn networks_that_are_there_twice_or_do_not_fit_are_refused() {
    let (sd1, sd2, xl) = (Model::read("sd1-small").stored, Model::read("sd2-small").stored, Model::read("sdxl-small").stored);
    let mut both = sd1.clone();
    both.extend(only(&sd1, "first_stage_model.", "vae."));
    assert!(matches!(read(&both), Err(SingleFileError::Twice { component: Part::Vae, .. })));
    let mut both = sd1.clone();
    both.extend(only(&sd1, "model.diffusion_model.", ""));
    assert!(matches!(read(&both), Err(SingleFileError::Twice { component: Part::Unet, .. })));
    let mut both = sd1.clone();
    both.extend(only(&sd2, "cond_stage_model.model.", "cond_stage_model.model."));
    assert!(matches!(read(&both), Err(SingleFileError::Twice { component: Part::TextEncoder, .. })));
    let mut names = Model::read("sd1-small").network("vae");
    let name = "encoder.mid_block.attentions.0.to_q.weight";
    names.insert(name.replace("to_q", "query"), names[name].clone());
    assert!(matches!(read(&names), Err(SingleFileError::Twice { component: Part::Vae, .. })));

    let mut mixed = only(&sd2, "model.diffusion_model.", "model.diffusion_model.");
    mixed.extend(only(&sd1, "cond_stage_model.", "cond_stage_model."));
    let error = read(&mixed).unwrap_err().to_string();
    assert!(error.contains("128") && error.contains("64"), "{error}");
    let mut mixed = only(&xl, "model.diffusion_model.", "model.diffusion_model.");
    mixed.extend(only(&sd1, "cond_stage_model.", "cond_stage_model."));
    assert!(matches!(read(&mixed), Err(SingleFileError::Structure(_))));
}

#[test]
fn original_names_are_told_from_diffusers_names_alone() {
    for (name, _) in MODELS {
        let model = Model::read(name);
        let unet = model.network("unet");
        let blocks = UNetBlocks::of(|name| unet.contains_key(name));
        for name in unet.keys() {
            let original = blocks.original(name).unwrap();
            assert!(model.stored.contains_key(&format!("model.diffusion_model.{original}")), "{name}: {original}");
        }
    }
}

#[test]
fn very_many_names_are_refused_in_time() {
    let start = std::time::Instant::now();
    for name in [
        "model.diffusion_model.input_blocks.#.0.op.weight",
        "model.diffusion_model.input_blocks.#.0.in_layers.0.weight",
        "model.diffusion_model.middle_block.1.transformer_blocks.#.norm1.weight",
        "down_blocks.#.resnets.0.conv1.weight",
        "down_blocks.0.resnets.#.conv1.weight",
        "first_stage_model.encoder.down.#.block.0.conv1.weight",
        "first_stage_model.encoder.down.0.block.#.conv1.weight",
        "cond_stage_model.model.transformer.resblocks.#.ln_1.weight",
        "text_model.encoder.layers.#.layer_norm1.weight",
    ] {
        let shapes: Shapes = (0..50_000).map(|index| (name.replace('#', &index.to_string()), vec![32, 32, 3, 3])).collect();
        read(&shapes).expect_err(name);
    }
    assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
}

#[test]
fn a_missing_tokenizer_is_asked_for() {
    let file = read(&Model::read("sdxl-small").stored).unwrap();
    let sentence = file.tokenizers[1].to_string();
    assert!(sentence.contains("--tokenizer") && sentence.contains("vocab.json") && sentence.ends_with("tokenizer_2/"), "{sentence}");
    assert_eq!(file.tokenizers[1].model_max_length, 16);
}
