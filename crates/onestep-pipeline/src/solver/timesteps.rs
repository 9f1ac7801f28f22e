//! The timesteps that solvers of few steps visit, as diffusers computes them.

use crate::{
    config::{ConfigError, SchedulerConfig, TimestepSpacing},
    schedule::NoiseSchedule,
};

/// Refuses numbers of steps that a schedule does not have.
pub(super) fn check_steps(config: &SchedulerConfig, steps: usize) -> Result<(), ConfigError> {
    let count = config.num_train_timesteps;
    if (1..=count).contains(&steps) {
        return Ok(());
    }
    Err(ConfigError::Request(format!("a sampler cannot have {steps} steps, only 1 to num_train_timesteps = {count}")))
}

/// `count` numbers from 0 to `last`, the first and the last included; `[0]` for one.
pub(super) fn linspace(last: f64, count: usize) -> impl DoubleEndedIterator<Item = f64> + ExactSizeIterator {
    (0..count).map(move |i| if i > 0 && i + 1 == count { last } else { i as f64 * (last / (count - 1).max(1) as f64) })
}

/// Timesteps counted down from `from`, `count / steps` apart.
///
/// diffusers counts with `numpy.arange`, which for some numbers of steps (61, 103, 121, …) adds a timestep of −1.
pub(super) fn trailing(count: usize, from: usize, steps: usize) -> Vec<f64> {
    let length = count as f64 / steps as f64;
    let values = (0..steps).map(|i| from as f64 - i as f64 * length).take_while(|&value| value > 0.0);
    values.map(|value| (value.round_ties_even() - 1.0).max(0.0)).collect()
}

/// The timesteps of DDIM, PNDM and Euler, noisiest first. Those of `linspace` are not rounded.
pub(super) fn spaced(schedule: &NoiseSchedule, steps: usize) -> Result<Vec<f64>, ConfigError> {
    let config = schedule.config();
    check_steps(config, steps)?;
    let count = config.num_train_timesteps;
    let timesteps: Vec<f64> = match config.timestep_spacing {
        TimestepSpacing::Linspace => linspace((count - 1) as f64, steps).rev().collect(),
        TimestepSpacing::Leading => (0..steps).rev().map(|i| (i * (count / steps) + config.steps_offset) as f64).collect(),
        TimestepSpacing::Trailing => trailing(count, count, steps),
    };
    schedule.check(timesteps[0] as usize)?;
    Ok(timesteps)
}

/// [`spaced`], rounded to the schedule's timesteps.
pub(super) fn rounded(schedule: &NoiseSchedule, steps: usize) -> Result<Vec<usize>, ConfigError> {
    Ok(spaced(schedule, steps)?.into_iter().map(|timestep| timestep.round_ties_even() as usize).collect())
}
