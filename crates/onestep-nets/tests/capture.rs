//! The forward passes that are exported can be captured, and arrive in few kinds of operations.

mod fixture;

use std::collections::BTreeMap;

use burn::{
    module::Module,
    tensor::{Device, Int, Tensor},
};
use burn_capture::{CaptureBackend, CapturedGraph, TensorId};
use fixture::Fixture;
use onestep_nets::{
    AddedConditions, AutoencoderKlConfig, ClipTextConfig, Conditioning, Decoder, Generator, Init, NoiseSchedule, OneStepRule, SchedulerConfig,
    UNet2DConditionConfig, weights,
};

/// Operations that the exported networks may consist of: what `onestep-compile` has to know.
const KNOWN: &[&str] = &[
    "Add",
    "AddScalar",
    "Attention",
    "Cat",
    "Conv2d",
    "Cos",
    "Div",
    "DivScalar",
    "Embedding",
    "Gelu",
    "Init",
    "Interpolate",
    "LayerNorm",
    "Matmul",
    "MeanDim",
    "Mul",
    "MulScalar",
    "Reshape",
    "Sigmoid",
    "Sin",
    "Slice",
    "Sqrt",
    "Sub",
    "SubScalar",
    "SwapDims",
];

/// What `Debug` writes in front of a kind.
const FAMILIES: &[&str] = &["NumericFloat", "NumericInt", "BaseFloat", "BaseInt", "BaseBool", "Float", "Int", "Bool", "Module", "Activation", "F32"];

fn float<const D: usize>(tensor: &Tensor<D>) -> TensorId {
    tensor.clone().try_into_primitive::<CaptureBackend>().unwrap().id()
}

/// Kinds of operations and how many of each there are, from their `Debug` names.
fn kinds(captured: &CapturedGraph) -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    for operation in &captured.graph.operations {
        let text = format!("{operation:?}");
        // `NumericFloat(F32, Add(..))`, `Module(Conv2d(..))`, `Init(..)`: the last word before the fields.
        let kind = text.split(['(', ' ', ',', '{']).find(|word| !word.is_empty() && !FAMILIES.contains(word)).unwrap_or(&text);
        *kinds.entry(kind.to_owned()).or_default() += 1;
    }
    kinds
}

fn check(what: &str, captured: &CapturedGraph, parameters: usize) -> BTreeMap<String, usize> {
    let kinds = kinds(captured);
    eprintln!("{what}: {} operations, {} values, {kinds:?}", captured.graph.operations.len(), captured.values.len());
    assert!(captured.values.len() >= parameters, "{what}: {} values", captured.values.len());
    for kind in kinds.keys() {
        assert!(KNOWN.contains(&kind.as_str()), "{what}: {kind}");
    }
    kinds
}

fn capture_generator(name: &'static str) -> BTreeMap<String, usize> {
    let config = UNet2DConditionConfig::from_json(&Fixture::open(name).config).unwrap();
    let schedule = NoiseSchedule::new(&SchedulerConfig::default()).unwrap();
    let host = Device::flex();
    let generator = Generator::new(config.init(&host), OneStepRule::at(&schedule, 999).unwrap());
    let parameters = weights::parameters(&generator).len();
    let device = Device::capture();
    let captured = device
        .capture_scope(|scope| {
            let generator = generator.clone().to_device(&device);
            let z = Tensor::<4>::zeros([1, config.in_channels, 8, 8], &host).to_device(&device);
            let text = Tensor::<3>::zeros([1, 5, config.cross_attention_dim.get(0).unwrap()], &host).to_device(&device);
            let mut inputs = vec![float(&z), float(&text)];
            let added = config.projection_class_embeddings_input_dim.map(|all| {
                let pooled = all - 6 * config.addition_time_embed_dim.unwrap();
                let text_embeds = Tensor::<2>::zeros([1, pooled], &host).to_device(&device);
                let time_ids = Tensor::<2>::zeros([1, 6], &host).to_device(&device);
                inputs.extend([float(&text_embeds), float(&time_ids)]);
                AddedConditions { text_embeds, time_ids }
            });
            let out = generator.forward(z, Conditioning { states: text, added, guidance: None });
            scope.complete(inputs, [float(&out)])
        })
        .unwrap();
    check(name, &captured, parameters)
}

#[test]
fn generators() {
    let kinds = capture_generator("unet-sd15");
    // 10 transformers with self-attention and cross-attention each, and one in the middle.
    assert_eq!(kinds["Attention"], 2 * 11);
    assert_eq!(kinds["Interpolate"], 2);
    let kinds = capture_generator("unet-sdxl");
    assert_eq!(kinds["Attention"], 2 * (2 + 3 + 3 + 2 * 3 + 2 * 2));
}

#[test]
fn decoder() {
    let config = AutoencoderKlConfig::from_json(&Fixture::open("vae-quant").config).unwrap();
    let host = Device::flex();
    let decoder = Decoder::new(config.init(&host));
    let device = Device::capture();
    let captured = device
        .capture_scope(|scope| {
            let decoder = decoder.clone().to_device(&device);
            let latents = Tensor::<4>::zeros([1, config.latent_channels, 4, 4], &host).to_device(&device);
            let out = decoder.forward(latents.clone());
            scope.complete([float(&latents)], [float(&out)])
        })
        .unwrap();
    let kinds = check("decoder", &captured, weights::parameters(&decoder).len());
    assert_eq!((kinds["Attention"], kinds["Interpolate"]), (1, 2));
}

#[test]
fn text_encoder() {
    for (name, layers) in [("clip-quick-gelu", 3), ("clip-gelu-projection", 2)] {
        let config = ClipTextConfig::from_json(&Fixture::open(name).config).unwrap();
        let host = Device::flex();
        let clip = config.init(&host);
        let device = Device::capture();
        let captured = device
            .capture_scope(|scope| {
                let clip = clip.clone().to_device(&device);
                let ids = Tensor::<2, Int>::zeros([1, config.max_position_embeddings], &host).to_device(&device);
                let id = ids.clone().try_into_primitive::<CaptureBackend>().unwrap().id();
                let out = clip.forward(ids).last_hidden_state;
                scope.complete([id], [float(&out)])
            })
            .unwrap();
        let kinds = check(name, &captured, weights::parameters(&clip.text_model).len());
        assert_eq!(kinds["Attention"], layers);
    }
}
