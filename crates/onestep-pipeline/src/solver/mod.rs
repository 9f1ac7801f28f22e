//! Solvers: from noise to a latent in a fixed number of evaluations of a network, as diffusers' schedulers do it.

mod ddim;
mod dpm;
mod euler;
mod latents;
pub(crate) mod lcm;
mod method;
mod pndm;
mod sigmas;
mod timesteps;

pub use latents::Latents;
pub use method::Solver;

use crate::{
    config::{ConfigError, SchedulerClass},
    schedule::NoiseSchedule,
};

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
