//! Solvers: from noise to a latent in a fixed number of evaluations of a network, as diffusers' schedulers do it.

mod ddim;
mod dpm;
mod euler;
mod latents;
pub(crate) mod lcm;
mod pndm;
mod sigmas;
mod timesteps;

pub use latents::Latents;

use crate::{
    config::{ConfigError, SchedulerClass},
    schedule::{Level, NoiseSchedule},
};

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

/// The solver of the scheduler's class.
///
/// # Errors
/// A number of steps that the class cannot take, or a noise level at which the prediction says nothing about the image.
pub fn solver<L: Latents + 'static>(schedule: &NoiseSchedule, steps: usize) -> Result<Box<dyn Solver<L>>, ConfigError> {
    Ok(match schedule.config().class {
        SchedulerClass::Ddim => Box::new(ddim::Ddim::new(schedule, steps)?),
        SchedulerClass::Pndm => Box::new(pndm::Pndm::new(schedule, steps)?),
        SchedulerClass::EulerDiscrete | SchedulerClass::EulerAncestralDiscrete => Box::new(euler::Euler::new(schedule, steps)?),
        SchedulerClass::DpmSolverMultistep => Box::new(dpm::Dpm::new(schedule, steps)?),
        SchedulerClass::Lcm => Box::new(lcm::Lcm::new(schedule, steps)?),
    })
}

/// The solver's timesteps, without sampling anything.
///
/// # Errors
/// See [`solver`].
pub fn timesteps(schedule: &NoiseSchedule, steps: usize) -> Result<Vec<f64>, ConfigError> {
    Ok(solver::<Vec<f64>>(schedule, steps)?.timesteps().to_vec())
}

/// The index of the first evaluation when a solver of `steps` steps begins with an image: `strength` 1 takes all of them, 0 none, as in
/// diffusers' image-to-image pipelines.
pub fn first_evaluation(steps: usize, strength: f64) -> usize {
    // A fraction that is no number takes all steps.
    let taken = if strength.is_nan() { steps } else { (steps as f64 * strength.clamp(0.0, 1.0)) as usize };
    steps - taken.min(steps)
}
