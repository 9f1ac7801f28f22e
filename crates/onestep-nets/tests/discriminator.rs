//! The discriminator begins as the teacher, and every part of it learns.

mod fixture;

use burn::tensor::{Device, Tensor};
use fixture::{Fixture, computed::uniform_tensor};
use onestep_nets::{Discriminator, DiscriminatorParts, Init, UNet2DConditionConfig, weights};

const PARTS: DiscriminatorParts = DiscriminatorParts { noise: true, scales: true };

fn discriminator(parts: DiscriminatorParts, device: &Device) -> (Discriminator, UNet2DConditionConfig) {
    let fixture = Fixture::open("unet-sd15");
    let config = UNet2DConditionConfig::from_json(&fixture.config).unwrap();
    let teacher = weights::load(config.init(device), &[fixture.shard()]).unwrap();
    device.seed(1);
    (Discriminator::new(teacher, &config, parts, device), config)
}

fn inputs(config: &UNet2DConditionConfig, device: &Device) -> (Tensor<4>, Tensor<4>, Tensor<3>) {
    let shape = [2, config.in_channels, 16, 16];
    let features = config.cross_attention_dim.get(0).unwrap();
    (uniform_tensor("x", shape, device), uniform_tensor("z", shape, device), uniform_tensor("c", [2, 5, features], device))
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
