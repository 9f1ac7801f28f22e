//! Networks that compute in 16 bits: close to themselves in 32, with gradients for their own parameters.

mod fixture;

use burn::{
    nn::conv::Conv2d,
    tensor::{DType, Device, Tensor},
};
use fixture::{Fixture, computed::uniform_tensor};
use onestep_nets::{
    Discriminator, DiscriminatorParts, Generator, Init, NoiseSchedule, OneStepRule, SchedulerConfig, UNet2DConditionConfig, in_dtype, weights,
};

fn teacher(device: &Device) -> (onestep_nets::UNet2DConditionModel, UNet2DConditionConfig) {
    let fixture = Fixture::open("unet-sd15");
    let config = UNet2DConditionConfig::from_json(&fixture.config).unwrap();
    (weights::load(config.init(device), &[fixture.shard()]).unwrap(), config)
}

fn inputs(config: &UNet2DConditionConfig, device: &Device) -> (Tensor<4>, Tensor<4>, Tensor<3>) {
    let shape = [2, config.in_channels, 16, 16];
    let features = config.cross_attention_dim.get(0).unwrap();
    (uniform_tensor("x", shape, device), uniform_tensor("z", shape, device), uniform_tensor("c", [2, 5, features], device))
}

/// Relative L2.
fn distance<const D: usize>(found: &Tensor<D>, expected: &Tensor<D>) -> f64 {
    let norm = |x: Tensor<D>| f64::from(x.square().sum().into_scalar::<f32>()).sqrt();
    norm(found.clone() - expected.clone()) / norm(expected.clone())
}

#[test]
fn the_student_in_16_bits_is_close_and_teaches_its_own_parameters() {
    let device = Device::flex().autodiff();
    let (unet, config) = teacher(&device);
    let schedule = NoiseSchedule::new(&SchedulerConfig::default()).unwrap();
    let (x, z, c) = inputs(&config, &device);
    let generator = |unet| Generator::new(unet, OneStepRule::at(&schedule, 999).unwrap());
    let gradient = |half: bool| {
        let computing = if half { in_dtype(&unet, DType::BF16) } else { unet.clone() };
        assert_eq!(computing.conv_in.weight.dtype(), if half { DType::BF16 } else { DType::F32 });
        let latent = generator(computing).forward(z.clone(), c.clone());
        assert_eq!(latent.dtype(), DType::F32);
        let gradients = (latent.clone() - x.clone()).square().mean().backward();
        let of = |conv: &Conv2d| conv.weight.val().grad(&gradients).unwrap();
        (latent.inner(), of(&unet.conv_in), of(&unet.conv_out))
    };
    let (full, half) = (gradient(false), gradient(true));
    assert_eq!((half.1.dtype(), half.2.dtype()), (DType::F32, DType::F32));
    // Eight bits of a mantissa, through some thirty layers.
    for (what, far) in
        [("latent", distance(&half.0, &full.0)), ("first layer", distance(&half.1, &full.1)), ("last layer", distance(&half.2, &full.2))]
    {
        assert!(far > 1e-6 && far < 0.05, "{what}: {far}");
    }
    assert_eq!(unet.conv_in.weight.dtype(), DType::F32);
}

#[test]
fn the_discriminator_in_16_bits_answers_in_32_and_learns() {
    let device = Device::flex().autodiff();
    let (unet, config) = teacher(&device);
    device.seed(1);
    let discriminator = Discriminator::new(unet, &config, DiscriminatorParts { noise: true, scales: true }, &device);
    let (x, z, c) = inputs(&config, &device);
    let full = discriminator.forward(x.clone(), z.clone(), &c.clone().into());
    let half = in_dtype(&discriminator, DType::BF16).forward(x, z, &c.into());
    for (full, half) in full.iter().zip(&half) {
        assert_eq!(half.dtype(), DType::F32);
        let far = distance(&half.clone().inner(), &full.clone().inner());
        assert!(far < 0.05, "{far}");
    }
    let gradients = half.into_iter().map(|logits| logits.mean()).reduce(|a, b| a + b).unwrap().backward();
    let readout = discriminator.readouts[0].main.conv.weight.val().grad(&gradients).unwrap();
    assert_eq!(readout.dtype(), DType::F32);
    assert!(f64::from(readout.square().sum().into_scalar::<f32>()) > 0.0);
}
