//! Sampling with a teacher: integrates the probability-flow ODE from noise to a latent, with classifier-free guidance.
//!
//! The result is a deterministic function of noise and prompt. [`Solver`] is the numerical method, [`solver`] chooses one by the teacher's
//! scheduler.

use burn::tensor::{Device, Int, Tensor, TensorData};
use onestep_nets::{ClipTextModel, Conditioning, ConfigError, DdimStep, Generator, NoiseProcess, NoiseSchedule, OneStepRule, UNet2DConditionModel};
use onestep_noise::standard_normal;

use crate::{data::CaptionTokenizer, error::TrainError, observer::Observer};

/// The conditions of prompts.
///
/// # Errors
/// A prompt that the tokenizer refuses.
pub fn encode_prompts(
    text_encoder: &ClipTextModel,
    tokenizer: &CaptionTokenizer,
    prompts: &[&str],
    device: &Device,
) -> Result<Conditioning, TrainError> {
    let mut ids = Vec::with_capacity(prompts.len() * tokenizer.length());
    for prompt in prompts {
        ids.extend(tokenizer.encode(prompt)?);
    }
    Ok(text_encoder.forward(id_tensor(&ids, tokenizer.length(), device)).last_hidden_state.into())
}

/// Tells how many captions are longer than the tokenizer reads, if there are any.
///
/// # Errors
/// A caption above 64 KiB.
pub fn note_long_captions<'a>(
    tokenizer: &CaptionTokenizer,
    captions: impl IntoIterator<Item = &'a str>,
    observer: &mut dyn Observer,
) -> Result<(), TrainError> {
    if let Some(long) = tokenizer.long_captions(captions)? {
        observer.note(&long.to_string());
    }
    Ok(())
}

/// Token ids as [N, tokens].
pub fn id_tensor(ids: &[u32], tokens: usize, device: &Device) -> Tensor<2, Int> {
    let data: Vec<i32> = ids.iter().map(|&id| id as i32).collect();
    Tensor::from_data(TensorData::new(data, [ids.len() / tokens, tokens]), device)
}

/// The noises of some seeds: [N, channels, rows, columns]. `shape` is [channels, rows, columns].
pub fn noises(seeds: &[u64], shape: [usize; 3], device: &Device) -> Tensor<4> {
    let count = shape.iter().product();
    let data: Vec<f32> = seeds.iter().flat_map(|&seed| standard_normal(seed, count)).collect();
    Tensor::from_data(TensorData::new(data, [seeds.len(), shape[0], shape[1], shape[2]]), device)
}

/// A numerical method that integrates the probability-flow ODE from noise to a latent in a fixed number of steps.
pub trait Solver {
    /// Number of steps. Each evaluates the network once (twice with guidance).
    fn steps(&self) -> usize;
    /// The timestep that the network is told in step `index`; index 0 is the noisiest.
    fn timestep(&self, index: usize) -> f32;
    /// The latents after step `index`, from the latents before it and the network's prediction for them, all [N,C,H,W].
    fn step(&self, x: Tensor<4>, prediction: Tensor<4>, index: usize) -> Tensor<4>;
}

/// The solver for a teacher's noise process.
///
/// This match is the only place that depends on the scheduler. For flow matching with Euler steps, `FlowMatchEulerDiscreteScheduler` becomes a
/// scheduler class that `SchedulerConfig` reads, with a new [`NoiseProcess`]; the compiler then asks for an arm here, which returns an
/// Euler [`Solver`]. Two other places use the noise process: the teacher's loss (`teacher::NoisePrediction`) and [`one_step`].
///
/// # Errors
/// More steps than the schedule has timesteps, or none.
pub fn solver(schedule: &NoiseSchedule, steps: usize) -> Result<Box<dyn Solver + '_>, ConfigError> {
    match schedule.config().process() {
        NoiseProcess::VariancePreserving => Ok(Box::new(Ddim { schedule, steps: schedule.timesteps(steps)? })),
    }
}

/// DDIM with η = 0 (Song et al. 2021), for networks that predict ε. It is the Euler method in the variables x/α and σ/α.
struct Ddim<'a> {
    schedule: &'a NoiseSchedule,
    steps: Vec<DdimStep>,
}

impl Solver for Ddim<'_> {
    fn steps(&self) -> usize {
        self.steps.len()
    }

    fn timestep(&self, index: usize) -> f32 {
        self.steps[index].timestep as f32
    }

    fn step(&self, x: Tensor<4>, prediction: Tensor<4>, index: usize) -> Tensor<4> {
        let step = self.steps[index];
        let (alpha, sigma) = (self.schedule.alpha(step.timestep), self.schedule.sigma(step.timestep));
        let level = match step.previous {
            Some(previous) => self.schedule.alphas_cumprod()[previous],
            None if self.schedule.config().set_alpha_to_one => 1.0,
            None => self.schedule.alphas_cumprod()[0],
        };
        let original = (x - prediction.clone().mul_scalar(sigma)).div_scalar(alpha);
        original.mul_scalar(level.sqrt()) + prediction.mul_scalar((1.0 - level).sqrt())
    }
}

/// A teacher with solver steps and guidance.
pub struct Sampler<'a> {
    /// The denoiser.
    pub unet: &'a UNet2DConditionModel,
    /// Its noise schedule.
    pub schedule: &'a NoiseSchedule,
    /// Steps of the solver.
    pub steps: usize,
    /// Guidance scale w of `ε(∅) + w·(ε(c) − ε(∅))` (Ho and Salimans 2022); 1 evaluates the conditional prediction only.
    pub guidance: f64,
}

impl Sampler<'_> {
    /// Evaluations of the network per image.
    pub fn evaluations(&self) -> usize {
        evaluations(self.steps, self.guidance)
    }

    /// Integrates noise `z` [N,C,H,W] with the conditions of N prompts to model-space latents [N,C,H,W]. `empty` is the condition of the
    /// empty prompt, or of a negative one.
    ///
    /// # Errors
    /// See [`solver`].
    pub fn latents(&self, z: Tensor<4>, condition: Conditioning, empty: &Conditioning) -> Result<Tensor<4>, ConfigError> {
        let solver = solver(self.schedule, self.steps)?;
        let count = z.dims()[0];
        let device = z.device();
        let guided = is_guided(self.guidance);
        let context = if guided { empty.clone().repeat(count).cat(condition) } else { condition };
        let mut x = z;
        for index in 0..solver.steps() {
            let input = if guided { x.clone().repeat_dim(0, 2) } else { x.clone() };
            let time = Tensor::<1>::from_data(TensorData::new(vec![solver.timestep(index)], [1]), &device);
            let output = self.unet.forward(input, time, context.states.clone(), context.added.clone());
            let prediction = if guided {
                let unconditional = output.clone().narrow(0, 0, count);
                let conditional = output.narrow(0, count, count);
                unconditional.clone() + (conditional - unconditional).mul_scalar(self.guidance)
            } else {
                output
            };
            x = solver.step(x, prediction, index);
        }
        Ok(x)
    }
}

/// Evaluations of the network per image: one for each solver step, twice that with guidance.
pub fn evaluations(steps: usize, guidance: f64) -> usize {
    if is_guided(guidance) { 2 * steps } else { steps }
}

fn is_guided(guidance: f64) -> bool {
    (guidance - 1.0).abs() > f64::EPSILON
}

/// The timestep of the student's evaluation, the noisiest.
pub const STUDENT_TIMESTEP: usize = 999;

/// The student's latents for noise `z` [N,C,H,W] and the conditions of N prompts: one evaluation of a [`Generator`].
pub fn one_step(unet: &UNet2DConditionModel, rule: OneStepRule, z: Tensor<4>, condition: Conditioning) -> Tensor<4> {
    Generator::new(unet.clone(), rule).forward(z, condition)
}

#[cfg(test)]
mod tests {
    use super::*;
    use onestep_nets::{SchedulerConfig, add_noise};
    use onestep_noise::{Stream, normal};

    /// With the exact ε of a single data point x₀, every step ends on the line α x₀ + σ ε, and the last one at x₀.
    #[test]
    fn ddim_integrates_the_ode_of_one_point_exactly() {
        let schedule = NoiseSchedule::new(&SchedulerConfig { set_alpha_to_one: true, ..SchedulerConfig::default() }).unwrap();
        let device = Device::flex();
        let tensor = |index| Tensor::<4>::from_data(TensorData::new(normal(5, Stream::Training, index, 48), [1, 3, 4, 4]), &device);
        let (point, noise) = (tensor(0), tensor(1));
        for steps in [1, 4, 50] {
            let solver = solver(&schedule, steps).unwrap();
            assert_eq!((solver.steps(), solver.timestep(0)), (steps, 999.0));
            let mut x = add_noise(&schedule, point.clone(), noise.clone(), &[999]);
            for index in 0..steps {
                x = solver.step(x, noise.clone(), index);
            }
            let error: f32 = (x - point.clone()).abs().max().into_scalar();
            assert!(error < 1e-3, "{steps} steps: {error}");
        }
        assert!(solver(&schedule, 0).is_err() && solver(&schedule, 1001).is_err());
    }
}
