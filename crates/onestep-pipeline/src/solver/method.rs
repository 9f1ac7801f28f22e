//! What every solver does.

use super::latents::Latents;
use crate::schedule::Level;

/// A numerical method that turns noise into a latent. One value samples one batch, because some methods remember earlier outputs.
///
/// ```text
/// x = z · init_noise_sigma                                  (or noising(first) of an initial image)
/// for index in first..timesteps.len():
///     output = network(x · input_scale(index), timesteps[index])
///     x = step(index, x, output)
/// ```
pub trait Solver<L: Latents> {
    /// The timestep that the network is told in each evaluation, noisiest first. It can have a fraction, and PNDM repeats some.
    fn timesteps(&self) -> &[f64];

    /// Standard deviation of the initial noise.
    fn init_noise_sigma(&self) -> f64 {
        1.0
    }

    /// Factor of the sample that the network is given in an evaluation.
    fn input_scale(&self, _index: usize) -> f64 {
        1.0
    }

    /// Coefficients of image and noise in the sample with which evaluation `index` begins, for sampling from an initial image.
    fn noising(&self, index: usize) -> Level;

    /// True if the steps add fresh noise, so that the result is no function of the initial noise.
    fn is_stochastic(&self) -> bool {
        false
    }

    /// The sample after evaluation `index`, from the sample before it and the network's output for it. `noise` makes unit Gaussian noise of the
    /// same shape; it is called once in a step that adds fresh noise, and not in others.
    ///
    /// # Panics
    /// If `index` is not below the number of timesteps.
    fn step(&mut self, index: usize, sample: L, output: L, noise: &mut dyn FnMut() -> L) -> L;
}
