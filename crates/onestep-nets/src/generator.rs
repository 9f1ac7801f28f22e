//! The one-step student: a U-Net evaluated once, read as a prediction of the clean latent.

use burn::{
    module::Module,
    tensor::{DType, Device, Tensor},
};

use onestep_pipeline::config::ConfigError;

use crate::{
    precision::cast,
    schedule::NoiseSchedule,
    unet::{AddedConditions, UNet2DConditionModel},
};

/// `G(z, c) = (z - sigma_t eps(z, t, c)) / alpha_t` at a fixed timestep `t`.
///
/// The division amplifies the network's output by `sigma / alpha` (14.6 at t = 999 of Stable Diffusion), so it is done in
/// f32 whatever the network computes in.
#[derive(Module, Debug)]
pub struct Generator {
    /// The network, predicting the noise.
    pub unet: UNet2DConditionModel,
    /// The timestep that the network is conditioned on.
    pub timestep: usize,
    /// Square root of the cumulative alpha at that timestep.
    pub alpha: f64,
    /// `sqrt(1 - alpha²)`.
    pub sigma: f64,
}

impl Generator {
    /// The student made of `unet`, at `timestep` of `schedule` (the last one, 999, for Stable Diffusion).
    pub fn new(unet: UNet2DConditionModel, schedule: &NoiseSchedule, timestep: usize) -> Result<Self, ConfigError> {
        schedule.check(timestep)?;
        Ok(Self { unet, timestep, alpha: schedule.alpha(timestep), sigma: schedule.sigma(timestep) })
    }

    /// `z` `[batch, channels, h, w]` is unit Gaussian noise; the result is a model-space latent of the same shape, in f32.
    pub fn forward(&self, z: Tensor<4>, encoder_hidden_states: Tensor<3>, added: Option<AddedConditions>) -> Tensor<4> {
        let timestep = self.timestep_tensor(&z.device());
        let eps = self.unet.forward(z.clone(), timestep, encoder_hidden_states, added);
        (cast(z, DType::F32) - cast(eps, DType::F32).mul_scalar(self.sigma)).div_scalar(self.alpha)
    }

    /// The fixed timestep as the `[1]` tensor that the network takes.
    fn timestep_tensor(&self, device: &Device) -> Tensor<1> {
        Tensor::from_data([self.timestep as f32], (device, DType::F32))
    }
}
