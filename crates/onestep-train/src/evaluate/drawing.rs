//! The images of an evaluation: which are needed, each drawn once, and how long it takes.

use std::collections::BTreeMap;
use std::time::Instant;

use burn::tensor::{Device, Tensor};
use onestep_nets::{AutoencoderKl, ClipTextModel, NoiseSchedule, UNet2DConditionModel};

use crate::{
    data::CaptionTokenizer,
    error::{TrainError, TrainErrorKind},
    features::Asked,
    observer::Observer,
    pipeline_folder::PipelineFolder,
    sampler::{Sampler, encode_prompts, evaluations, noises, one_step},
};

/// Images drawn together.
pub(super) const TOGETHER: usize = 32;
/// What decoding a latent costs, in evaluations of the denoiser; only the estimate of the time left depends on it.
const DECODING: u64 = 2;

/// Who draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Artist {
    /// The teacher in so many steps.
    Teacher(usize),
    /// The student of that number in one.
    Student(usize),
}

impl Artist {
    pub fn is_student(self) -> bool {
        matches!(self, Self::Student(_))
    }
}

impl std::fmt::Display for Artist {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Student(_) => f.write_str("student"),
            Self::Teacher(steps) => write!(f, "teacher, {steps} steps"),
        }
    }
}

/// One image to draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Draw {
    /// Row of the list of prompts.
    pub prompt: usize,
    /// Names the noise.
    pub seed: u64,
}

/// The images that one artist draws, each once however often it is asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    draws: Vec<Draw>,
    places: BTreeMap<Draw, usize>,
}

impl Plan {
    /// Asks for images; the result says where each will be.
    pub fn add(&mut self, draws: impl Iterator<Item = Draw>) -> Vec<usize> {
        draws
            .map(|draw| {
                *self.places.entry(draw).or_insert_with(|| {
                    self.draws.push(draw);
                    self.draws.len() - 1
                })
            })
            .collect()
    }
}

/// What an artist drew.
pub(super) struct Drawn {
    /// Images [3,size,size] in −1…1, in the order of the plan.
    pub images: Vec<Vec<f32>>,
    /// Wall-clock time of one, prompt and decoder included, in batches of [`TOGETHER`].
    pub seconds_per_image: f64,
}

impl Drawn {
    /// Copies of the images at these places.
    pub fn select(&self, places: &[usize]) -> Vec<Vec<f32>> {
        places.iter().map(|&place| self.images[place].clone()).collect()
    }
}

/// The networks that draw, and what is known of the whole work.
pub(super) struct Studio<'a> {
    teacher: UNet2DConditionModel,
    students: Vec<UNet2DConditionModel>,
    vae: AutoencoderKl,
    text_encoder: ClipTextModel,
    tokenizer: CaptionTokenizer,
    schedule: NoiseSchedule,
    empty: Tensor<3>,
    guidance: f64,
    /// Channels, rows, columns of a latent.
    latent: [usize; 3],
    prompts: &'a [Asked<'a>],
    device: &'a Device,
    /// Cost of what is drawn.
    done: u64,
}

impl<'a> Studio<'a> {
    /// Everything but the students' denoisers is the teacher's.
    ///
    /// # Errors
    /// Names the file at fault.
    pub fn open(
        teacher: &PipelineFolder,
        students: &[PipelineFolder],
        guidance: f64,
        prompts: &'a [Asked<'a>],
        device: &'a Device,
    ) -> Result<Self, TrainError> {
        let (text_encoder, tokenizer) = (teacher.text_encoder(device)?, teacher.tokenizer()?);
        Ok(Self {
            teacher: teacher.unet(device)?,
            students: students.iter().map(|student| student.unet(device)).collect::<Result<_, _>>()?,
            vae: teacher.vae(device)?,
            schedule: teacher.schedule()?,
            empty: encode_prompts(&text_encoder, &tokenizer, &[""], device)?,
            text_encoder,
            tokenizer,
            guidance,
            latent: teacher.sizes()?.latent,
            prompts,
            device,
            done: 0,
        })
    }

    /// Evaluations of the denoiser for one image.
    pub fn evaluations(&self, artist: Artist) -> usize {
        match artist {
            Artist::Student(_) => 1,
            Artist::Teacher(steps) => evaluations(steps, self.guidance),
        }
    }

    /// Announces all plans that will be drawn.
    pub fn begin(&self, plans: &[(Artist, &Plan)], observer: &mut dyn Observer) {
        let total = plans.iter().map(|&(artist, plan)| self.cost(artist) * plan.draws.len() as u64).sum();
        observer.begin("drawing, in evaluations,", total, 0);
    }

    /// Draws a plan.
    ///
    /// # Errors
    /// A prompt that the tokenizer refuses, more steps than the schedule has, an image that is not finite, interruption.
    pub fn draw(&mut self, artist: Artist, plan: &Plan, observer: &mut dyn Observer) -> Result<Drawn, TrainError> {
        let begun = Instant::now();
        let mut images = Vec::with_capacity(plan.draws.len());
        for draws in plan.draws.chunks(TOGETHER) {
            let prompts: Vec<&str> = draws.iter().map(|draw| self.prompts[draw.prompt].prompt).collect();
            let seeds: Vec<u64> = draws.iter().map(|draw| draw.seed).collect();
            let condition = encode_prompts(&self.text_encoder, &self.tokenizer, &prompts, self.device)?;
            let z = noises(&seeds, self.latent, self.device);
            let latents = match artist {
                Artist::Student(place) => one_step(&self.students[place], &self.schedule, z, condition),
                Artist::Teacher(steps) => Sampler { unet: &self.teacher, schedule: &self.schedule, steps, guidance: self.guidance }
                    .latents(z, condition, &self.empty)
                    .map_err(|error| TrainError::new(TrainErrorKind::Usage, error.to_string()))?,
            };
            let decoded = self.decode(latents);
            if decoded.iter().flatten().any(|value| !value.is_finite()) {
                let message =
                    format!("an image of the {artist} holds numbers that are not finite, so it cannot be measured; take an earlier checkpoint");
                return Err(TrainError::new(TrainErrorKind::NonFinite, message));
            }
            images.extend(decoded);
            self.done += self.cost(artist) * draws.len() as u64;
            observer.step(self.done, &artist.to_string());
            if observer.stopped() {
                return Err(TrainError::new(TrainErrorKind::Interrupted, "stopped; nothing was written"));
            }
        }
        let seconds_per_image = begun.elapsed().as_secs_f64() / images.len().max(1) as f64;
        Ok(Drawn { images, seconds_per_image })
    }

    /// The images of model-space latents [N,C,H,W].
    pub fn decode(&self, latents: Tensor<4>) -> Vec<Vec<f32>> {
        let decoded = self.vae.decode(self.vae.from_model_space(latents)).clamp(-1.0, 1.0);
        let values: usize = decoded.dims()[1..].iter().product();
        decoded.to_data().try_to_vec::<f32>().unwrap_or_default().chunks(values).map(<[f32]>::to_vec).collect()
    }

    fn cost(&self, artist: Artist) -> u64 {
        self.evaluations(artist) as u64 + DECODING
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_twice_is_drawn_once() {
        let mut plan = Plan::default();
        let draw = |prompt, seed| Draw { prompt, seed };
        assert_eq!(plan.add([draw(0, 5), draw(1, 5), draw(0, 5)].into_iter()), [0, 1, 0]);
        assert_eq!(plan.add([draw(0, 6), draw(1, 5)].into_iter()), [2, 1]);
        assert_eq!(plan.draws, [draw(0, 5), draw(1, 5), draw(0, 6)]);
    }
}
