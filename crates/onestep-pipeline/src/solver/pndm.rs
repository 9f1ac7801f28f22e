//! Pseudo numerical methods of Liu et al. 2022: diffusers' `PNDMScheduler`, which begins with Runge–Kutta steps (PRK) or, as all published
//! Stable Diffusion files have it (`skip_prk_steps`), with linear multistep ones of lower order (PLMS).

use super::{
    ddim::previous_level,
    latents::{Latents, combine},
    method::Solver,
    timesteps::rounded,
};
use crate::{
    config::ConfigError,
    schedule::{Level, NoiseSchedule},
};

/// Solver steps that the Runge–Kutta start takes.
const PRK_STEPS: usize = 3;

pub(super) struct Pndm<L> {
    schedule: NoiseSchedule,
    timesteps: Vec<f64>,
    /// Timesteps from one step to the next.
    length: usize,
    /// Evaluations of the Runge–Kutta start.
    prk: usize,
    /// The timestep at which each Runge–Kutta step begins.
    prk_from: Vec<usize>,
    /// Steps taken, which with an initial image are fewer than the index says.
    counter: usize,
    /// Outputs of the network, the newest last.
    history: Vec<L>,
    /// The sample at the beginning of the step.
    from: Option<L>,
    /// The weighted sum of outputs of a Runge–Kutta step.
    sum: Option<L>,
}

impl<L: Latents> Pndm<L> {
    pub fn new(schedule: &NoiseSchedule, steps: usize) -> Result<Self, ConfigError> {
        let config = schedule.config();
        let visited = rounded(schedule, steps)?;
        let length = config.num_train_timesteps / steps;
        let (mut timesteps, mut prk_from) = (Vec::new(), Vec::new());
        if config.skip_prk_steps {
            timesteps.push(visited[0]);
            // The first step is taken twice: to its end, and again with the mean of both slopes.
            timesteps.extend(visited.get(1));
            timesteps.extend(&visited[1..]);
        } else {
            if visited.len() <= PRK_STEPS {
                return Err(ConfigError::Request(format!(
                    "PNDMScheduler with Runge–Kutta steps (skip_prk_steps = false) needs at least {} steps, found {steps}",
                    PRK_STEPS + 1
                )));
            }
            for pair in visited.windows(2).take(PRK_STEPS) {
                let middle = pair[1] + length / 2;
                timesteps.extend([pair[0], middle, middle, pair[1]]);
                prk_from.push(pair[0]);
            }
            timesteps.extend(&visited[PRK_STEPS..]);
        }
        timesteps.iter().try_for_each(|&timestep| schedule.check_prediction(timestep))?;
        Ok(Self {
            schedule: schedule.clone(),
            timesteps: timesteps.into_iter().map(|timestep| timestep as f64).collect(),
            length,
            prk: 4 * prk_from.len(),
            prk_from,
            counter: 0,
            history: Vec::new(),
            from: None,
            sum: None,
        })
    }

    /// Equation 9 of the paper: the sample at the level `to` from that at `from`, with the noise (or velocity) `output`.
    fn transfer(&self, sample: &L, output: &L, from: usize, to: Level) -> L {
        let level = self.schedule.level(from.min(self.schedule.alphas_cumprod().len() - 1));
        let noise = level.noise(self.schedule.config().prediction_type);
        let (a, b) = (level.alpha * level.alpha, to.alpha * to.alpha);
        let denominator = a * to.sigma + (a * level.sigma * level.sigma * b).sqrt();
        let factor = if denominator == 0.0 { 0.0 } else { -(b - a) / denominator };
        combine((to.alpha / level.alpha + factor * noise[0], sample), &[(factor * noise[1], output)])
    }

    fn step_prk(&mut self, timestep: usize, sample: L, output: L) -> L {
        let (part, from) = (self.counter % 4, self.prk_from[self.counter / 4]);
        let to = if part % 2 == 0 { timestep.checked_sub(self.length / 2) } else { Some(timestep) };
        let to = match to {
            Some(to) => self.schedule.level(to),
            None => previous_level(&self.schedule, 0, 1),
        };
        let weight = if part % 3 == 0 { 1.0 / 6.0 } else { 1.0 / 3.0 };
        let weighted = output.clone().scale(weight);
        let sum = match self.sum.take() {
            Some(sum) => sum.add(weighted),
            None => weighted,
        };
        if part == 0 {
            self.history.push(output.clone());
            self.from = Some(sample.clone());
        }
        let base = self.from.clone().unwrap_or(sample);
        if part == 3 {
            return self.transfer(&base, &sum, from, to);
        }
        self.sum = Some(sum);
        self.transfer(&base, &output, from, to)
    }

    fn step_plms(&mut self, timestep: usize, mut sample: L, output: L) -> L {
        let (mut from, mut to) = (timestep, previous_level(&self.schedule, timestep, self.length));
        let repeated = self.counter == 1;
        if repeated {
            (from, to) = (timestep + self.length, self.schedule.level(timestep));
        } else {
            if self.history.len() == 4 {
                self.history.remove(0);
            }
            self.history.push(output.clone());
        }
        let slope = match (&self.history[..], repeated) {
            ([first], true) => {
                sample = self.from.take().unwrap_or(sample);
                combine((0.5, &output), &[(0.5, first)])
            }
            ([a, b], _) => combine((1.5, b), &[(-0.5, a)]),
            ([a, b, c], _) => combine((23.0 / 12.0, c), &[(-16.0 / 12.0, b), (5.0 / 12.0, a)]),
            ([a, b, c, d], _) => combine((55.0 / 24.0, d), &[(-59.0 / 24.0, c), (37.0 / 24.0, b), (-9.0 / 24.0, a)]),
            _ => {
                self.from = Some(sample.clone());
                output
            }
        };
        self.transfer(&sample, &slope, from, to)
    }
}

impl<L: Latents> Solver<L> for Pndm<L> {
    fn timesteps(&self) -> &[f64] {
        &self.timesteps
    }

    fn noising(&self, index: usize) -> Level {
        self.schedule.level(self.timesteps[index] as usize)
    }

    fn step(&mut self, index: usize, sample: L, output: L, _: &mut dyn FnMut() -> L) -> L {
        let timestep = self.timesteps[index] as usize;
        let next = if self.counter < self.prk { self.step_prk(timestep, sample, output) } else { self.step_plms(timestep, sample, output) };
        self.counter += 1;
        next
    }
}
