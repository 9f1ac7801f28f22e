//! `distil`: the one-step student, from the teacher's pairs.
//!
//! The student is the teacher's denoiser with the teacher's weights, evaluated once at t = 999, its noise prediction turned into a latent in
//! f32 (Diffusion2GAN, section 3; the conversion amplifies by σ/α = 14.6). Loss: mean squared error to the ODE's end point.
//! The text encoder stays the teacher's and frozen.

use std::path::PathBuf;

use burn::tensor::{Device, Tensor, TensorData};
use onestep_nets::{AutoencoderKl, NoiseSchedule, UNet2DConditionModel, weights};
use serde::{Deserialize, Serialize};

use crate::{
    autoencoder::epoch_indices,
    error::TrainError,
    observer::Observer,
    pairs::Pairs,
    picture_grid::PictureGrid,
    pipeline_folder::{PipelineFolder, UNET_WEIGHTS, component_files, model_index},
    run_folder::{Entry, RunFolder, model_of},
    sampler::{encode_prompts, noises, one_step},
    store::sha256,
    training_loop::{self, LoopOptions, Task},
};

/// Options of `distil`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DistilOptions {
    /// Run or model folder of the teacher.
    pub teacher: PathBuf,
    /// The pair set.
    pub pairs: PathBuf,
    /// The run folder.
    pub out: PathBuf,
    /// Steps and update rule.
    pub training: LoopOptions,
}

impl Default for DistilOptions {
    fn default() -> Self {
        let mut training = LoopOptions { steps: 5000, batch: 32, save_every: 500, sample_every: 500, ..LoopOptions::default() };
        training.optimizer.learning_rate = 3e-4;
        Self { teacher: PathBuf::new(), pairs: PathBuf::new(), out: PathBuf::new(), training }
    }
}

/// Trains and writes `model/`: the teacher's pipeline with the student in the denoiser's place.
///
/// # Errors
/// Pairs that are damaged or another teacher's, storage, a loss that is not finite, interruption.
pub fn train(options: &DistilOptions, entry: Entry, device: &Device, device_name: &str, observer: &mut dyn Observer) -> Result<(), TrainError> {
    let teacher = PipelineFolder::open(&model_of(&options.teacher)?)?;
    let pairs = Pairs::open(&options.pairs)?;
    if pairs.index.teacher != teacher.hash() {
        return Err(TrainError::input(format!("{} was drawn by another teacher than {}", options.pairs.display(), options.teacher.display())));
    }
    let mut folder = RunFolder::enter(&options.out, entry, options, device_name)?;
    let (text_encoder, tokenizer) = (teacher.text_encoder(device)?, teacher.tokenizer()?);
    let mut contexts = Vec::new();
    let mut features = [0, 0];
    for prompts in pairs.index.prompts.chunks(64) {
        let texts: Vec<&str> = prompts.iter().map(String::as_str).collect();
        let context = encode_prompts(&text_encoder, &tokenizer, &texts, device)?;
        features = [context.dims()[1], context.dims()[2]];
        contexts.extend(context.to_data().try_to_vec::<f32>().unwrap_or_default());
    }
    let autodiff = device.clone().autodiff();
    let task = Distilling {
        options,
        config: teacher.unet_config()?.to_json(),
        schedule: teacher.schedule()?,
        vae: teacher.vae(device)?,
        pairs: &pairs,
        contexts,
        features,
        size: teacher.sizes()?.picture,
        device: autodiff,
    };
    let data = sha256(format!("{} {}", pairs.hash(), teacher.hash()).as_bytes());
    let student = training_loop::train(&task, teacher.unet(&task.device)?, &options.training, &data, &mut folder, entry, device, observer)?;

    let mut files = task.files(&student);
    for component in ["vae", "text_encoder", "scheduler", "tokenizer"] {
        files.extend(teacher.component(component));
    }
    files.push(model_index(&["vae", "unet", "text_encoder", "scheduler", "tokenizer"]));
    PipelineFolder::new(files).write(&options.out.join("model"))?;
    crate::report_page::write(&options.out)
}

struct Distilling<'a> {
    options: &'a DistilOptions,
    config: String,
    schedule: NoiseSchedule,
    vae: AutoencoderKl,
    pairs: &'a Pairs,
    /// Conditioning of every prompt of the set, one after the other.
    contexts: Vec<f32>,
    /// Tokens, features of one conditioning.
    features: [usize; 2],
    size: usize,
    device: Device,
}

impl Distilling<'_> {
    /// Noise, conditioning and target of some pairs.
    fn batch(&self, pairs: &[usize], device: &Device) -> (Tensor<4>, Tensor<3>, Tensor<4>) {
        let seeds: Vec<u64> = pairs.iter().map(|&pair| self.pairs.seeds[pair]).collect();
        let elements = self.features[0] * self.features[1];
        let context: Vec<f32> =
            pairs.iter().flat_map(|&pair| self.contexts[self.pairs.rows[pair] * elements..][..elements].iter().copied()).collect();
        let context = Tensor::from_data(TensorData::new(context, [pairs.len(), self.features[0], self.features[1]]), device);
        (noises(&seeds, self.pairs.index.shape, device), context, self.pairs.targets(pairs, device))
    }
}

impl Task for Distilling<'_> {
    type Net = UNet2DConditionModel;

    fn loss(&self, net: &UNet2DConditionModel, step: u64) -> (Tensor<1>, Vec<(&'static str, Tensor<1>)>) {
        let LoopOptions { seed, batch, .. } = self.options.training;
        let all: Vec<usize> = (0..self.pairs.seeds.len()).collect();
        let (z, context, x) = self.batch(&epoch_indices(&all, seed, step, batch), &self.device);
        ((one_step(net, &self.schedule, z, context) - x).square().mean(), Vec::new())
    }

    fn files(&self, net: &UNet2DConditionModel) -> Vec<(String, Vec<u8>)> {
        component_files("unet/config.json", self.config.clone(), UNET_WEIGHTS, net)
    }

    fn load(&self, net: UNet2DConditionModel, file: &dyn Fn(&str) -> Result<Vec<u8>, TrainError>) -> Result<UNet2DConditionModel, TrainError> {
        weights::load(net, &[&file(UNET_WEIGHTS)?]).map_err(|error| TrainError::input(format!("the checkpoint does not fit: {error}")))
    }

    fn sample(&self, net: &UNet2DConditionModel) -> PictureGrid {
        let device = self.device.clone().inner();
        let count = self.pairs.seeds.len().min(16);
        let chosen: Vec<usize> = (0..count).map(|i| i * self.pairs.seeds.len() / count).collect();
        let (z, context, x) = self.batch(&chosen, &device);
        let decode = |latents| self.vae.decode(self.vae.from_model_space(latents));
        let mut grid = PictureGrid::new(self.size);
        grid.row(&decode(x));
        grid.row(&decode(one_step(net, &self.schedule, z, context)));
        grid
    }
}
