//! Noise levels σ/α for solvers that integrate in them: Euler and DPM-Solver.

use crate::{config::SigmaSpacing, schedule::NoiseSchedule};

/// The exponent of the spacing of Karras et al. 2022.
const RHO: f64 = 7.0;

/// σ/α of every timestep of a schedule, increasing.
pub(super) fn table(schedule: &NoiseSchedule) -> Vec<f64> {
    schedule.alphas_cumprod().iter().map(|alpha| ((1.0 - alpha) / alpha).sqrt()).collect()
}

/// The level at a timestep between two of the table, by linear interpolation.
pub(super) fn at(table: &[f64], timestep: f64) -> f64 {
    let last = table.len() - 1;
    let timestep = timestep.clamp(0.0, last as f64);
    let low = timestep as usize;
    let high = (low + 1).min(last);
    table[low] + (table[high] - table[low]) * (timestep - low as f64)
}

/// The timestep of a level, by linear interpolation of its logarithm.
pub(super) fn timestep(table: &[f64], sigma: f64) -> f64 {
    if table.len() < 2 {
        return 0.0;
    }
    let low = table.partition_point(|&entry| entry <= sigma).saturating_sub(1).min(table.len() - 2);
    let (log, from, to) = (sigma.max(1e-10).ln(), table[low].ln(), table[low + 1].ln());
    let weight = if from == to { 0.0 } else { ((from - log) / (from - to)).clamp(0.0, 1.0) };
    low as f64 + weight
}

/// `steps` levels from `max` to `min`, spaced otherwise than by timesteps.
pub(super) fn respaced(spacing: SigmaSpacing, max: f64, min: f64, steps: usize) -> Vec<f64> {
    let ramp = |from: f64, to: f64| super::timesteps::linspace(1.0, steps).map(move |part| from + part * (to - from));
    match spacing {
        SigmaSpacing::Karras => ramp(max.powf(1.0 / RHO), min.powf(1.0 / RHO)).map(|root| root.powf(RHO)).collect(),
        SigmaSpacing::Exponential | SigmaSpacing::Lu | SigmaSpacing::Timesteps => ramp(max.ln(), min.ln()).map(f64::exp).collect(),
    }
}
