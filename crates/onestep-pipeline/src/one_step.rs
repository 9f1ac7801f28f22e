//! One-step generators: how one evaluation of a network becomes a clean latent.

use crate::{config::ConfigError, schedule::NoiseSchedule};

/// A one-step generator: `x̂₀ = sample · z + output · f(input · z, timestep, c)`.
///
/// `z` is unit Gaussian noise and `f` is the network with whatever it predicts (ε, v, x₀ or a velocity). Every published one-step rule has this
/// form, because all of them are affine in noise and output.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OneStepRule {
    /// The timestep that the network is conditioned on.
    pub timestep: f64,
    /// Factor of the noise that the network is given.
    pub input: f64,
    /// Factor of the noise in the result.
    pub sample: f64,
    /// Factor of the network's output in the result.
    pub output: f64,
    /// Guidance that the network is told in its timestep embedding, as `w` = guidance scale − 1; None for networks that are not told one.
    pub guidance: Option<f64>,
}

impl OneStepRule {
    /// The rule of a student that predicts the noise in `z` at `timestep`: `x̂₀ = (z − σ ε)/α`.
    ///
    /// # Errors
    /// A timestep that the schedule does not have.
    pub fn noise(schedule: &NoiseSchedule, timestep: usize) -> Result<Self, ConfigError> {
        schedule.check(timestep)?;
        let (alpha, sigma) = (schedule.alpha(timestep), schedule.sigma(timestep));
        Ok(Self { timestep: timestep as f64, input: 1.0, sample: 1.0 / alpha, output: -sigma / alpha, guidance: None })
    }
}
