//! `onestep export gallery`: example images of student and teacher, which the web page shows before it loads the model.

use std::path::PathBuf;
use std::time::Instant;

use base64::{Engine, prelude::BASE64_STANDARD};
use onestep::{Backend, GenerateOptions};
use onestep_nets::ConfigError;
use onestep_store::{FileDestination, lock_folder};
use onestep_train::device;
use onestep_train::image_grid::rgb;
use onestep_train::pipeline_folder::{ModelOptions, PipelineFolder};
use onestep_train::prompt_encoder::PromptEncoder;
use onestep_train::run_folder::model_of;
use onestep_train::sampler::{Sampler, Start, fresh_noise, noises};
use serde::Serialize;

use super::bundle_destination::{GALLERY, GALLERY_FORMAT};
use crate::bundle_folder;
use crate::clock::Clock;
use crate::exit::{Exit, Failure};
use crate::output;
use crate::shared::Shared;

/// Generate example images of a bundle and its teacher, for the web page.
///
/// Writes gallery.json into the bundle's folder: images, prompts, seeds and times. Both models start from the same noise.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  onestep export gallery --bundle models/emoji --teacher runs/teacher \\\n    --prompt 'red heart' --prompt rocket"
)]
pub struct Gallery {
    /// Folder of the bundle; by default models/emoji or bundle, here or next to the program
    #[arg(long, value_name = "DIR")]
    bundle: Option<PathBuf>,
    /// Run or model folder of the bundle's teacher
    #[arg(long, value_name = "DIR")]
    teacher: PathBuf,
    /// How the teacher is opened
    #[command(flatten)]
    opening: ModelOptions,
    /// Prompt of an example; may be repeated
    #[arg(long, value_name = "TEXT", required = true)]
    prompt: Vec<String>,
    /// Seed of the first image; the others follow
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Sampling steps of the teacher
    #[arg(long, default_value_t = 50)]
    steps: usize,
    /// Guidance scale of the teacher; 1 for none
    #[arg(long, default_value_t = 2.0)]
    guidance: f64,
    /// File to write; by default gallery.json in the bundle's folder
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Serialize)]
struct File {
    format: u32,
    images: Vec<Example>,
}

#[derive(Serialize)]
struct Example {
    prompt: String,
    /// Text: numbers above 2^53 do not survive JavaScript.
    seed: String,
    size: [u32; 2],
    student: TimedImage,
    teacher: TimedImage,
}

/// An image and what it took.
#[derive(Serialize)]
struct TimedImage {
    /// A PNG file as a `data:` address.
    png: String,
    /// Evaluations of the network.
    evaluations: usize,
    milliseconds: f64,
}

impl TimedImage {
    fn new(png: &[u8], evaluations: usize, milliseconds: f64) -> Self {
        Self {
            png: format!("data:image/png;base64,{}", BASE64_STANDARD.encode(png)),
            evaluations,
            milliseconds: (milliseconds * 10.0).round() / 10.0,
        }
    }
}

impl Gallery {
    /// Generates and writes the images; prints the file.
    pub fn run(self, shared: &Shared) -> Result<(), Failure> {
        let folder = bundle_folder::find(self.bundle.as_deref())?;
        let out = self.out.clone().unwrap_or_else(|| folder.join(GALLERY));
        // A file in the bundle's folder goes with the folder when an export replaces it.
        let _lock = self.out.is_none().then(|| lock_folder(&folder)).transpose()?;
        let destination = FileDestination::acquire(&out, GALLERY_FORMAT, &[&self.teacher])?;
        let mut clock = Clock::new();
        let mut student = bundle_folder::open_model(&folder, bundle_folder::open(&folder)?, Backend::Cpu, &mut clock)?;
        let device = device::select(Some("cpu"))?;
        let teacher = PipelineFolder::open_with(&model_of(&self.teacher)?, &self.opening)?;
        teacher.check()?;
        let (unet, decoder) = (teacher.unet(&device)?, teacher.decoder(&device)?);
        let (schedule, latent) = (teacher.schedule()?, teacher.image_sizes()?.latent);
        let prompt_encoder = PromptEncoder::open(&teacher, self.guidance, &device)?;
        if student.manifest().generation.latent != latent {
            return Err(Failure::new(
                Exit::Usage,
                format!(
                    "the bundle's latents are {:?} and those of {} {latent:?}; give the bundle's own teacher",
                    student.manifest().generation.latent,
                    self.teacher.display()
                ),
            ));
        }
        if !self.guidance.is_finite() || self.seed.checked_add(self.prompt.len() as u64).is_none() {
            let given = format!("--guidance {} and --seed {}", self.guidance, self.seed);
            return Err(Failure::new(
                Exit::Usage,
                format!("{given}: expected a number that is finite, and one with room for a seed for each prompt"),
            ));
        }
        let sampler = Sampler { unet: &unet, schedule: &schedule, steps: self.steps, guidance: self.guidance };
        let evaluations = sampler.evaluations().map_err(|error| Failure::new(Exit::Usage, format!("--steps {}: {error}", self.steps)))?;
        let empty = prompt_encoder.unconditional(&device)?;

        let mut images = Vec::new();
        for (prompt, seed) in self.prompt.into_iter().zip(self.seed..) {
            let options = GenerateOptions { prompt: prompt.clone(), noise: seed.into(), ..GenerateOptions::default() };
            // The first one also pays for what is used for the first time.
            pollster::block_on(student.generate(&options, &mut clock))?;
            let generated = pollster::block_on(student.generate(&options, &mut clock))?;
            let begun = Instant::now();
            let condition = prompt_encoder.encode(&[&prompt], &device)?;
            let latents = sampler
                .sample(
                    Start::Noise(noises(&[seed], latent, &device)),
                    |index| fresh_noise(&[seed], index, latent, &device),
                    condition,
                    &empty,
                    |_| Ok(()),
                )
                .map_err(|error: ConfigError| Failure::new(Exit::Usage, error.to_string()))?;
            let image = decoder.forward(latents);
            if image.to_data().iter::<f32>().any(|value| !value.is_finite()) {
                let message =
                    format!("the teacher's image of {prompt:?}, seed {seed}, holds NaN or an infinite value; try another --guidance or --steps");
                return Err(Failure::new(Exit::NonFinite, message));
            }
            let decoded = rgb(&image).remove(0);
            let took = begun.elapsed().as_secs_f64() * 1000.0;
            let opaque: Vec<u8> = decoded.chunks_exact(3).flat_map(|pixel| [pixel[0], pixel[1], pixel[2], 255]).collect();
            if !shared.quiet {
                output::message(&format!("{prompt}, seed {seed}: student {:.0} ms, teacher {took:.0} ms", generated.timings.total));
            }
            images.push(Example {
                prompt,
                seed: seed.to_string(),
                size: [generated.width, generated.height],
                student: TimedImage::new(&onestep::png::encode(&generated, None)?, 1, generated.timings.total),
                teacher: TimedImage::new(&onestep::png::rgba(generated.width, generated.height, &opaque)?, evaluations, took),
            });
        }
        let json = serde_json::to_vec(&File { format: 2, images }).map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
        destination.write(&json)?;
        output::path(shared, &out)
    }
}
