//! DPM-Solver++ (Lu et al. 2022, "Fast solver for guided sampling …"), multistep, of order 1 to 3, and its SDE form: diffusers'
//! `DPMSolverMultistepScheduler`.

use super::{
    latents::{Latents, combine},
    method::Solver,
    sigmas,
    timesteps::{check_steps, linspace, trailing},
};
use crate::{
    config::{ConfigError, FinalSigma, SigmaSpacing, TimestepSpacing},
    schedule::{Level, NoiseSchedule},
};

/// Solvers of fewer steps end with lower orders if `lower_order_final` says so.
const FEW: usize = 15;
/// Two levels are the same if their ratio is closer to 1.
const SAME: f64 = 1.0 + 1e-9;

pub(super) struct Dpm<L> {
    schedule: NoiseSchedule,
    timesteps: Vec<f64>,
    /// σ/α before each step, and after the last.
    sigmas: Vec<f64>,
    /// Predicted clean latents, the newest last.
    history: Vec<L>,
}

impl<L: Latents> Dpm<L> {
    pub fn new(schedule: &NoiseSchedule, steps: usize) -> Result<Self, ConfigError> {
        let config = schedule.config();
        check_steps(config, steps)?;
        let table = sigmas::table(schedule);
        let (least, most) = (table[0], table[table.len() - 1]);
        let timesteps: Vec<f64>;
        let mut levels: Vec<f64>;
        if config.sigma_spacing == SigmaSpacing::Timesteps {
            // λ = ln(α/σ) is −ln of the table's ratio.
            let count = table.iter().filter(|&&ratio| -ratio.ln() >= config.lambda_min_clipped).count();
            if count == 0 {
                let clipped = config.lambda_min_clipped;
                return Err(ConfigError::Request(format!("lambda_min_clipped = {clipped} leaves no timestep; expected a smaller number")));
            }
            timesteps = match config.timestep_spacing {
                TimestepSpacing::Linspace => linspace((count - 1) as f64, steps + 1).skip(1).rev().map(f64::round_ties_even).collect(),
                TimestepSpacing::Leading => (1..=steps).rev().map(|i| (i * (count / (steps + 1)) + config.steps_offset) as f64).collect(),
                TimestepSpacing::Trailing => trailing(config.num_train_timesteps, count, steps),
            };
            schedule.check(timesteps[0] as usize)?;
            levels = timesteps.iter().map(|&timestep| sigmas::at(&table, timestep)).collect();
        } else {
            levels = sigmas::respaced(config.sigma_spacing, config.sigma_max.unwrap_or(most), config.sigma_min.unwrap_or(least), steps);
            timesteps = levels.iter().map(|&sigma| sigmas::timestep(&table, sigma).round_ties_even()).collect();
        }
        levels.push(if config.final_sigma == FinalSigma::SigmaMin { least } else { 0.0 });
        // Equal levels would divide by zero: more steps than levels. Only the last step may do nothing.
        if let Some(pair) = levels[..levels.len() - 1].windows(2).find(|pair| pair[0] <= pair[1] * SAME) {
            return Err(ConfigError::Request(format!(
                "DPMSolverMultistepScheduler in {steps} steps visits noise levels {} and {} in turn, expected falling ones; try fewer steps",
                pair[0], pair[1]
            )));
        }
        Ok(Self { schedule: schedule.clone(), timesteps, sigmas: levels, history: Vec::new() })
    }

    /// The order of a step.
    fn order(&self, index: usize) -> usize {
        let config = self.schedule.config();
        let count = self.timesteps.len();
        let few = config.lower_order_final && count < FEW;
        let (last, second_last) = (index + 1 == count, index + 2 == count);
        let most = if last && (config.euler_at_final || few || config.final_sigma == FinalSigma::Zero) {
            1
        } else if second_last && few {
            2
        } else {
            3
        };
        config.solver_order.min(self.history.len()).min(most)
    }
}

impl<L: Latents> Solver<L> for Dpm<L> {
    fn timesteps(&self) -> &[f64] {
        &self.timesteps
    }

    fn noising(&self, index: usize) -> Level {
        Level::of_ratio(self.sigmas[index])
    }

    fn is_stochastic(&self) -> bool {
        self.schedule.config().stochastic
    }

    fn step(&mut self, index: usize, sample: L, output: L, noise: &mut dyn FnMut() -> L) -> L {
        let config = self.schedule.config();
        let (level, next) = (Level::of_ratio(self.sigmas[index]), Level::of_ratio(self.sigmas[index + 1]));
        let [of_sample, of_output] = level.original(config.prediction_type);
        let original = combine((of_sample, &sample), &[(of_output, &output)]);
        if self.history.len() == config.solver_order {
            self.history.remove(0);
        }
        self.history.push(original);

        if self.sigmas[index] <= self.sigmas[index + 1] * SAME {
            return sample;
        }
        // λ = ln(α/σ), `from` steps ago.
        let lambda = |from: usize| -self.sigmas[index - from].ln();
        let h = -self.sigmas[index + 1].ln() - lambda(0);
        // 1 − e^(−h), and 1 − e^(−2h) of the SDE.
        let grown = -(-h).exp_m1();
        let (kept, whole, slope) = if config.stochastic {
            let grown = -(-2.0 * h).exp_m1();
            (next.sigma / level.sigma * (-h).exp(), grown, 1.0 - grown / (2.0 * h))
        } else {
            (next.sigma / level.sigma, grown, 1.0 - grown / h)
        };
        let slope = if h.is_finite() { slope } else { 1.0 };
        let mut sum = sample.scale(kept);
        let order = self.order(index);
        let newest = |ago: usize| &self.history[self.history.len() - 1 - ago];
        sum = sum.add(newest(0).clone().scale(next.alpha * whole));
        if order == 2 {
            let ratio = (lambda(0) - lambda(1)) / h;
            let factor = next.alpha * if config.heun { slope } else { 0.5 * whole } / ratio;
            sum = sum.add(combine((factor, newest(0)), &[(-factor, newest(1))]));
        }
        if order == 3 {
            let (r0, r1) = ((lambda(0) - lambda(1)) / h, (lambda(1) - lambda(2)) / h);
            // The curvature's factor: (e^(−h) − 1 + h)/h² − ½, or with 2h in the SDE.
            let scale = if config.stochastic { 2.0 * h } else { h };
            let curve = if config.stochastic {
                // diffusers has (1 − e^(−2h) − 2h)/(2h)² − ½ with a plus before it.
                (whole - scale) / (scale * scale) - 0.5
            } else {
                -((scale - whole) / (scale * scale) - 0.5)
            };
            // D1 = d0 + r0/(r0+r1)·(d0 − d1), D2 = (d0 − d1)/(r0+r1), with d0 = (m0 − m1)/r0 and d1 = (m1 − m2)/r1.
            let difference = next.alpha * (slope * r0 + curve) / (r0 + r1);
            let (d0, d1) = ((next.alpha * slope + difference) / r0, -difference / r1);
            sum = sum.add(combine((d0, newest(0)), &[(d1 - d0, newest(1)), (-d1, newest(2))]));
        }
        let fresh = next.sigma * (-(-2.0 * h).exp_m1()).max(0.0).sqrt();
        if config.stochastic && fresh > 0.0 { sum.add(noise().scale(fresh)) } else { sum }
    }
}
