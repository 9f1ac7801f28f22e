//! The one-step student: a U-Net evaluated once, read as a prediction of the clean latent.

use burn::{
    module::Module,
    tensor::{DType, Tensor},
};

use onestep_pipeline::one_step::OneStepRule;

use crate::{conditioning::Conditioning, precision::cast, unet::UNet2DConditionModel};

/// `G(z, c) = a z + b f(s z, t, c)` with the numbers of a [`OneStepRule`].
///
/// For a network that predicts the noise, `b` amplifies its output by `sigma / alpha` (14.6 at t = 999 of Stable Diffusion), so the sum is
/// computed in f32 whatever the network computes in.
#[derive(Module, Debug)]
pub struct Generator {
    /// The network.
    pub unet: UNet2DConditionModel,
    /// How its output is read.
    #[module(skip)]
    pub rule: OneStepRule,
}

impl Generator {
    /// The student made of `unet` and the rule by which it was trained.
    pub fn new(unet: UNet2DConditionModel, rule: OneStepRule) -> Self {
        Self { unet, rule }
    }

    /// `z` `[batch, channels, h, w]` is unit Gaussian noise; the result is a model-space latent of the same shape, in f32.
    pub fn forward(&self, z: Tensor<4>, condition: impl Into<Conditioning>) -> Tensor<4> {
        let Conditioning { states, added, .. } = condition.into();
        let timestep = Tensor::<1>::from_data([self.rule.timestep as f32], (&z.device(), DType::F32));
        let input = if self.rule.input == 1.0 { z.clone() } else { z.clone().mul_scalar(self.rule.input) };
        let output = self.unet.forward(input, timestep, states, added);
        cast(z, DType::F32).mul_scalar(self.rule.sample) + cast(output, DType::F32).mul_scalar(self.rule.output)
    }
}
