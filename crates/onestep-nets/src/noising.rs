//! Noise added to latents.

use burn::tensor::{DType, Tensor, TensorData};
use onestep_pipeline::schedule::NoiseSchedule;

/// `alpha_t sample + sigma_t noise`, with one timestep for each element of the batch (or one for all).
///
/// # Panics
/// If a timestep does not pass [`NoiseSchedule::check`], or their number is neither 1 nor the batch's.
pub fn add_noise(schedule: &NoiseSchedule, sample: Tensor<4>, noise: Tensor<4>, timesteps: &[usize]) -> Tensor<4> {
    let device = sample.device();
    let dtype = sample.dtype();
    let column = |values: Vec<f32>| {
        let column = Tensor::<4>::from_data(TensorData::new(values, [timesteps.len(), 1, 1, 1]), (&device, DType::F32));
        if dtype == DType::F32 { column } else { column.cast(dtype) }
    };
    let alpha = column(timesteps.iter().map(|&t| schedule.alpha(t) as f32).collect());
    let sigma = column(timesteps.iter().map(|&t| schedule.sigma(t) as f32).collect());
    sample * alpha + noise * sigma
}
