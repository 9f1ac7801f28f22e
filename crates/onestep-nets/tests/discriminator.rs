//! The discriminator begins as the teacher, and every part of it learns.

mod fixture;

use burn::tensor::{Device, Tensor};
use fixture::{Fixture, computed::uniform_tensor};
use onestep_nets::{AddedConditions, Conditioning, Discriminator, DiscriminatorParts, Init, UNet2DConditionConfig, weights};

const PARTS: DiscriminatorParts = DiscriminatorParts { noise: true, scales: true };

fn discriminator(parts: DiscriminatorParts, device: &Device) -> (Discriminator, UNet2DConditionConfig) {
    discriminator_of("unet-sd15", parts, device)
}

fn discriminator_of(teacher: &'static str, parts: DiscriminatorParts, device: &Device) -> (Discriminator, UNet2DConditionConfig) {
    let fixture = Fixture::open(teacher);
    let config = UNet2DConditionConfig::from_json(&fixture.config).unwrap();
    let teacher = weights::load(config.init(device), &[fixture.shard()]).unwrap();
    device.seed(1);
    (Discriminator::new(teacher, &config, parts, device), config)
}

fn inputs(config: &UNet2DConditionConfig, device: &Device) -> (Tensor<4>, Tensor<4>, Conditioning) {
    inputs_of(config, [16, 16], device)
}

fn inputs_of(config: &UNet2DConditionConfig, size: [usize; 2], device: &Device) -> (Tensor<4>, Tensor<4>, Conditioning) {
    let shape = [2, config.in_channels, size[0], size[1]];
    let features = config.cross_attention_dim.get(0).unwrap();
    let added = config.addition_embed_type.is_some().then(|| {
        let pooled = config.projection_class_embeddings_input_dim.unwrap() - 6 * config.addition_time_embed_dim.unwrap();
        AddedConditions {
            text_embeds: uniform_tensor("text_embeds", [2, pooled], device),
            time_ids: Tensor::from_data([[64.0, 64.0, 0.0, 0.0, 64.0, 64.0]; 2], device),
        }
    });
    let conditions = Conditioning { states: uniform_tensor("c", [2, 5, features], device), added, guidance: None };
    (uniform_tensor("x", shape, device), uniform_tensor("z", shape, device), conditions)
}

fn values(logits: &[Tensor<4>]) -> Vec<Vec<f32>> {
    logits.iter().map(|logits| logits.to_data().iter::<f32>().collect()).collect()
}

#[test]
fn there_are_three_readouts_at_every_scale() {
    let device = Device::flex();
    let (network, config) = discriminator(PARTS, &device);
    let (x, z, c) = inputs(&config, &device);
    let levels = config.block_out_channels.len();
    let logits = network.forward(x.clone(), z.clone(), &c);
    let shapes: Vec<[usize; 4]> = logits.iter().map(Tensor::dims).collect();
    let expected: Vec<[usize; 4]> = (0..levels).rev().flat_map(|level| [[2, 1, 16 >> level, 16 >> level]; 3]).collect();
    assert_eq!(shapes, expected);
    let names: Vec<(usize, &str)> = (0..levels).flat_map(|scale| ["skip", "joined", "main"].map(|name| (scale, name))).collect();
    assert_eq!(network.readout_names(), names);
    let (single, _) = discriminator(DiscriminatorParts { noise: false, scales: false }, &device);
    assert_eq!(single.forward(x, z, &c).iter().map(Tensor::dims).collect::<Vec<_>>(), [[2, 1, 16, 16]]);
    assert_eq!(single.readout_names(), [(levels - 1, "main")]);
}

#[test]
fn at_first_noise_and_smaller_copies_change_nothing() {
    let device = Device::flex();
    let (network, config) = discriminator(PARTS, &device);
    let (x, z, c) = inputs(&config, &device);
    let with = values(&network.forward(x.clone(), z.clone(), &c));
    assert_eq!(with, values(&network.forward(x.clone(), z.mul_scalar(-3.0), &c)));
    // The same trunk and readouts without the convolutions that start at zero.
    let without = Discriminator { conv_noise: None, conv_resized: Vec::new(), ..network };
    assert_eq!(with, values(&without.forward(x.clone(), x, &c)));
}

#[test]
fn every_part_learns_from_the_first_step() {
    let device = Device::flex().autodiff();
    let (network, config) = discriminator(PARTS, &device);
    let (x, z, c) = inputs(&config, &device);
    let sum = network.forward(x, z, &c).into_iter().map(|logits| logits.mean()).reduce(|a, b| a + b).unwrap();
    let gradients = sum.backward();
    let norm = |tensor: &Tensor<4>| f64::from(tensor.grad(&gradients).unwrap().square().sum().into_scalar::<f32>());
    let noise = network.conv_noise.as_ref().unwrap();
    assert!(norm(&noise.weight.val()) > 0.0);
    for conv in &network.conv_resized {
        assert!(norm(&conv.weight.val()) > 0.0);
    }
    for readouts in &network.readouts {
        for readout in [readouts.skip.as_ref().unwrap(), readouts.joined.as_ref().unwrap(), &readouts.main] {
            assert!(norm(&readout.conv.weight.val()) > 0.0);
        }
    }
    assert!(norm(&network.conv_in.weight.val()) > 0.0);
    assert_eq!(network.readouts.len(), config.block_out_channels.len(), "three readouts at every scale");
}

#[test]
fn sizes_that_do_not_halve_evenly_have_readouts_of_the_sizes_of_the_skip_tensors() {
    let device = Device::flex().autodiff();
    for (teacher, size, levels) in [("unet-sd15", [10, 14], [[3, 4], [5, 7], [10, 14]]), ("unet-sd15", [9, 5], [[3, 2], [5, 3], [9, 5]])] {
        let (network, config) = discriminator_of(teacher, PARTS, &device);
        let (x, z, c) = inputs_of(&config, size, &device);
        let x = x.require_grad();
        let logits = network.forward(x.clone(), z, &c);
        let shapes: Vec<[usize; 4]> = logits.iter().map(Tensor::dims).collect();
        let expected: Vec<[usize; 4]> = levels.into_iter().flat_map(|[height, width]| [[2, 1, height, width]; 3]).collect();
        assert_eq!(shapes, expected);
        let gradients = logits.into_iter().map(|logits| logits.mean()).reduce(|a, b| a + b).unwrap().backward();
        assert!(x.grad(&gradients).unwrap().square().sum().into_scalar::<f32>() > 0.0);
        for conv in &network.conv_resized {
            assert!(conv.weight.val().grad(&gradients).unwrap().square().sum().into_scalar::<f32>() > 0.0);
        }
    }
}

#[test]
fn smaller_copies_are_averages_of_2x2_pixels() {
    let device = Device::flex();
    let x: Tensor<4> = uniform_tensor("x", [2, 3, 8, 12], &device);
    let pooled = burn::tensor::module::adaptive_avg_pool2d(x.clone(), [4, 6]);
    let expected = burn::nn::pool::AvgPool2dConfig::new([2, 2]).with_strides([2, 2]).init().forward(x);
    pooled.into_data().assert_approx_eq::<f32>(&expected.into_data(), burn::tensor::Tolerance::absolute(1e-6));
}

#[test]
fn teachers_of_every_family_make_a_discriminator() {
    let device = Device::flex();
    for (teacher, size) in [("unet-sdxl", [8, 8]), ("unet-sdxl", [7, 9]), ("unet-lcm", [7, 9])] {
        let (network, config) = discriminator_of(teacher, PARTS, &device);
        let (x, z, c) = inputs_of(&config, size, &device);
        let logits = values(&network.forward(x.clone(), z.clone(), &c));
        assert!(logits.iter().flatten().all(|logit| logit.is_finite()));
        let Some(added) = &c.added else { continue };
        let other = AddedConditions { text_embeds: added.text_embeds.clone().neg(), ..added.clone() };
        assert_ne!(logits, values(&network.forward(x, z, &Conditioning { added: Some(other), ..c.clone() })), "the pooled text is a condition");
    }
}
