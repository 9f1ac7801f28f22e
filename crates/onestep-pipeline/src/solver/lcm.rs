//! Multistep consistency sampling of Luo et al. 2023 ("Latent consistency models"): diffusers' `LCMScheduler`.

use super::{
    latents::{Latents, combine},
    method::Solver,
    timesteps::check_steps,
};
use crate::{
    config::{ConfigError, SchedulerConfig},
    schedule::{Level, NoiseSchedule},
};

/// Standard deviation of the data in the boundary condition.
const SIGMA_DATA: f64 = 0.5;

/// The factors c_skip of the sample and c_out of the predicted clean latent, which make the consistency function the identity at timestep 0.
pub(crate) fn boundary(config: &SchedulerConfig, timestep: f64) -> (f64, f64) {
    let scaled = timestep * config.timestep_scaling;
    let square = scaled * scaled + SIGMA_DATA * SIGMA_DATA;
    (SIGMA_DATA * SIGMA_DATA / square, scaled / square.sqrt())
}

/// The timesteps that a student was trained on, noisiest first.
pub(crate) fn trained_timesteps(config: &SchedulerConfig) -> Vec<usize> {
    let length = config.num_train_timesteps / config.original_inference_steps;
    (1..=config.original_inference_steps).rev().map(|i| i * length - 1).collect()
}

pub(super) struct Lcm {
    schedule: NoiseSchedule,
    timesteps: Vec<f64>,
}

impl Lcm {
    pub fn new(schedule: &NoiseSchedule, steps: usize) -> Result<Self, ConfigError> {
        let config = schedule.config();
        check_steps(config, steps)?;
        let trained = trained_timesteps(config);
        if steps > trained.len() {
            return Err(ConfigError::Request(format!(
                "LCMScheduler cannot have {steps} steps, only 1 to original_inference_steps = {}",
                trained.len()
            )));
        }
        let timesteps: Vec<usize> = (0..steps).map(|i| trained[(i as f64 * (trained.len() as f64 / steps as f64)).floor() as usize]).collect();
        timesteps.iter().try_for_each(|&timestep| schedule.check_prediction(timestep))?;
        Ok(Self { schedule: schedule.clone(), timesteps: timesteps.into_iter().map(|timestep| timestep as f64).collect() })
    }
}

impl<L: Latents> Solver<L> for Lcm {
    fn timesteps(&self) -> &[f64] {
        &self.timesteps
    }

    fn noising(&self, index: usize) -> Level {
        self.schedule.level(self.timesteps[index] as usize)
    }

    fn is_stochastic(&self) -> bool {
        self.timesteps.len() > 1
    }

    fn step(&mut self, index: usize, sample: L, output: L, noise: &mut dyn FnMut() -> L) -> L {
        let config = self.schedule.config();
        let level = self.schedule.level(self.timesteps[index] as usize);
        let (skip, out) = boundary(config, self.timesteps[index]);
        let [of_sample, of_output] = level.original(config.prediction_type);
        let denoised = if config.clip_sample {
            let original = combine((of_sample, &sample), &[(of_output, &output)]).clamp(config.clip_sample_range);
            combine((out, &original), &[(skip, &sample)])
        } else {
            combine((out * of_sample + skip, &sample), &[(out * of_output, &output)])
        };
        match self.timesteps.get(index + 1) {
            Some(&next) => {
                let next = self.schedule.level(next as usize);
                combine((next.alpha, &denoised), &[(next.sigma, &noise())])
            }
            None => denoised,
        }
    }
}
