//! The teacher's ODE: DDIM with η = 0 and classifier-free guidance, a fixed function from (noise, prompt) to a latent.

use burn::tensor::{Device, Int, Tensor, TensorData};
use onestep_nets::{ClipTextModel, ConfigError, Generator, NoiseSchedule, UNet2DConditionModel};
use onestep_noise::standard_normal;

use crate::{data::CaptionTokenizer, error::TrainError, guard::guarded, pipeline_folder::TOKENIZER};

/// The conditioning of one prompt, or of several: [N, tokens, features].
///
/// # Errors
/// A prompt that the tokenizer refuses.
pub fn encode_prompts(
    text_encoder: &ClipTextModel,
    tokenizer: &CaptionTokenizer,
    prompts: &[&str],
    device: &Device,
) -> Result<Tensor<3>, TrainError> {
    let mut ids = Vec::with_capacity(prompts.len() * tokenizer.length());
    for prompt in prompts {
        ids.extend(guarded(format!("{TOKENIZER} with the prompt {prompt:?}"), "the tokenizers library", || tokenizer.encode(prompt))??);
    }
    Ok(text_encoder.forward(id_tensor(&ids, tokenizer.length(), device)).last_hidden_state)
}

/// Token ids as [N, tokens].
pub fn id_tensor(ids: &[u32], tokens: usize, device: &Device) -> Tensor<2, Int> {
    let data: Vec<i32> = ids.iter().map(|&id| id as i32).collect();
    Tensor::from_data(TensorData::new(data, [ids.len() / tokens, tokens]), device)
}

/// The noises of some seeds: [N, channels, rows, columns].
pub fn noises(seeds: &[u64], shape: [usize; 3], device: &Device) -> Tensor<4> {
    let count = shape.iter().product();
    let data: Vec<f32> = seeds.iter().flat_map(|&seed| standard_normal(seed, count)).collect();
    Tensor::from_data(TensorData::new(data, [seeds.len(), shape[0], shape[1], shape[2]]), device)
}

/// Steps and guidance of the ODE.
pub struct Sampler<'a> {
    /// The denoiser.
    pub unet: &'a UNet2DConditionModel,
    /// Its noise schedule.
    pub schedule: &'a NoiseSchedule,
    /// Evaluations per image (twice as many with guidance).
    pub steps: usize,
    /// w of `ε(∅) + w·(ε(c) − ε(∅))`; 1 asks for the conditional prediction alone.
    pub guidance: f64,
}

impl Sampler<'_> {
    /// Evaluations of the network for one image.
    pub fn evaluations(&self) -> usize {
        evaluations(self.steps, self.guidance)
    }

    /// Integrates from noise `z` [N,C,H,W] under `condition` [N,L,D] to model-space latents; `empty` [1,L,D] is the empty prompt's conditioning.
    ///
    /// # Errors
    /// More steps than the schedule has.
    pub fn latents(&self, z: Tensor<4>, condition: Tensor<3>, empty: &Tensor<3>) -> Result<Tensor<4>, ConfigError> {
        let count = z.dims()[0];
        let device = z.device();
        let guided = is_guided(self.guidance);
        let context = if guided { Tensor::cat(vec![empty.clone().repeat_dim(0, count), condition], 0) } else { condition };
        let mut x = z;
        for step in self.schedule.timesteps(self.steps)? {
            let input = if guided { x.clone().repeat_dim(0, 2) } else { x.clone() };
            let time = Tensor::<1>::from_data(TensorData::new(vec![step.timestep as f32], [1]), &device);
            let output = self.unet.forward(input, time, context.clone(), None);
            let epsilon = if guided {
                let unconditional = output.clone().narrow(0, 0, count);
                let conditional = output.narrow(0, count, count);
                unconditional.clone() + (conditional - unconditional).mul_scalar(self.guidance)
            } else {
                output
            };
            x = self.schedule.step(x, epsilon, step);
        }
        Ok(x)
    }
}

/// Evaluations of the network for one image in so many steps: twice as many where the empty prompt guides.
pub fn evaluations(steps: usize, guidance: f64) -> usize {
    if is_guided(guidance) { 2 * steps } else { steps }
}

fn is_guided(guidance: f64) -> bool {
    (guidance - 1.0).abs() > f64::EPSILON
}

/// The timestep at which the student is evaluated: the noisiest.
pub const STUDENT_TIMESTEP: usize = 999;

/// The student's one evaluation: [`Generator`] at t = 999.
pub fn one_step(unet: &UNet2DConditionModel, schedule: &NoiseSchedule, z: Tensor<4>, condition: Tensor<3>) -> Tensor<4> {
    let (alpha, sigma) = (schedule.alpha(STUDENT_TIMESTEP), schedule.sigma(STUDENT_TIMESTEP));
    Generator { unet: unet.clone(), timestep: STUDENT_TIMESTEP, alpha, sigma }.forward(z, condition, None)
}
