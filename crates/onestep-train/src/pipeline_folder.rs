//! A model on disk as the training commands use it: [`Pipeline`] with the networks of its components.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;

use burn::module::Module;
use burn::tensor::Device;
use onestep_nets::{
    AutoencoderKl, AutoencoderKlConfig, ClipTextModel, ConfigError, Init, LatentScaling, NoiseSchedule, OneStep, OneStepRule, SchedulerConfig,
    UNet2DConditionConfig, UNet2DConditionModel, weights,
};
use onestep_pipeline::config::{SchedulerClass, TimestepSpacing};
use onestep_pipeline::{OpenOptions, Part, Pipeline, Source, Use};
use onestep_program::limits;
use onestep_store::{FolderDestination, FolderKind, recorded_folder_kind};

use crate::{
    data::CaptionTokenizer,
    error::{TrainError, TrainErrorKind},
};

pub use onestep_pipeline::model_index;

/// The kind of a pipeline folder that this program writes.
pub const MODEL: FolderKind = recorded_folder_kind!("a model folder");

/// The autoencoder's weight file.
pub const VAE_WEIGHTS: &str = "vae/diffusion_pytorch_model.safetensors";
/// The denoiser's weight file.
pub const UNET_WEIGHTS: &str = "unet/diffusion_pytorch_model.safetensors";
/// The text encoder's weight file.
pub const TEXT_WEIGHTS: &str = "text_encoder/model.safetensors";
/// The tokenizer.
pub const TOKENIZER: &str = "tokenizer/tokenizer.json";

/// The scheduler of a pipeline.
pub(crate) const SCHEDULER_CONFIG: &str = "scheduler/scheduler_config.json";

/// Sizes of square images and of their latents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Side of an image in pixels.
    pub image: usize,
    /// [channels, rows, columns] of a latent.
    pub latent: [usize; 3],
}

/// A model that was opened. Weights are read when a network is asked for.
#[derive(Clone, Debug)]
pub struct PipelineFolder {
    pipeline: Pipeline,
    /// Computed once, because it reads all weights.
    hash: OnceLock<String>,
}

impl PipelineFolder {
    /// Opens a model. Components may be missing; the methods that need one then return an error. [`check`](Self::check) tests that all are there
    /// and fit.
    ///
    /// # Errors
    /// Those of [`Pipeline::open`].
    pub fn open(path: &Path) -> Result<Self, TrainError> {
        Self::open_with(path, &OpenOptions::default())
    }

    /// [`open`](Self::open) with options.
    ///
    /// # Errors
    /// Those of [`Pipeline::open`].
    pub fn open_with(path: &Path, options: &OpenOptions) -> Result<Self, TrainError> {
        Ok(Self { pipeline: Pipeline::open(path, options)?, hash: OnceLock::new() })
    }

    /// The model as it lies on disk.
    pub fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    /// The files of a component, by their paths in a model's folder: `unet`, `vae`, `text_encoder`, `tokenizer` or `scheduler`.
    ///
    /// # Errors
    /// The component is missing, or cannot be used.
    pub fn component(&self, name: &str) -> Result<Vec<(String, Source)>, TrainError> {
        Ok(match Part::ALL.into_iter().find(|part| part.name() == name) {
            Some(part) => self.pipeline.component_files(part)?,
            None if name == "scheduler" => vec![self.pipeline.scheduler_file()?],
            None => self.pipeline.tokenizer_files(Part::TextEncoder)?,
        })
    }

    /// Whether a component is the same in another model: its configuration and its tensors, however they are stored, or the bytes of its files.
    ///
    /// # Errors
    /// The component is missing in one of them, or cannot be read.
    pub fn has_same(&self, name: &str, other: &Self) -> Result<bool, TrainError> {
        if let Some(part) = Part::ALL.into_iter().find(|part| part.name() == name) {
            return Ok(self.pipeline.component_hash(part, |_| {})? == other.pipeline.component_hash(part, |_| {})?);
        }
        let bytes = |folder: &Self| -> Result<Vec<(String, Vec<u8>)>, TrainError> {
            let read = |(name, source): (String, Source)| match source {
                Source::File(path) => Ok((name, onestep_store::read(&path)?)),
                Source::Bytes(bytes) => Ok((name, bytes)),
                Source::Weights(_) => Ok((name, Vec::new())),
            };
            folder.component(name)?.into_iter().map(read).collect()
        };
        Ok(bytes(self)? == bytes(other)?)
    }

    /// A hash of all components, which reads all weights once.
    ///
    /// # Errors
    /// A component that cannot be read; weights that are not finite.
    pub fn hash(&self) -> Result<String, TrainError> {
        if let Some(hash) = self.hash.get() {
            return Ok(hash.clone());
        }
        let hash = self.pipeline.hash(|_| {})?;
        Ok(self.hash.get_or_init(|| hash).clone())
    }

    /// Checks that all components are there and fit together: latents, texts, tokens, sizes. Call it before any computation.
    ///
    /// # Errors
    /// A component that is missing or cannot be used, with its file; the first two components that do not fit, with both numbers.
    pub fn check(&self) -> Result<(), TrainError> {
        self.pipeline.check_for(Use::Distil)?;
        self.pipeline.check_tokenizer(Part::TextEncoder)?;
        // The conversion reads some features that encoding does not.
        self.tokenizer()?;
        self.schedule()?;
        self.sizes().map(|_| ())
    }

    /// The sizes that the configurations state.
    ///
    /// # Errors
    /// A file that is missing or cannot be used; images that are not square.
    pub fn sizes(&self) -> Result<Sizes, TrainError> {
        let sizes = self.pipeline.sizes(None)?;
        Ok(Sizes { image: self.square("unet/config.json", sizes.image)?, latent: sizes.latent })
    }

    /// The side of the autoencoder's images in pixels.
    ///
    /// # Errors
    /// A file that is missing or cannot be used; images that are not square.
    pub fn image_size(&self) -> Result<usize, TrainError> {
        self.square("vae/config.json", self.pipeline.image_size()?)
    }

    fn square(&self, file: &str, [rows, columns]: [usize; 2]) -> Result<usize, TrainError> {
        if rows == columns {
            return Ok(rows);
        }
        let path = self.pipeline.path().join(file);
        Err(TrainError::input(format!(
            "{}: sample_size states images of {columns}x{rows} pixels; only squares can be trained, distilled and evaluated",
            path.display()
        )))
    }

    /// A unique name of the autoencoder: `vae-` and the start of its hash.
    ///
    /// # Errors
    /// A model without an autoencoder.
    pub fn encoder_name(&self) -> Result<String, TrainError> {
        let hash = self.pipeline.weights(Part::Vae)?.hash(|_| {})?;
        Ok(format!("vae-{}", &hash[..12]))
    }

    /// The scaling from the encoder's output to model space.
    ///
    /// # Errors
    /// A file that is missing or cannot be used.
    pub fn latent_scaling(&self) -> Result<LatentScaling, TrainError> {
        let config = self.vae_config()?;
        Ok(LatentScaling { shift: config.shift_factor.unwrap_or(0.0), factor: config.scaling_factor })
    }

    fn vae_config(&self) -> Result<&AutoencoderKlConfig, TrainError> {
        let config = self.pipeline.vae_config()?;
        self.pipeline.check_colours()?;
        Ok(config)
    }

    /// The autoencoder.
    ///
    /// # Errors
    /// A file that is missing or cannot be used.
    pub fn vae(&self, device: &Device) -> Result<AutoencoderKl, TrainError> {
        self.load(self.vae_config()?.init(device), Part::Vae)
    }

    /// The denoiser's configuration.
    ///
    /// # Errors
    /// A file that is missing or cannot be used.
    pub fn unet_config(&self) -> Result<UNet2DConditionConfig, TrainError> {
        Ok(self.pipeline.unet_config()?.clone())
    }

    /// The denoiser.
    ///
    /// # Errors
    /// A file that is missing or cannot be used.
    pub fn unet(&self, device: &Device) -> Result<UNet2DConditionModel, TrainError> {
        self.load(self.pipeline.unet_config()?.init(device), Part::Unet)
    }

    /// The text encoder.
    ///
    /// # Errors
    /// A file that is missing or cannot be used.
    pub fn text_encoder(&self, device: &Device) -> Result<ClipTextModel, TrainError> {
        self.load(self.pipeline.text_config(Part::TextEncoder)?.init(device), Part::TextEncoder)
    }

    /// The noise schedule.
    ///
    /// # Errors
    /// A file that is missing or cannot be used.
    pub fn schedule(&self) -> Result<NoiseSchedule, TrainError> {
        let config = self.pipeline.scheduler_config()?;
        NoiseSchedule::new(&config).map_err(|error| self.pipeline.refuse_scheduler(&error.to_string()).into())
    }

    /// Reads the teacher with another scheduler than its own, from now on: `scheduler` is a `scheduler_config.json`, or the name of a class, which
    /// keeps the keys of the teacher's file (see `SchedulerConfig::from_json_as`). `spacing` then replaces its timestep spacing.
    ///
    /// # Errors
    /// A file that is missing or cannot be used, a name that is neither.
    pub fn use_scheduler(&mut self, scheduler: Option<&str>, spacing: Option<TimestepSpacing>) -> Result<(), TrainError> {
        if scheduler.is_none() && spacing.is_none() {
            return Ok(());
        }
        let refuse = |error: ConfigError| TrainError::from(self.pipeline.refuse_scheduler(&error.to_string()));
        let mut config = match scheduler {
            None => self.pipeline.scheduler_config()?,
            Some(given) => match SchedulerClass::from_name(given) {
                Some(class) => SchedulerConfig::from_json_as(&self.pipeline.scheduler_json()?, class).map_err(refuse)?,
                None => scheduler_file(given)?,
            },
        };
        if let Some(spacing) = spacing {
            config.timestep_spacing = spacing;
        }
        self.pipeline.set_scheduler(config.to_json());
        Ok(())
    }

    /// How the network is read in one step: by `kind` if given, else as the files say, else as a student at the last timestep. `timestep` replaces
    /// the kind's own.
    ///
    /// # Errors
    /// A file that is missing or cannot be used; a timestep that the schedule does not have.
    pub fn one_step_rule(&self, kind: Option<OneStep>, timestep: Option<usize>) -> Result<OneStepRule, TrainError> {
        let schedule = self.schedule()?;
        let kind = kind
            .or_else(|| {
                let guided = self.pipeline.unet_config().ok().and_then(|config| config.time_cond_proj_dim);
                OneStep::detect(schedule.config(), self.pipeline.class(), guided)
            })
            .unwrap_or(OneStep::Student);
        kind.rule(&schedule, timestep).map_err(|error| self.pipeline.refuse_scheduler(&error.to_string()).into())
    }

    /// The scheduler of a one-step student of this teacher that is evaluated at `timestep` (the last one if None), and how its network is read.
    ///
    /// # Errors
    /// A file that is missing or cannot be used; a timestep that the schedule does not have.
    pub fn student_scheduler(&self, timestep: Option<usize>) -> Result<(SchedulerConfig, OneStepRule), TrainError> {
        let schedule = self.schedule()?;
        let timestep = timestep.unwrap_or(schedule.config().num_train_timesteps - 1);
        let refuse = |error: ConfigError| TrainError::from(self.pipeline.refuse_scheduler(&error.to_string()));
        schedule.check(timestep).map_err(refuse)?;
        let config = schedule.config().of_student(timestep);
        let rule = NoiseSchedule::new(&config).and_then(|schedule| OneStep::Student.rule(&schedule, None)).map_err(refuse)?;
        Ok((config, rule))
    }

    /// The tokenizer.
    ///
    /// # Errors
    /// A file that is missing or cannot be used.
    pub fn tokenizer(&self) -> Result<CaptionTokenizer, TrainError> {
        let tokenizer = self.pipeline.open_tokenizer(Part::TextEncoder)?;
        CaptionTokenizer::new(tokenizer).map_err(|error| TrainError::input(error.to_string()))
    }

    fn load<M: Module>(&self, module: M, part: Part) -> Result<M, TrainError> {
        weights::load_map(module, self.pipeline.weights(part)?).map_err(|error| TrainError::input(error.to_string()))
    }
}

/// Writes a model's folder atomically, from files by their paths in it.
///
/// # Errors
/// A folder with other contents; a source that cannot be read; storage.
pub fn write_model(path: &Path, files: &[(String, Source)]) -> Result<(), TrainError> {
    let mut destination = FolderDestination::acquire(path, MODEL, &[])?;
    for (name, source) in files {
        source.write(name, &mut destination)?;
    }
    Ok(destination.publish()?)
}

/// Files in memory as files of a model's folder.
pub fn in_memory(files: impl IntoIterator<Item = (String, Vec<u8>)>) -> impl Iterator<Item = (String, Source)> {
    files.into_iter().map(|(name, bytes)| (name, Source::Bytes(bytes)))
}

/// The scheduler of a file that is given by its path.
fn scheduler_file(path: &str) -> Result<SchedulerConfig, TrainError> {
    if !Path::new(path).is_file() {
        let names = SchedulerClass::ALL.map(|(short, _)| short).join(", ");
        let message = format!("--scheduler {path}: expected a scheduler_config.json or one of {names}, found neither a file nor such a name");
        return Err(TrainError::new(TrainErrorKind::Usage, message));
    }
    let bytes = onestep_store::read_at_most(Path::new(path), limits::CONFIG_BYTES.max)?;
    SchedulerConfig::from_json(&String::from_utf8_lossy(&bytes)).map_err(|error| TrainError::input(format!("{path}: {error}")))
}

/// The files of a component: configuration and weights.
pub fn component_files<M: Module>(config_name: &str, config: String, weights_name: &str, module: &M) -> Vec<(String, Vec<u8>)> {
    vec![(config_name.into(), config.into_bytes()), (weights_name.into(), weights::save(module, &BTreeMap::new()))]
}
