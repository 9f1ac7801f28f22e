//! Generates the images of an evaluation: the teacher samples, the students generate in one step.

use std::time::Instant;

use burn::tensor::{Device, Tensor};
use onestep_nets::{Conditioning, ConfigError, Decoder, NoiseSchedule, OneStepRule, UNet2DConditionModel};

use super::requests::{EvaluatedModel, RequestList};
use crate::{
    error::{TrainError, TrainErrorKind},
    features::LabelledPrompt,
    observer::Observer,
    pipeline_folder::PipelineFolder,
    prompt_encoder::PromptEncoder,
    sampler::{Sampler, Start, fresh_noise, noises, one_step},
};

/// Images per batch.
pub(super) const BATCH: usize = 32;
/// Cost of decoding a latent, in evaluations of the denoiser. Only the estimate of the remaining time depends on it.
const DECODER_COST: u64 = 2;

/// The images that a model generated.
pub(super) struct Generated {
    /// Images [3,size,size] in −1…1, in the order of the request list.
    pub images: Vec<Vec<f32>>,
    /// Wall-clock seconds per image in batches of [`BATCH`], text encoder and decoder included.
    pub seconds_per_image: f64,
}

impl Generated {
    /// Copies of the images at these indices.
    pub fn select(&self, indices: &[usize]) -> Vec<Vec<f32>> {
        indices.iter().map(|&index| self.images[index].clone()).collect()
    }
}

/// The networks of all models, and the progress over all of their images.
pub(super) struct ImageSampler<'a> {
    teacher: UNet2DConditionModel,
    /// Each student's network, and how it is read.
    students: Vec<(UNet2DConditionModel, OneStepRule)>,
    decoder: Decoder,
    prompt_encoder: PromptEncoder,
    schedule: NoiseSchedule,
    /// Conditions of the unconditional prediction.
    empty: Conditioning,
    guidance: f64,
    /// Channels, rows and columns of a latent.
    latent: [usize; 3],
    prompts: &'a [LabelledPrompt<'a>],
    device: &'a Device,
    /// Cost of the images generated so far.
    done: u64,
}

impl<'a> ImageSampler<'a> {
    /// Loads the teacher and the students' denoisers; students share the teacher's other components.
    ///
    /// # Errors
    /// Names the file at fault.
    pub fn open(
        teacher: &PipelineFolder,
        students: &[PipelineFolder],
        guidance: f64,
        prompts: &'a [LabelledPrompt<'a>],
        device: &'a Device,
    ) -> Result<Self, TrainError> {
        let prompt_encoder = PromptEncoder::open(teacher, guidance, device)?;
        Ok(Self {
            teacher: teacher.unet(device)?,
            students: students
                .iter()
                .map(|student| Ok((student.unet(device)?, student.one_step_rule(None, None)?)))
                .collect::<Result<_, TrainError>>()?,
            decoder: teacher.decoder(device)?,
            schedule: teacher.schedule()?,
            empty: prompt_encoder.unconditional(device)?,
            prompt_encoder,
            guidance,
            latent: teacher.sizes()?.latent,
            prompts,
            device,
            done: 0,
        })
    }

    fn sampler(&self, steps: usize) -> Sampler<'_> {
        Sampler { unet: &self.teacher, schedule: &self.schedule, steps, guidance: self.guidance }
    }

    /// Evaluations of the denoiser per image.
    pub fn evaluations(&self, model: EvaluatedModel) -> usize {
        match model {
            EvaluatedModel::Student(_) => 1,
            // Numbers of steps that the teacher's scheduler refuses are refused before.
            EvaluatedModel::Teacher { steps } => self.sampler(steps).evaluations().unwrap_or(steps),
        }
    }

    /// Announces all images that will be generated.
    pub fn begin(&self, lists: &[(EvaluatedModel, &RequestList)], observer: &mut dyn Observer) {
        let total = lists.iter().map(|&(model, list)| self.cost(model) * list.requests().len() as u64).sum();
        observer.begin("generating images, in network evaluations,", total, 0);
    }

    /// Generates the images of a list.
    ///
    /// # Errors
    /// A prompt that the tokenizer refuses, more steps than the schedule has, an image that is not finite, interruption.
    pub fn generate(&mut self, model: EvaluatedModel, list: &RequestList, observer: &mut dyn Observer) -> Result<Generated, TrainError> {
        let begun = Instant::now();
        let mut images = Vec::with_capacity(list.requests().len());
        for requests in list.requests().chunks(BATCH) {
            let prompts: Vec<&str> = requests.iter().map(|request| self.prompts[request.prompt].prompt).collect();
            let seeds: Vec<u64> = requests.iter().map(|request| request.seed).collect();
            let condition = self.prompt_encoder.encode(&prompts, self.device)?;
            let z = noises(&seeds, self.latent, self.device);
            let latents = match model {
                EvaluatedModel::Student(index) => {
                    let (unet, rule) = &self.students[index];
                    one_step(unet, *rule, z, condition)
                }
                EvaluatedModel::Teacher { steps } => self
                    .sampler(steps)
                    .sample(Start::Noise(z), |index| fresh_noise(&seeds, index, self.latent, self.device), condition, &self.empty, |_| Ok(()))
                    .map_err(|error: ConfigError| TrainError::new(TrainErrorKind::Usage, error.to_string()))?,
            };
            let decoded = self.decode(latents);
            if decoded.iter().flatten().any(|value| !value.is_finite()) {
                let message = format!(
                    "generating images: expected finite pixels, found NaN or infinity in an image of the {model}; evaluate an earlier checkpoint"
                );
                return Err(TrainError::new(TrainErrorKind::NonFinite, message));
            }
            images.extend(decoded);
            self.done += self.cost(model) * requests.len() as u64;
            observer.step(self.done, &model.to_string());
            if observer.stopped() {
                return Err(TrainError::new(TrainErrorKind::Interrupted, "stopped; nothing was written"));
            }
        }
        let seconds_per_image = begun.elapsed().as_secs_f64() / images.len().max(1) as f64;
        Ok(Generated { images, seconds_per_image })
    }

    /// Images [3,size,size] in −1…1 of model-space latents [N,C,H,W].
    pub fn decode(&self, latents: Tensor<4>) -> Vec<Vec<f32>> {
        let decoded = self.decoder.forward(latents).clamp(-1.0, 1.0);
        let values: usize = decoded.dims()[1..].iter().product();
        decoded.to_data().try_to_vec::<f32>().unwrap_or_default().chunks(values).map(<[f32]>::to_vec).collect()
    }

    fn cost(&self, model: EvaluatedModel) -> u64 {
        self.evaluations(model) as u64 + DECODER_COST
    }
}
