//! A model on disk: diffusers' pipeline folder.
//!
//! ```text
//! model_index.json
//! vae/config.json                vae/diffusion_pytorch_model.safetensors
//! unet/config.json               unet/diffusion_pytorch_model.safetensors
//! text_encoder/config.json       text_encoder/model.safetensors
//! scheduler/scheduler_config.json
//! tokenizer/tokenizer.json
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::Module;
use burn::tensor::Device;
use onestep_nets::{
    AutoencoderKl, AutoencoderKlConfig, ClipTextConfig, ClipTextModel, LatentScaling, NoiseSchedule, PerBlock, SchedulerConfig,
    UNet2DConditionConfig, UNet2DConditionModel, weights,
};
use onestep_store::{FolderKind, recorded_folder_kind};
use serde_json::json;

use crate::{
    data::CaptionTokenizer,
    error::TrainError,
    sampler::STUDENT_TIMESTEP,
    store::{self, sha256},
};

/// A pipeline folder that was written here.
pub const MODEL: FolderKind = recorded_folder_kind!("a model folder");

/// The autoencoder's weight file.
pub const VAE_WEIGHTS: &str = "vae/diffusion_pytorch_model.safetensors";
/// The denoiser's weight file.
pub const UNET_WEIGHTS: &str = "unet/diffusion_pytorch_model.safetensors";
/// The text encoder's weight file.
pub const TEXT_WEIGHTS: &str = "text_encoder/model.safetensors";
/// The tokenizer.
pub const TOKENIZER: &str = "tokenizer/tokenizer.json";

/// What a pipeline takes and gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Side of a picture in pixels.
    pub picture: usize,
    /// Channels, rows, columns of a latent.
    pub latent: [usize; 3],
}

/// The files of a pipeline folder, read once.
#[derive(Clone, Debug)]
pub struct PipelineFolder {
    place: String,
    files: BTreeMap<String, Vec<u8>>,
}

impl PipelineFolder {
    /// Reads the folder. Components may be missing; asking for one then says so.
    ///
    /// # Errors
    /// A folder without `model_index.json`, unreadable files.
    pub fn open(path: &Path) -> Result<Self, TrainError> {
        let mut files = BTreeMap::new();
        files.insert("model_index.json".to_owned(), store::read(&path.join("model_index.json"))?);
        for name in [
            "vae/config.json",
            VAE_WEIGHTS,
            "unet/config.json",
            UNET_WEIGHTS,
            "text_encoder/config.json",
            TEXT_WEIGHTS,
            "scheduler/scheduler_config.json",
            TOKENIZER,
        ] {
            let file = path.join(name);
            if file.exists() {
                files.insert(name.to_owned(), store::read(&file)?);
            }
        }
        Ok(Self { place: path.display().to_string(), files })
    }

    /// A folder in memory, made of files by path.
    pub fn new(files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Self {
        Self { place: "the model".into(), files: files.into_iter().collect() }
    }

    /// The bytes of a file.
    ///
    /// # Errors
    /// Names the file and the folder.
    pub fn file(&self, name: &str) -> Result<&[u8], TrainError> {
        self.files.get(name).map(Vec::as_slice).ok_or_else(|| TrainError::input(format!("{} has no {name}", self.place)))
    }

    /// The files of one component, to be written into another folder.
    pub fn component(&self, name: &str) -> Vec<(String, Vec<u8>)> {
        self.files_of(name).map(|(path, bytes)| (path.clone(), bytes.clone())).collect()
    }

    /// Whether another pipeline has this component as it is here, byte by byte.
    pub fn shares(&self, name: &str, other: &Self) -> bool {
        self.files_of(name).eq(other.files_of(name))
    }

    fn files_of(&self, component: &str) -> impl Iterator<Item = (&String, &Vec<u8>)> {
        let prefix = format!("{component}/");
        self.files.iter().filter(move |(path, _)| path.starts_with(&prefix))
    }

    /// A hash over every file: what a pair set and a run depend on.
    pub fn hash(&self) -> String {
        let lines: String = self.files.iter().map(|(name, bytes)| format!("{name} {}\n", sha256(bytes))).collect();
        sha256(lines.as_bytes())
    }

    /// Writes the folder; it appears whole or not at all.
    ///
    /// # Errors
    /// Storage.
    pub fn write(&self, path: &Path) -> Result<(), TrainError> {
        let files: Vec<_> = self.files.iter().map(|(name, bytes)| (name.clone(), bytes.clone())).collect();
        store::write_folder(path, MODEL, &files)
    }

    fn text(&self, name: &str) -> Result<String, TrainError> {
        String::from_utf8(self.file(name)?.to_vec()).map_err(|_| TrainError::input(format!("{}/{name} is not UTF-8", self.place)))
    }

    fn refuse(&self, name: &str, error: impl std::fmt::Display) -> TrainError {
        TrainError::input(format!("{}/{name}: {error}", self.place))
    }

    /// The sizes that the configurations state.
    ///
    /// # Errors
    /// Names the file at fault.
    pub fn sizes(&self) -> Result<Sizes, TrainError> {
        let side = |name: &str, size: &Option<PerBlock<usize>>| match size {
            Some(PerBlock::One(side)) => Ok(*side),
            _ => Err(self.refuse(name, "expected sample_size to be one number")),
        };
        let unet = self.unet_config()?;
        let latent = side("unet/config.json", &unet.sample_size)?;
        // Not its own sample_size: autoencoders are lent to models of other sizes than they were trained at.
        let halvings = self.vae_config()?.block_out_channels.len().saturating_sub(1);
        Ok(Sizes { picture: latent << halvings, latent: [unet.in_channels, latent, latent] })
    }

    /// The side of the pictures that the autoencoder was made for.
    ///
    /// # Errors
    /// Names the file at fault.
    pub fn picture_size(&self) -> Result<usize, TrainError> {
        match self.vae_config()?.sample_size {
            Some(PerBlock::One(side)) => Ok(side),
            _ => Err(self.refuse("vae/config.json", "expected sample_size to be one number")),
        }
    }

    /// A name for the autoencoder's latents that no other autoencoder has.
    ///
    /// # Errors
    /// A folder without an autoencoder.
    pub fn encoder_name(&self) -> Result<String, TrainError> {
        Ok(format!("vae-{}", &sha256(self.file(VAE_WEIGHTS)?)[..12]))
    }

    /// From the autoencoder's raw output to the model's latents.
    ///
    /// # Errors
    /// Names the file at fault.
    pub fn latent_scaling(&self) -> Result<LatentScaling, TrainError> {
        let config = self.vae_config()?;
        Ok(LatentScaling { shift: config.shift_factor.unwrap_or(0.0), factor: config.scaling_factor })
    }

    fn vae_config(&self) -> Result<AutoencoderKlConfig, TrainError> {
        AutoencoderKlConfig::from_json(&self.text("vae/config.json")?).map_err(|error| self.refuse("vae/config.json", error))
    }

    /// The autoencoder.
    ///
    /// # Errors
    /// Names the file at fault.
    pub fn vae(&self, device: &Device) -> Result<AutoencoderKl, TrainError> {
        self.load(self.vae_config()?.init(device), VAE_WEIGHTS)
    }

    /// The denoiser's configuration.
    ///
    /// # Errors
    /// Names the file at fault.
    pub fn unet_config(&self) -> Result<UNet2DConditionConfig, TrainError> {
        let name = "unet/config.json";
        let config = UNet2DConditionConfig::from_json(&self.text(name)?).map_err(|error| self.refuse(name, error))?;
        if config.addition_embed_type.is_some() {
            let message =
                "expected no addition_embed_type: models that also want the sizes of pictures, such as SDXL, cannot be trained or exported yet";
            return Err(self.refuse(name, message));
        }
        Ok(config)
    }

    /// The denoiser.
    ///
    /// # Errors
    /// Names the file at fault.
    pub fn unet(&self, device: &Device) -> Result<UNet2DConditionModel, TrainError> {
        self.load(self.unet_config()?.init(device), UNET_WEIGHTS)
    }

    /// The text encoder.
    ///
    /// # Errors
    /// Names the file at fault.
    pub fn text_encoder(&self, device: &Device) -> Result<ClipTextModel, TrainError> {
        let config =
            ClipTextConfig::from_json(&self.text("text_encoder/config.json")?).map_err(|error| self.refuse("text_encoder/config.json", error))?;
        self.load(config.init(device), TEXT_WEIGHTS)
    }

    /// The noise schedule.
    ///
    /// # Errors
    /// Names the file at fault.
    pub fn schedule(&self) -> Result<NoiseSchedule, TrainError> {
        let name = "scheduler/scheduler_config.json";
        let config = SchedulerConfig::from_json(&self.text(name)?).map_err(|error| self.refuse(name, error))?;
        let schedule = NoiseSchedule::new(&config).map_err(|error| self.refuse(name, error))?;
        schedule.check(STUDENT_TIMESTEP).map_err(|error| self.refuse(name, error))?;
        Ok(schedule)
    }

    /// The tokenizer.
    ///
    /// # Errors
    /// Names the file at fault.
    pub fn tokenizer(&self) -> Result<CaptionTokenizer, TrainError> {
        CaptionTokenizer::from_json(self.file(TOKENIZER)?).map_err(|error| self.refuse(TOKENIZER, error))
    }

    fn load<M: Module>(&self, module: M, name: &str) -> Result<M, TrainError> {
        weights::load(module, &[self.file(name)?]).map_err(|error| self.refuse(name, error))
    }
}

/// `model_index.json` for the components that are there.
pub fn model_index(components: &[&str]) -> (String, Vec<u8>) {
    let mut index = json!({ "_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.30.0", "safety_checker": [null, null], "feature_extractor": [null, null], "requires_safety_checker": false });
    let classes = [
        ("vae", "diffusers", "AutoencoderKL"),
        ("unet", "diffusers", "UNet2DConditionModel"),
        ("scheduler", "diffusers", "DDIMScheduler"),
        ("text_encoder", "transformers", "CLIPTextModel"),
        ("tokenizer", "transformers", "PreTrainedTokenizerFast"),
    ];
    for (name, library, class) in classes {
        if components.contains(&name) {
            index[name] = json!([library, class]);
        }
    }
    ("model_index.json".into(), serde_json::to_vec_pretty(&index).unwrap_or_default())
}

/// A component's files: its configuration and its weights.
pub fn component_files<M: Module>(config_name: &str, config: String, weights_name: &str, module: &M) -> Vec<(String, Vec<u8>)> {
    vec![(config_name.into(), config.into_bytes()), (weights_name.into(), weights::save(module, &BTreeMap::new()))]
}
