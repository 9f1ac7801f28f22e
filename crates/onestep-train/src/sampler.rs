//! Sampling with a teacher: from noise to a latent by the solver of its scheduler (`onestep_pipeline::solver`), with classifier-free guidance.

use burn::tensor::{Device, Int, Tensor, TensorData};
use onestep_nets::{ClipTextModel, Conditioning, ConfigError, Generator, NoiseSchedule, OneStepRule, UNet2DConditionModel};
use onestep_noise::{Stream, normal, standard_normal};
use onestep_pipeline::solver::{self, Latents, first_evaluation, solver};

use crate::{data::CaptionTokenizer, error::TrainError, observer::Observer};

/// The conditions of prompts, by a single text encoder.
///
/// # Errors
/// A prompt that the tokenizer refuses.
pub fn encode_prompts(
    text_encoder: &ClipTextModel,
    tokenizer: &CaptionTokenizer,
    prompts: &[&str],
    device: &Device,
) -> Result<Conditioning, TrainError> {
    Ok(text_encoder.forward(prompt_ids(tokenizer, prompts, device)?).last_hidden_state.into())
}

/// The token ids of prompts as [N, tokens].
///
/// # Errors
/// A prompt that the tokenizer refuses.
pub fn prompt_ids(tokenizer: &CaptionTokenizer, prompts: &[&str], device: &Device) -> Result<Tensor<2, Int>, TrainError> {
    let mut ids = Vec::with_capacity(prompts.len() * tokenizer.length());
    for prompt in prompts {
        ids.extend(tokenizer.encode(prompt)?);
    }
    Ok(id_tensor(&ids, tokenizer.length(), device))
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

/// Latents [N,C,H,W] as solvers take them.
#[derive(Clone)]
struct TensorLatents(Tensor<4>);

impl Latents for TensorLatents {
    fn scale(self, factor: f64) -> Self {
        Self(self.0.mul_scalar(factor))
    }

    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    fn clamp(self, limit: f64) -> Self {
        Self(self.0.clamp(-limit, limit))
    }
}

/// A teacher with solver steps and guidance.
pub struct Sampler<'a> {
    /// The denoiser.
    pub unet: &'a UNet2DConditionModel,
    /// Its noise schedule; the schedule's configuration decides the solver.
    pub schedule: &'a NoiseSchedule,
    /// Steps of the solver.
    pub steps: usize,
    /// Guidance scale w of `ε(∅) + w·(ε(c) − ε(∅))` (Ho and Salimans 2022); 1 evaluates the conditional prediction only, and so do networks
    /// that are told the guidance (`Conditioning::guidance`).
    pub guidance: f64,
}

/// Where sampling begins.
#[allow(clippy::large_enum_variant, reason = "there is one of it")]
pub enum Start {
    /// Unit Gaussian noise [N,C,H,W].
    Noise(Tensor<4>),
    /// An image's latents [N,C,H,W] with noise of the same shape.
    Image {
        /// The model-space latents of the images.
        latents: Tensor<4>,
        /// Unit Gaussian noise.
        noise: Tensor<4>,
        /// Fraction of the steps that are taken, 0 to 1; 0 keeps the image.
        strength: f64,
    },
}

/// One evaluation of a sampler.
pub struct Evaluation<'a> {
    /// Its index; an initial image skips the first ones.
    pub index: usize,
    /// Number of evaluations of the whole solver.
    pub count: usize,
    /// The latents after it, [N,C,H,W], in the units of the solver: those of Euler's have the noise's standard deviation σ/α until the last step.
    pub latents: &'a Tensor<4>,
}

impl Sampler<'_> {
    /// Evaluations of the network per image: twice as many with guidance, unless the network is told the guidance.
    ///
    /// # Errors
    /// A number of steps that the scheduler's class cannot take.
    pub fn evaluations(&self) -> Result<usize, ConfigError> {
        let count = solver::timesteps(self.schedule, self.steps)?.len();
        Ok(if is_guided(self.guidance) && !takes_guidance(self.unet) { 2 * count } else { count })
    }

    /// Integrates noise `z` [N,C,H,W] with the conditions of N prompts to model-space latents [N,C,H,W]. `empty` is the condition of the
    /// empty prompt, or of a negative one.
    ///
    /// # Errors
    /// See [`check_deterministic`].
    pub fn latents(&self, z: Tensor<4>, condition: Conditioning, empty: &Conditioning) -> Result<Tensor<4>, ConfigError> {
        check_deterministic(self.schedule, self.steps)?;
        self.sample(Start::Noise(z), |_| unreachable!("a deterministic solver asks for no noise"), condition, empty, |_| Ok(()))
    }

    /// As [`latents`](Self::latents), from noise or from images, with any solver. A stochastic solver takes the noise [N,C,H,W] that it adds after
    /// an evaluation from `fresh`, which is given the evaluation's index; see [`fresh_noise`]. `observe` is called after each evaluation and can
    /// end the sampling by an error.
    ///
    /// # Errors
    /// A number of steps that the scheduler's class cannot take; the error of `observe`.
    pub fn sample<E: From<ConfigError>>(
        &self,
        start: Start,
        fresh: impl FnMut(usize) -> Tensor<4>,
        condition: Conditioning,
        empty: &Conditioning,
        observe: impl FnMut(Evaluation<'_>) -> Result<(), E>,
    ) -> Result<Tensor<4>, E> {
        let unconditional = empty.clone().repeat(condition.len());
        self.sample_with(start, fresh, condition, unconditional, observe)
    }

    /// As [`sample`](Self::sample), with an unconditional condition for each image.
    ///
    /// # Errors
    /// See [`sample`](Self::sample).
    pub fn sample_with<E: From<ConfigError>>(
        &self,
        start: Start,
        mut fresh: impl FnMut(usize) -> Tensor<4>,
        condition: Conditioning,
        unconditional: Conditioning,
        mut observe: impl FnMut(Evaluation<'_>) -> Result<(), E>,
    ) -> Result<Tensor<4>, E> {
        let mut solver = solver::<TensorLatents>(self.schedule, self.steps)?;
        let timesteps = solver.timesteps().to_vec();
        let (mut x, first) = match start {
            Start::Noise(z) => (z.mul_scalar(solver.init_noise_sigma()), 0),
            Start::Image { latents, noise, strength } => {
                let first = first_evaluation(self.steps, strength);
                if first == self.steps {
                    return Ok(latents);
                }
                let level = solver.noising(first);
                (latents.mul_scalar(level.alpha) + noise.mul_scalar(level.sigma), first)
            }
        };
        let (count, device) = (x.dims()[0], x.device());
        let guided = is_guided(self.guidance) && !takes_guidance(self.unet);
        let context = if guided { unconditional.cat(condition) } else { condition };
        for (index, &timestep) in timesteps.iter().enumerate().skip(first) {
            let input = x.clone().mul_scalar(solver.input_scale(index));
            let input = if guided { input.repeat_dim(0, 2) } else { input };
            let time = Tensor::<1>::from_data(TensorData::new(vec![timestep as f32], [1]), &device);
            let output = self.unet.forward(input, time, context.clone());
            let output = if guided {
                let unconditional = output.clone().narrow(0, 0, count);
                let conditional = output.narrow(0, count, count);
                unconditional.clone() + (conditional - unconditional).mul_scalar(self.guidance)
            } else {
                output
            };
            x = solver.step(index, TensorLatents(x), TensorLatents(output), &mut || TensorLatents(fresh(index))).0;
            observe(Evaluation { index, count: timesteps.len(), latents: &x })?;
        }
        Ok(x)
    }
}

/// The noise [N,C,H,W] that a stochastic solver adds after evaluation `index`, for the seeds of N images. `shape` is [channels, rows, columns].
pub fn fresh_noise(seeds: &[u64], index: usize, shape: [usize; 3], device: &Device) -> Tensor<4> {
    let elements = shape.iter().product();
    let data: Vec<f32> = seeds.iter().flat_map(|&seed| normal(seed, Stream::Sampler, index as u64, elements)).collect();
    Tensor::from_data(TensorData::new(data, [seeds.len(), shape[0], shape[1], shape[2]]), device)
}

/// Refuses a solver that adds fresh noise: its latents are no function of the initial noise, so that a student cannot learn them.
///
/// # Errors
/// Such a solver; a number of steps that the scheduler's class cannot take.
pub fn check_deterministic(schedule: &NoiseSchedule, steps: usize) -> Result<(), ConfigError> {
    if !solver::<TensorLatents>(schedule, steps)?.is_stochastic() {
        return Ok(());
    }
    Err(ConfigError::Request(format!(
        "{} in {steps} steps adds fresh noise, so that its latents are no function of the initial noise; expected a deterministic scheduler, such as DDIMScheduler",
        schedule.config().class.name()
    )))
}

/// True if a denoiser takes the guidance scale as an input. Such a denoiser has no unconditional prediction.
pub fn takes_guidance(unet: &UNet2DConditionModel) -> bool {
    unet.time_embedding.cond_proj.is_some()
}

/// Whether a guidance scale needs an unconditional prediction.
pub fn is_guided(guidance: f64) -> bool {
    (guidance - 1.0).abs() > f64::EPSILON
}

/// The student's latents for noise `z` [N,C,H,W] and the conditions of N prompts: one evaluation of a [`Generator`].
pub fn one_step(unet: &UNet2DConditionModel, rule: OneStepRule, z: Tensor<4>, condition: Conditioning) -> Tensor<4> {
    Generator::new(unet.clone(), rule).forward(z, condition)
}

#[cfg(test)]
mod tests {
    use super::*;
    use onestep_nets::{SchedulerConfig, add_noise};
    use onestep_pipeline::config::SchedulerClass;

    /// With the exact ε of a single data point x₀, every step ends on the line α x₀ + σ ε, and the last one at x₀.
    #[test]
    fn solvers_integrate_the_ode_of_one_point_exactly() {
        let device = Device::flex();
        let tensor = |index| Tensor::<4>::from_data(TensorData::new(normal(5, Stream::Training, index, 48), [1, 3, 4, 4]), &device);
        let (point, noise) = (tensor(0), tensor(1));
        for class in [SchedulerClass::Ddim, SchedulerClass::EulerDiscrete, SchedulerClass::DpmSolverMultistep] {
            let config = SchedulerConfig { class, set_alpha_to_one: true, ..SchedulerConfig::default() };
            let schedule = NoiseSchedule::new(&config).unwrap();
            for steps in [1, 4, 50] {
                let mut solver = solver::<TensorLatents>(&schedule, steps).unwrap();
                assert_eq!((solver.timesteps().len(), solver.timesteps()[0]), (steps, 999.0));
                let mut x = add_noise(&schedule, point.clone(), noise.clone(), &[999]);
                if class == SchedulerClass::EulerDiscrete {
                    x = x.div_scalar(schedule.alpha(999));
                }
                for index in 0..steps {
                    x = solver.step(index, TensorLatents(x), TensorLatents(noise.clone()), &mut || unreachable!("fresh noise")).0;
                }
                let error: f32 = (x - point.clone()).abs().max().into_scalar();
                assert!(error < 1e-3, "{class:?} in {steps} steps: {error}");
            }
            assert!(solver::<TensorLatents>(&schedule, 0).is_err() && solver::<TensorLatents>(&schedule, 1001).is_err());
        }
    }
}
