//! LoRA files against diffusers and peft (`tests/reference/lora.py`).

mod names;

use std::collections::BTreeMap;

use names::{Model, Shapes, fixture, numbers};
use onestep_pipeline::{
    Part,
    lora::{Lora, LoraError, LoraOption, Targets},
};
use serde::Deserialize;

/// A LoRA file, and what it makes of the weights.
#[derive(Deserialize)]
struct Case {
    family: String,
    tensors: Shapes,
    alphas: BTreeMap<String, f32>,
    metadata: BTreeMap<String, String>,
    strength: f64,
    /// For each network and tensor, products with vectors of 1 and -1.
    merged: BTreeMap<String, BTreeMap<String, Vec<f64>>>,
}

impl Case {
    fn read(name: &str) -> Self {
        serde_json::from_str(&std::fs::read_to_string(fixture(&format!("lora/{name}.json"))).unwrap()).unwrap()
    }

    fn targets(&self) -> Targets {
        targets(if self.family == "xl" { "sdxl-small" } else { "sd1-small" })
    }

    fn tensor(&self, key: &str) -> Result<Vec<f32>, String> {
        Ok(self.alphas.get(key).map_or_else(|| weights(key, &self.tensors[key]), |alpha| vec![*alpha]))
    }

    fn lora(&self) -> Result<Lora, LoraError> {
        Lora::read(&self.tensors, &self.metadata, &self.targets(), &mut |key| self.tensor(key))
    }
}

const COMPONENTS: [Part; 3] = [Part::Unet, Part::TextEncoder, Part::TextEncoder2];

fn component(folder: &str) -> Part {
    COMPONENTS.into_iter().find(|component| component.name() == folder).unwrap()
}

fn targets(model: &str) -> Targets {
    let model = Model::read(model);
    Targets::new(model.networks.keys().filter(|name| *name != "vae").map(|name| (component(name), model.network(name))).collect())
}

/// Within 1/8 of zero: the weights of the models, and those of the LoRA.
fn weights(name: &str, shape: &[usize]) -> Vec<f32> {
    numbers(name, shape).map(|number| (number as f32 / 16_777_216.0 - 0.5) / 4.0).collect()
}

fn product(values: &[f32], which: u64) -> f64 {
    let factor = (2 * which + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let sign = |index: usize| if (index as u64).wrapping_mul(factor) >> 63 == 1 { -1.0 } else { 1.0 };
    values.iter().enumerate().map(|(index, &value)| sign(index) * f64::from(value)).sum()
}

/// An estimate of the relative L2 difference of `values` to the tensor with these products.
fn difference(values: &[f32], expected: &[f64]) -> f64 {
    let squares: f64 = expected.iter().enumerate().map(|(which, expected)| (product(values, which as u64) - expected).powi(2)).sum();
    let length: f64 = values.iter().map(|&value| f64::from(value).powi(2)).sum();
    (squares / expected.len() as f64 / length).sqrt()
}

const CASES: [&str; 11] = [
    "kohya-alphas",
    "kohya-sd1",
    "kohya-xl-original",
    "kohya-without-alpha",
    "kohya-middle",
    "diffusers-attn-procs",
    "diffusers-dotted",
    "peft-metadata",
    "peft-rslora",
    "peft-without-metadata",
    "peft-xl",
];

#[test]
fn merged_weights_are_those_of_diffusers_and_peft() {
    for name in CASES {
        let case = Case::read(name);
        let lora = case.lora().unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(lora.count(), case.merged.values().map(BTreeMap::len).sum::<usize>(), "{name}");
        let model = Model::read(if case.family == "xl" { "sdxl-small" } else { "sd1-small" });
        let (mut worst, mut smallest) = (0.0_f64, f64::MAX);
        for (network, tensors) in &case.merged {
            let component = component(network);
            for (tensor, expected) in tensors {
                assert!(lora.has(component, tensor), "{name} {tensor}");
                let mut values = weights(tensor, &model.networks[network][tensor].0);
                smallest = smallest.min(difference(&values, expected));
                assert_eq!(lora.merge(component, tensor, &mut values, case.strength, &mut |key| case.tensor(key)), Ok(true));
                worst = worst.max(difference(&values, expected));
            }
        }
        eprintln!("{name}: {worst:.1e} (unmerged {smallest:.1e})");
        assert!(worst <= 1e-6, "{name}: {worst:e}");
        assert!(smallest > 1e-3, "{name}: a change of {smallest:e} would not be seen");
        let before = vec![1.0; 4];
        let mut values = before.clone();
        assert_eq!(lora.merge(Part::Vae, "conv_in.weight", &mut values, 1.0, &mut |key| case.tensor(key)), Ok(false));
        assert_eq!(values, before);
    }
}

#[test]
fn several_loras_add_up_in_order() {
    let case = Case::read("kohya-sd1");
    let lora = case.lora().unwrap();
    let (component, tensor, ..) = lora.changes().next().unwrap();
    let shape = &Model::read("sd1-small").networks[component.name()][tensor].0;
    let base = weights(tensor, shape);
    let merged = |strengths: &[f64]| {
        let mut values = base.clone();
        for &strength in strengths {
            lora.merge(component, tensor, &mut values, strength, &mut |key| case.tensor(key)).unwrap();
        }
        values
    };
    let distance = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(distance(&merged(&[0.25, 0.5]), &merged(&[0.75])) < 1e-6);
    assert!(distance(&merged(&[0.25, -0.25]), &base) < 1e-6);
    assert_eq!(merged(&[0.0]), base);
    assert!(distance(&merged(&[0.25]), &base) > 1e-3);
}

#[test]
fn names_of_a_whole_model_are_found_in_every_form() {
    for name in ["sd15-full", "sd21-full", "sdxl-full"] {
        let targets = targets(name);
        let model = Model::read(name);
        for (network, tensors) in &model.networks {
            if network == "vae" {
                continue;
            }
            let prefix = match (network.as_str(), name) {
                ("unet", _) => "lora_unet_",
                ("text_encoder", "sdxl-full") => "lora_te1_",
                ("text_encoder", _) => "lora_te_",
                _ => "lora_te2_",
            };
            for (tensor, (shape, _)) in tensors.iter().filter(|(name, (shape, _))| name.ends_with(".weight") && shape.len() > 1) {
                let module = tensor.strip_suffix(".weight").unwrap();
                let (mut down, mut up) = (shape.clone(), vec![shape[0], 4]);
                down[0] = 4;
                up.extend(&vec![1; shape.len() - 2]);
                for (start, ends) in [
                    (format!("{prefix}{}", module.replace('.', "_")), [".lora_down.weight", ".lora_up.weight"]),
                    (format!("{network}.{module}"), [".lora_A.weight", ".lora_B.weight"]),
                    (format!("{network}.{module}"), [".lora.down.weight", ".lora.up.weight"]),
                ] {
                    let shapes = Shapes::from([(format!("{start}{}", ends[0]), down.clone()), (format!("{start}{}", ends[1]), up.clone())]);
                    let lora = Lora::read(&shapes, &BTreeMap::new(), &targets, &mut |_| Err("no alpha".to_owned())).unwrap();
                    let changes: Vec<_> = lora.changes().collect();
                    assert_eq!(changes, [(component(network), tensor.as_str(), 4, 1.0)]);
                }
            }
        }
    }
}

/// The error of a file that is `name` but for `change`; it names `key`.
fn refused(name: &str, key: &str, change: impl FnOnce(&mut Case)) -> LoraError {
    let mut case = Case::read(name);
    change(&mut case);
    let error = case.lora().expect_err(key);
    assert!(error.to_string().contains(key), "{error} does not name {key}");
    error
}

#[test]
fn files_that_do_not_fit_are_refused_by_key() {
    let module = "lora_unet_mid_block_attentions_0_proj_in";
    let (down, up, alpha) = (format!("{module}.lora_down.weight"), format!("{module}.lora_up.weight"), format!("{module}.alpha"));
    let shape = |key: &str, shape: &[usize]| {
        let (key, shape) = (key.to_owned(), shape.to_vec());
        move |case: &mut Case| {
            assert!(case.tensors.insert(key, shape).is_some());
        }
    };
    // The layer is a 1x1 convolution with 96 channels.
    let rank = Case::read("kohya-sd1").tensors[&down][0];
    for wrong in [&[0, 96, 1, 1][..], &[rank, 95, 1, 1], &[rank, 96, 3, 3], &[rank], &[], &[20_000, 96, 1, 1], &[usize::MAX, 96, 1, 1]] {
        assert!(matches!(refused("kohya-sd1", &down, shape(&down, wrong)), LoraError::Shape { .. }), "{wrong:?}");
    }
    for wrong in [&[96, rank + 1, 1, 1][..], &[95, rank, 1, 1], &[96, rank, 3, 3], &[96], &[96, usize::MAX]] {
        assert!(matches!(refused("kohya-sd1", &up, shape(&up, wrong)), LoraError::Shape { .. }), "{wrong:?}");
    }
    assert!(matches!(refused("kohya-sd1", &alpha, shape(&alpha, &[2])), LoraError::Shape { .. }));
    for value in [f32::NAN, f32::INFINITY] {
        let error = refused("kohya-sd1", &alpha, |case| {
            case.alphas.insert(alpha.clone(), value);
        });
        assert!(matches!(error, LoraError::Alpha { .. }));
    }
    for (removed, left) in [(&up, &down), (&down, &up)] {
        let error = refused("kohya-sd1", left, |case| {
            case.tensors.remove(removed);
        });
        assert!(matches!(error, LoraError::Incomplete { .. }));
    }
    let error = refused("kohya-sd1", &alpha, |case| {
        case.tensors.remove(&up);
        case.tensors.remove(&down);
    });
    assert!(matches!(error, LoraError::Incomplete { .. }));
    let twice = "unet.mid_block.attentions.0.proj_in.lora_A.weight";
    let error = refused("kohya-sd1", twice, |case| {
        case.tensors.insert(twice.to_owned(), vec![rank, 96, 1, 1]);
    });
    assert!(matches!(error, LoraError::Twice { .. }) && error.to_string().contains(&down), "{error}");

    let mid = "lora_unet_mid_block_resnets_0_conv1.lora_mid.weight";
    for wrong in [&[3, 4, 3, 3][..], &[3, 3, 1, 1], &[3, 3], &[]] {
        assert!(matches!(refused("kohya-middle", mid, shape(mid, wrong)), LoraError::Shape { .. }));
    }
}

#[test]
fn tensors_without_a_layer_are_refused_by_name() {
    for (key, wanted) in [
        ("lora_unet_down_blocks_9_attentions_0_proj_in.lora_down.weight", "down_blocks_9"),
        ("lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_down.weight", "the second text encoder"),
        ("unet.mid_block.attentions.7.proj_in.lora_A.weight", "mid_block.attentions.7"),
        ("transformer.single_blocks.0.linear1.lora_A.weight", "FLUX"),
        ("text_encoder.text_model.encoder.layers.99.mlp.fc1.lora_A.weight", "layers.99"),
    ] {
        let error = refused("kohya-sd1", key, |case| {
            case.tensors.insert(key.to_owned(), vec![4, 4]);
        });
        assert!(matches!(error, LoraError::NoTarget { .. }) && error.to_string().contains(wanted), "{error}");
    }
    // A U-Net alone has no text encoder.
    let case = Case::read("kohya-sd1");
    let unet = Targets::new(BTreeMap::from([(Part::Unet, Model::read("sd1-small").network("unet"))]));
    let error = Lora::read(&case.tensors, &case.metadata, &unet, &mut |key| case.tensor(key)).unwrap_err();
    assert!(matches!(&error, LoraError::NoTarget { wanted, .. } if wanted == "the text encoder"), "{error}");
}

#[test]
fn other_adapters_are_refused_by_name() {
    let module = "lora_unet_mid_block_attentions_0_proj_in";
    for (end, kind) in [
        ("hada_w1_a", "LoHa"),
        ("lokr_w1", "LoKr"),
        ("dora_scale", "DoRA"),
        ("oft_blocks", "OFT"),
        ("diff", "full differences"),
        ("diff_b", "full differences"),
    ] {
        let key = format!("{module}.{end}");
        let error = refused("kohya-sd1", &key, |case| {
            case.tensors.insert(key.clone(), vec![4, 4]);
        });
        assert!(matches!(&error, LoraError::OtherKind { kind: found, .. } if found.contains(kind)), "{error}");
    }
    for key in ["unet.mid_block.attentions.0.proj_in.lora_magnitude_vector", "unet.mid_block.attentions.0.proj_in.lora_B.bias"] {
        let error = refused("peft-metadata", key, |case| {
            case.tensors.insert(key.to_owned(), vec![4]);
        });
        assert!(matches!(error, LoraError::OtherKind { .. }));
    }
    let key = "base_model.model.mid_block.attentions.0.proj_in.lora_A.weight";
    let error = refused("peft-metadata", key, |case| {
        case.tensors.insert(key.to_owned(), vec![4, 96, 1, 1]);
    });
    assert!(error.to_string().contains("save_lora_weights"));
    assert!(matches!(
        refused("kohya-sd1", "strange", |case| {
            case.tensors.insert("strange".to_owned(), vec![1]);
        }),
        LoraError::UnknownName { .. }
    ));
    for tensors in [Shapes::new(), Shapes::from([("model.diffusion_model.out.2.weight".to_owned(), vec![4, 4, 3, 3])])] {
        let error = Lora::read(&tensors, &BTreeMap::new(), &targets("sd1-small"), &mut |_| Ok(vec![1.0])).unwrap_err();
        assert!(matches!(error, LoraError::Empty { .. }), "{error}");
    }
}

#[test]
fn metadata_that_cannot_be_used_are_refused_by_key() {
    let change = |key: &str, value: &str| {
        let (key, value) = (key.to_owned(), value.to_owned());
        move |case: &mut Case| {
            let mut keys: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&case.metadata["lora_adapter_metadata"]).unwrap();
            assert!(keys.insert(key, serde_json::from_str(&value).unwrap()).is_some());
            case.metadata.insert("lora_adapter_metadata".to_owned(), serde_json::to_string(&keys).unwrap());
        }
    };
    for (key, value) in [
        ("unet.r", "5"),
        ("unet.r", "\"4\""),
        ("unet.lora_alpha", "null"),
        ("unet.lora_alpha", "[6]"),
        ("unet.use_dora", "true"),
        ("text_encoder.bias", "\"all\""),
        ("unet.rank_pattern", "{\".*to_q\": 2}"),
        ("unet.rank_pattern", "{\"attn1.to_q\": 3}"),
        ("unet.alpha_pattern", "{\"attn2.to_v\": \"x\"}"),
    ] {
        let error = refused("peft-metadata", key, change(key, value));
        assert!(matches!(error, LoraError::Metadata { .. }), "{error}");
    }
    for text in ["", "{", "[]", "nonsense"] {
        let error = refused("peft-metadata", "lora_adapter_metadata", |case| {
            case.metadata.insert("lora_adapter_metadata".to_owned(), text.to_owned());
        });
        assert!(matches!(error, LoraError::Metadata { .. }), "{error}");
    }
}

#[test]
fn a_tensor_that_cannot_be_read_or_is_too_short_is_named() {
    let case = Case::read("kohya-sd1");
    let lora = case.lora().unwrap();
    let (component, tensor, ..) = lora.changes().next().unwrap();
    let shape = &Model::read("sd1-small").networks[component.name()][tensor].0;
    let mut values = weights(tensor, shape);
    for read in [(|_: &str| Err("the disk is gone".to_owned())) as fn(&str) -> _, |_: &str| Ok(vec![1.0])] {
        let error = lora.merge(component, tensor, &mut values, 1.0, &mut { read }).unwrap_err();
        assert!(matches!(error, LoraError::Read { .. }), "{error}");
    }
    let error = lora.merge(component, tensor, &mut values[1..], 1.0, &mut |key| case.tensor(key)).unwrap_err();
    assert!(matches!(error, LoraError::Shape { .. }), "{error}");
    let broken = Lora::read(&case.tensors, &case.metadata, &case.targets(), &mut |_| Err("the disk is gone".to_owned()));
    assert!(matches!(broken, Err(LoraError::Read { .. })));
}

#[test]
fn the_option_is_a_file_and_a_weight() {
    let files = ["a:0.5", "a.safetensors", "C:\\l\\a.safetensors"];
    let parse = |text: &str| LoraOption::parse(text, |path| files.iter().any(|file| path == std::path::Path::new(file)));
    for (text, path, weight) in [
        ("a.safetensors", "a.safetensors", 1.0),
        ("a.safetensors:0.8", "a.safetensors", 0.8),
        ("a.safetensors:-1e-1", "a.safetensors", -0.1),
        ("a.safetensors: 2", "a.safetensors", 2.0),
        // A name of a file with a colon, with and without a weight.
        ("a:0.5", "a:0.5", 1.0),
        ("a:0.5:0.25", "a:0.5", 0.25),
        ("C:\\l\\a.safetensors", "C:\\l\\a.safetensors", 1.0),
        ("C:\\l\\a.safetensors:0.5", "C:\\l\\a.safetensors", 0.5),
        ("D:\\missing.safetensors", "D:\\missing.safetensors", 1.0),
        ("D:/missing.safetensors:3", "D:/missing.safetensors", 3.0),
    ] {
        assert_eq!(parse(text), Ok(LoraOption { path: path.into(), weight }), "{text}");
    }
    for text in ["", ":0.5", "a.safetensors:", "a.safetensors:x", "a.safetensors:nan", "a.safetensors:inf"] {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.contains("--lora FILE:WEIGHT"), "{error}");
    }
}
