//! `onestep sample`: generates images with any teacher or one-step model, in the layout in which it was published.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use onestep_nets::OneStep;
use onestep_pipeline::prompts::PromptFile;
use onestep_store::{
    FileDestination, FileFormat, Lock, create_folder, is_marked, mark_folder, refuse_foreign, refuse_overlap, remove_stale_scratch, replace_file,
};
use onestep_train::image_grid::ImageGrid;
use onestep_train::pipeline_folder::ModelOptions;
use onestep_train::run_folder::LOCK;
use onestep_train::sample::{self, SampleModel, SampleOptions, SampleRequest, SampledImage, Tensors};
use onestep_train::{Observer, TrainError};
use serde_json::json;

use super::export::one_step;
use super::interrupt;
use super::options::DEVICES;
use super::progress::Progress;
use crate::exit::{Exit, Failure};
use crate::shared::Shared;
use crate::{output, tensors};

/// The kind of a folder with sampled images, in its mark.
const SAMPLES: &str = "a folder of sampled images";
/// The captions of the images, as image folders have them.
const METADATA: &str = "metadata.jsonl";
/// Images of a grid's row.
const COLUMNS: usize = 8;

/// Sample images from a Stable Diffusion model or a one-step model, in any published layout.
///
/// MODEL is a folder of diffusers, a single file, or a run folder. With --out FILE.png one image or a grid of all is written, else a folder with one
/// PNG file for each image and their prompts in metadata.jsonl. The parameters are stored in the images.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  onestep sample ./stable-diffusion-v1-5 'a red fox in snow' --seed 7 --out fox.png\n  \
                        onestep sample ./sd-turbo 'a red fox in snow' --count 4 --out foxes\n  \
                        onestep sample model.safetensors --tokenizer ./stable-diffusion-v1-5/tokenizer \\\n    --prompts prompts.txt --lora style.safetensors:0.8 --out images\n  \
                        onestep sample ./stable-diffusion-v1-5 --inputs noise.safetensors --out latents.safetensors")]
pub struct Sample {
    /// Folder or file of the model
    model: PathBuf,
    /// Prompts
    prompt: Vec<String>,
    /// File of prompts: text with one prompt per line, .jsonl, .csv, .tsv or .parquet
    #[arg(long, value_name = "FILE")]
    prompts: Option<PathBuf>,
    /// Key or column of --prompts; by default text, caption or prompt
    #[arg(long, value_name = "NAME", requires = "prompts")]
    caption_column: Option<String>,
    /// What the images should not show; by default the empty prompt
    #[arg(long, value_name = "TEXT")]
    negative: Option<String>,
    /// Guidance scale; by default 7.5, 5 for Stable Diffusion XL, 8.5 for latent consistency models, 1 for other one-step models
    #[arg(long)]
    guidance: Option<f64>,
    /// Steps of the solver; by default 50, 1 for one-step models
    #[arg(long)]
    steps: Option<usize>,
    /// Seed of the first image; further images have the numbers after it
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Images per prompt
    #[arg(long, default_value_t = 1)]
    count: usize,
    /// Images per forward pass
    #[arg(long, default_value_t = 1)]
    batch: usize,
    /// PNG file to begin with, instead of noise; cut around its centre and resized
    #[arg(long, value_name = "FILE")]
    init_image: Option<PathBuf>,
    /// Fraction of the steps taken from --init-image: 0 keeps it, 1 ignores it
    #[arg(long, value_name = "FRACTION", default_value_t = 0.8, requires = "init_image")]
    strength: f64,
    /// Scheduler in place of the model's: a scheduler_config.json, or ddim, pndm, euler, euler-ancestral, dpm-multistep or lcm
    #[arg(long, value_name = "FILE|NAME", help_heading = "Model")]
    scheduler: Option<String>,
    /// How the network is read in one step; by default as the model's files say
    #[arg(long, value_name = "turbo|lcm|dmd2|instaflow|x0", value_parser = one_step, help_heading = "Model")]
    one_step: Option<OneStep>,
    /// Timestep of the one step, in place of the rule's own
    #[arg(long, help_heading = "Model")]
    timestep: Option<usize>,
    #[command(flatten)]
    opening: ModelOptions,
    /// Folder, PNG file, or with --inputs safetensors file to write
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
    /// safetensors file with latents and prompt_embeds, under the names of diffusers' arguments, instead of prompts
    #[arg(long, value_name = "FILE", conflicts_with_all = ["prompt", "prompts", "init_image"])]
    inputs: Option<PathBuf>,
    /// With --inputs, also write the latents after every evaluation
    #[arg(long, requires = "inputs")]
    trajectory: bool,
    /// Device to compute on; by default the fastest of this build
    #[arg(long, value_name = DEVICES)]
    device: Option<String>,
}

impl Sample {
    /// Samples the images and prints where they are.
    pub fn run(self, shared: &Shared) -> Result<(), Failure> {
        let options = SampleOptions {
            model: self.model.clone(),
            opening: self.opening.clone(),
            scheduler: self.scheduler.clone(),
            one_step: self.one_step,
            timestep: self.timestep,
            steps: self.steps,
            guidance: self.guidance,
            negative: self.negative.clone(),
            batch: self.batch,
            init_image: self.init_image.clone(),
            strength: self.strength,
        };
        let model = SampleModel::open(&options)?;
        let device = onestep_train::device::select(self.device.as_deref())?;
        interrupt::watch()?;
        let mut progress = Progress::new(shared);
        if let Some(inputs) = &self.inputs {
            return self.latents(&model, inputs, &device, &mut progress, shared);
        }
        let requests = self.requests(&mut progress)?;
        progress.note(&model.describe());
        let is_png = self.out.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("png"));
        if is_png {
            self.one_file(&model, &requests, &device, &mut progress)?
        } else {
            self.folder(&model, &requests, &device, &mut progress)?
        }
        output::path(shared, &self.out)
    }

    fn requests(&self, progress: &mut Progress) -> Result<Vec<SampleRequest>, Failure> {
        let mut prompts = self.prompt.clone();
        if let Some(path) = &self.prompts {
            let file = PromptFile::read(path, self.caption_column.as_deref()).map_err(TrainError::from)?;
            if file.blank() > 0 {
                progress.note(&format!("{}: {} blank lines or rows were skipped", path.display(), file.blank()));
            }
            prompts.extend(file.into_prompts());
        }
        if prompts.is_empty() || self.count == 0 {
            return Err(Failure::new(Exit::Usage, "nothing to sample: give a prompt, or --prompts FILE, and a --count of at least 1"));
        }
        let many = prompts.len().checked_mul(self.count).and_then(|many| self.seed.checked_add(many as u64));
        if many.is_none() {
            return Err(Failure::new(
                Exit::Usage,
                format!("--seed {}: expected a smaller number, because seeds of further images follow it", self.seed),
            ));
        }
        let all = prompts.iter().flat_map(|prompt| std::iter::repeat_n(prompt, self.count));
        Ok(all.zip(self.seed..).map(|(prompt, seed)| SampleRequest { prompt: prompt.clone(), seed }).collect())
    }

    /// One image, or a grid of all.
    fn one_file(&self, model: &SampleModel, requests: &[SampleRequest], device: &Device, progress: &mut Progress) -> Result<(), Failure> {
        let destination = FileDestination::acquire(&self.out, FileFormat::PNG, &[&self.model])?;
        let mut images: Vec<SampledImage> = Vec::new();
        model.images(requests, device, progress, &mut |_, image| {
            images.push(image);
            Ok(())
        })?;
        let bytes = match &images[..] {
            [image] => png(image, model.parameters(&requests[0], image.size))?,
            images => {
                let size = images.first().map_or([1, 1], |image| image.size);
                let mut grid = ImageGrid::of_size(size);
                for row in images.chunks(COLUMNS) {
                    grid.rgb_row(row.iter().map(|image| image.rgb.clone()).collect());
                }
                let (width, height, rgb) = grid.pixels();
                let all: Vec<String> = requests.iter().map(|request| model.parameters(request, size)).collect();
                png(&SampledImage { size: [height, width], rgb }, all.join("\n\n"))?
            }
        };
        Ok(destination.write(&bytes)?)
    }

    /// A folder with a file for each image, written as soon as it is there.
    fn folder(&self, model: &SampleModel, requests: &[SampleRequest], device: &Device, progress: &mut Progress) -> Result<(), Failure> {
        refuse_overlap("the images", &self.out, &[&self.model])?;
        if !is_marked(&self.out, SAMPLES) {
            refuse_foreign(&self.out, "the images", &[LOCK])?;
        }
        create_folder(&self.out)?;
        let lock = Lock::acquire(&self.out.join(LOCK), &self.out)?;
        mark_folder(&self.out, SAMPLES)?;
        remove_stale_scratch(&self.out, &[], &lock)?;
        let mut lines = String::new();
        let sampled = model.images(requests, device, progress, &mut |index, image| {
            let request = &requests[index];
            let name = format!("{index:05}-{}.png", request.seed);
            let bytes = png(&image, model.parameters(request, image.size)).map_err(|failure| TrainError::input(failure.message()))?;
            replace_file(&self.out.join(&name), &bytes)?;
            lines += &format!("{}\n", json!({ "file_name": name, "text": request.prompt, "seed": request.seed }));
            Ok(())
        });
        replace_file(&self.out.join(METADATA), lines.as_bytes())?;
        Ok(sampled?)
    }

    /// Latents from given tensors.
    fn latents(&self, model: &SampleModel, inputs: &Path, device: &Device, progress: &mut Progress, shared: &Shared) -> Result<(), Failure> {
        let destination = FileDestination::acquire(&self.out, FileFormat::SAFETENSORS, &[&self.model, inputs])?;
        let given: Tensors = tensors::read(inputs)?.into_iter().map(|(name, tensor)| (name, (tensor.shape, tensor.data))).collect();
        let outputs = model.latents(&given, self.trajectory, device, progress)?;
        destination.write(&sample::safetensors_bytes(&outputs)?)?;
        output::path(shared, &self.out)
    }
}

/// A PNG file of an image with its parameters.
fn png(image: &SampledImage, parameters: String) -> Result<Vec<u8>, Failure> {
    let rgba: Vec<u8> = image.rgb.chunks_exact(3).flat_map(|pixel| [pixel[0], pixel[1], pixel[2], 255]).collect();
    let [height, width] = image.size.map(|side| side as u32);
    Ok(onestep::png::write(width, height, &rgba, &[("parameters", parameters)])?)
}
