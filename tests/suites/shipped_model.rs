//! The bundle in `models/emoji`: its size, its model card, and equal images on both backends.

use std::fs;

use onestep::{Backend, GenerateOptions, Image, Model, program::Bundle};
use onestep_program::BundleError;
use onestep_tests::{psnr, root};

/// The prompts that the model card lists.
const PROMPTS: [&str; 20] = [
    "red heart",
    "red apple",
    "banana",
    "pizza",
    "dog face",
    "cat face",
    "penguin",
    "frog",
    "tropical fish",
    "sunflower",
    "rose",
    "evergreen tree",
    "sun",
    "rainbow",
    "rocket",
    "automobile",
    "house",
    "soccer ball",
    "smiling face with sunglasses",
    "jack-o-lantern",
];

/// Between devices, only the last bits of sums differ.
const LEAST_PSNR: f64 = 45.0;

fn open(backend: Backend) -> Model {
    let folder = root().join("models/emoji");
    let manifest = fs::read(folder.join("manifest.json")).expect("the shipped bundle");
    let bundle =
        Bundle::open::<BundleError>(&manifest, |entry| Ok(fs::read(folder.join(&entry.name)).expect("a listed file"))).expect("a valid bundle");
    pollster::block_on(Model::open(bundle, backend, &mut ())).unwrap_or_else(|error| panic!("{backend}: {error}"))
}

fn generate(model: &mut Model, prompt: &str, seed: u64) -> Image {
    pollster::block_on(model.generate(&GenerateOptions { prompt: prompt.into(), noise: seed.into(), ..GenerateOptions::default() }, &mut ()))
        .unwrap_or_else(|error| panic!("{prompt}: {error}"))
}

#[test]
fn it_is_at_most_16_mib_and_its_card_is_complete() {
    let model = open(Backend::Cpu);
    let bytes = model.manifest().total_bytes();
    assert!(bytes <= 16 << 20, "{bytes} bytes");
    for word in ["license:", "OFL", "Unicode", "onestep train teacher", "onestep distil", "PSNR", "top-1"] {
        assert!(model.card().contains(word), "the model card does not say {word:?}");
    }
    // The card is wrapped, so a prompt may be on two lines.
    let card = model.card().split_whitespace().collect::<Vec<_>>().join(" ");
    for prompt in PROMPTS {
        assert!(card.contains(prompt), "the model card does not list {prompt:?}");
        let read = model.prompt(prompt).expect("a prompt");
        assert!(read.unknown.is_empty() && !read.truncated, "{prompt}");
    }
}

#[test]
fn cpu_and_gpu_generate_the_same_images() {
    let (mut cpu, mut gpu) = (open(Backend::Cpu), open(Backend::WebGpu));
    for (seed, prompt) in PROMPTS.iter().enumerate() {
        let (a, b) = (generate(&mut cpu, prompt, seed as u64), generate(&mut gpu, prompt, seed as u64));
        let psnr = psnr(&a.rgba, &b.rgba);
        assert!(psnr >= LEAST_PSNR, "{prompt}, seed {seed}: {psnr:.1} dB on {}", gpu.device());
    }
}

#[test]
fn images_are_bit_identical_and_depend_on_prompt_and_seed() {
    let mut model = open(Backend::WebGpu);
    let first = generate(&mut model, "red heart", 7);
    assert_eq!(first.rgba, generate(&mut model, "red heart", 7).rgba);
    assert_eq!(first.rgba, generate(&mut open(Backend::WebGpu), "red heart", 7).rgba);
    assert_ne!(first.rgba, generate(&mut model, "red heart", 8).rgba);
    let unlike = psnr(&first.rgba, &generate(&mut model, "banana", 7).rgba);
    assert!(unlike < 20.0, "a heart and a banana are {unlike:.1} dB alike");
}
