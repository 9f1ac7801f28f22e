//! Sines and cosines of a number, at a ladder of frequencies.

use burn::tensor::{DType, Device, Tensor, TensorData};

/// diffusers' `get_timestep_embedding` with `max_period = 10000`.
///
/// `values` is `[n]`, the result `[n, size]` in f32 (`size` even): with `h = size / 2` and
/// `f_i = exp(-ln(10000) i / (h - freq_shift))`, the sines of `v f_i` and then their cosines, or the other way round with
/// `flip_sin_to_cos`.
pub fn timestep_features(values: Tensor<1>, size: usize, flip_sin_to_cos: bool, freq_shift: f64) -> Tensor<2> {
    let half = size / 2;
    // The exponent is rounded to f32 where PyTorch rounds it: at t = 999 that difference would be seen.
    let decay = -(10000f64.ln()) as f32;
    let frequencies: Vec<f32> = (0..half).map(|i| f64::from(decay * i as f32 / (half as f64 - freq_shift) as f32).exp() as f32).collect();
    let device = values.device();
    let frequencies = Tensor::<2>::from_data(TensorData::new(frequencies, [1, half]), (&device, DType::F32));
    let [n] = values.dims();
    let values = if values.dtype() == DType::F32 { values } else { values.cast(DType::F32) };
    let angles = values.reshape([n, 1]) * frequencies;
    let (sines, cosines) = (angles.clone().sin(), angles.cos());
    if flip_sin_to_cos { Tensor::cat(vec![cosines, sines], 1) } else { Tensor::cat(vec![sines, cosines], 1) }
}

/// diffusers' `get_guidance_scale_embedding`: the features of a guidance scale for networks distilled to take it as an input, `[1, size]` in f32.
///
/// With `w = scale − 1` and `h = size / 2`: the sines of `1000 w f_i` and then their cosines, `f_i = exp(-ln(10000) i / (h - 1))`; a last
/// feature of 0 if `size` is odd.
pub fn guidance_features(scale: f64, size: usize, device: &Device) -> Tensor<2> {
    let half = size / 2;
    // Rounded to f32 where PyTorch rounds it: angles are so large that a difference would be seen.
    let w = (scale as f32 - 1.0) * 1000.0;
    let step = 10000f32.ln() / half.saturating_sub(1) as f32;
    let angles = (0..half).map(|i| f64::from(w * f64::from(i as f32 * -step).exp() as f32));
    let mut features: Vec<f32> = angles.clone().map(|angle| angle.sin() as f32).chain(angles.map(|angle| angle.cos() as f32)).collect();
    features.resize(size, 0.0);
    Tensor::from_data(TensorData::new(features, [1, size]), (device, DType::F32))
}
