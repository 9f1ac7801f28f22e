//! Conditions of prompts against diffusers' numbers.

use burn::tensor::{Device, Tensor};
use onestep_nets::{ClipTextConfig, Init, weights};
use onestep_program::TensorFile;
use onestep_train::{
    data::CaptionTokenizer,
    prompt_encoder::{PromptEncoder, SecondTextEncoder, TextEncoder},
};

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/sdxl");

fn read(name: &str) -> Vec<u8> {
    std::fs::read(format!("{FIXTURE}/{name}")).unwrap()
}

fn text_encoder(name: &str, device: &Device) -> TextEncoder {
    let config = ClipTextConfig::from_json(&String::from_utf8(read(&format!("{name}.json"))).unwrap()).unwrap();
    let bytes = read(&format!("{name}.safetensors"));
    let network = weights::load(config.init(device), &[weights::Shard::new(name, &bytes)]).unwrap();
    TextEncoder { network, tokenizer: CaptionTokenizer::from_json(&read("tokenizer.json")).unwrap() }
}

fn encoder(zero_unconditional: bool, device: &Device) -> PromptEncoder {
    let second = SecondTextEncoder { encoder: text_encoder("text_encoder_2", device), zero_unconditional, image: [72, 80] };
    PromptEncoder::new(text_encoder("text_encoder", device), Some(second)).unwrap()
}

fn compare<const D: usize>(name: &str, found: Tensor<D>) {
    let bytes = read("case.safetensors");
    let file = TensorFile::read(&bytes, "case.safetensors").unwrap();
    let expected = file.get(name).unwrap();
    assert_eq!(found.dims()[..], expected.shape[..], "{name}");
    let (found, expected) = (found.into_data().try_into_vec::<f32>().unwrap(), expected.to_f32().unwrap());
    let square = |values: &mut dyn Iterator<Item = f32>| values.map(|value| f64::from(value).powi(2)).sum::<f64>();
    let error = square(&mut found.iter().zip(&expected).map(|(a, b)| a - b)).sqrt();
    assert!(error <= 1e-5 * square(&mut expected.iter().copied()).sqrt(), "{name}: {error:.2e}");
}

/// The fixture is written by tests/reference/sdxl.py.
#[test]
fn conditions_of_stable_diffusion_xl_are_those_of_diffusers() {
    let device = Device::flex();
    let zeros = encoder(true, &device);
    let conditions = zeros.encode(&["red square", "a green square, blue"], &device).unwrap();
    let added = conditions.added.unwrap();
    compare("states", conditions.states);
    compare("text_embeds", added.text_embeds);
    compare("time_ids", added.time_ids);
    for (name, encoder) in [("zeros", &zeros), ("empty", &encoder(false, &device))] {
        let unconditional = encoder.unconditional(&device).unwrap();
        compare(&format!("{name}.states"), unconditional.states);
        let added = unconditional.added.unwrap();
        compare(&format!("{name}.text_embeds"), added.text_embeds);
        assert_eq!(added.time_ids.to_data().iter::<f32>().collect::<Vec<_>>(), [72.0, 80.0, 0.0, 0.0, 72.0, 80.0]);
    }
}

#[test]
fn a_second_text_encoder_without_projection_is_refused() {
    let device = Device::flex();
    let second = SecondTextEncoder { encoder: text_encoder("text_encoder", &device), zero_unconditional: true, image: [8, 8] };
    let refused = PromptEncoder::new(text_encoder("text_encoder", &device), Some(second)).map(|_| ()).unwrap_err();
    assert!(refused.to_string().contains("text_encoder_2"), "{refused}");
}
