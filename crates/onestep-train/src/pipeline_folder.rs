//! A model on disk as the training commands use it: [`Pipeline`] with the networks of its components.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use burn::module::Module;
use burn::tensor::Device;
use onestep_nets::{
    AutoencoderKl, AutoencoderKlConfig, ClipTextModel, ConfigError, Decoder, Init, LatentScaling, NoiseSchedule, OneStep, OneStepRule, PerBlock,
    SchedulerConfig, UNet2DConditionConfig, UNet2DConditionModel, weights,
};
use onestep_pipeline::config::{SchedulerClass, TimestepSpacing};
use onestep_pipeline::{ComponentConfig, ImageSize, OpenOptions, Part, Pipeline, Source, Use, lora::LoraOption, single_file::PredictionType};
use onestep_program::limits;
use onestep_store::{FolderDestination, FolderKind, recorded_folder_kind};
use serde::{Deserialize, Serialize};

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
/// The tokenizer of the second text encoder, of Stable Diffusion XL.
pub const TOKENIZER_2: &str = "tokenizer_2/tokenizer.json";

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

/// Options of how a model is opened.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[command(next_help_heading = "Model")]
pub struct ModelOptions {
    /// LoRA file to merge into the weights, in the form of kohya or of diffusers; WEIGHT (default 1) scales it. May be repeated.
    #[arg(long, value_name = "FILE[:WEIGHT]")]
    pub lora: Vec<String>,
    /// U-Net to use in place of the model's: a component's folder, a file or another model.
    #[arg(long, value_name = "PATH")]
    pub unet: Option<PathBuf>,
    /// Autoencoder to use in place of the model's: a component's folder, a file or another model.
    #[arg(long, value_name = "PATH")]
    pub vae: Option<PathBuf>,
    /// Folder of the tokenizer, for single files, which have none.
    #[arg(long, value_name = "DIR")]
    pub tokenizer: Option<PathBuf>,
    /// What the U-Net of a single file predicts, where the file does not say it: epsilon or v_prediction.
    #[arg(long, value_name = "TYPE", value_parser = ["epsilon", "v_prediction"])]
    pub prediction_type: Option<String>,
    /// Variant of the model's weight files, such as fp16; by default files without one, or the only one.
    #[arg(long, value_name = "NAME")]
    pub variant: Option<String>,
    /// Size of the images in pixels, as 512 or 768x512 (width x height); by default that of the model's configuration.
    #[arg(long, value_name = "SIZE")]
    pub size: Option<ImageSize>,
}

/// A model that was opened. Weights are read when a network is asked for.
#[derive(Clone, Debug)]
pub struct PipelineFolder {
    pipeline: Pipeline,
    /// The size that is asked for.
    size: Option<ImageSize>,
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
        Self::open_with(path, &ModelOptions::default())
    }

    /// [`open`](Self::open) with options.
    ///
    /// # Errors
    /// Those of [`Pipeline::open`].
    pub fn open_with(path: &Path, options: &ModelOptions) -> Result<Self, TrainError> {
        let loras = options.lora.iter().map(|option| LoraOption::parse(option, Path::is_file)).collect::<Result<_, _>>();
        let open = OpenOptions {
            variant: options.variant.clone(),
            loras: loras.map_err(|error| TrainError::new(TrainErrorKind::Usage, format!("--lora: {error}")))?,
            unet: options.unet.clone(),
            vae: options.vae.clone(),
            tokenizer: options.tokenizer.clone(),
            prediction_type: options.prediction_type.as_deref().and_then(PredictionType::from_name),
        };
        let pipeline = Pipeline::open(path, &open)?;
        Ok(Self { pipeline, size: options.size, hash: OnceLock::new() })
    }

    /// The opened model.
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
            None if name == "tokenizer_2" => self.pipeline.tokenizer_files(Part::TextEncoder2)?,
            None => self.pipeline.tokenizer_files(Part::TextEncoder)?,
        })
    }

    /// The names of the components of a complete model, for [`component`](Self::component).
    pub fn components(&self) -> Vec<&'static str> {
        let mut names = vec!["vae", "unet", "text_encoder", "tokenizer", "scheduler"];
        if self.pipeline.has(Part::TextEncoder2) {
            names.extend(["text_encoder_2", "tokenizer_2"]);
        }
        names
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
        if let Some(second) = self.tokenizer_2()? {
            self.pipeline.check_tokenizer(Part::TextEncoder2)?;
            let first = self.tokenizer()?;
            if second.length() != first.length() {
                return Err(TrainError::input(format!(
                    "{}: the first tokenizer gives {} tokens for a prompt and the second gives {}: they must be equal, since the states of both text \
                     encoders are joined token by token; set model_max_length of both alike",
                    self.pipeline.path().display(),
                    first.length(),
                    second.length()
                )));
            }
        }
        self.image_sizes().map(|_| ())
    }

    /// The sizes that are asked for, or that the configurations state.
    ///
    /// # Errors
    /// A file that is missing or cannot be used; no size; a size that the autoencoder cannot make.
    pub fn image_sizes(&self) -> Result<onestep_pipeline::Sizes, TrainError> {
        Ok(self.pipeline.sizes(self.size)?)
    }

    /// [`image_sizes`](Self::image_sizes) for commands that train on square images.
    ///
    /// # Errors
    /// Those of [`image_sizes`](Self::image_sizes); images that are not square.
    pub fn sizes(&self) -> Result<Sizes, TrainError> {
        let sizes = self.image_sizes()?;
        Ok(Sizes { image: self.square("unet/config.json", sizes.image)?, latent: sizes.latent })
    }

    /// The side of the autoencoder's images in pixels, or the one that is asked for.
    ///
    /// # Errors
    /// A file that is missing or cannot be used; images that are not square.
    pub fn image_size(&self) -> Result<usize, TrainError> {
        match self.size {
            Some(size) => self.square("vae/config.json", [size.height, size.width]),
            None => self.square("vae/config.json", self.pipeline.image_size()?),
        }
    }

    fn square(&self, file: &str, [rows, columns]: [usize; 2]) -> Result<usize, TrainError> {
        if rows == columns {
            return Ok(rows);
        }
        let path = self.pipeline.path().join(file);
        Err(TrainError::input(format!(
            "{}: images of {columns}x{rows} pixels, by sample_size or --size; only squares can be trained, distilled and evaluated",
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
        if let ComponentConfig::TinyAutoencoder(config) = self.pipeline.component(Part::Vae)?.config() {
            return Ok(LatentScaling { shift: config.shift_factor.unwrap_or(0.0), factor: config.scaling_factor });
        }
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

    /// The decoder of the autoencoder, of either class.
    ///
    /// # Errors
    /// A file that is missing or cannot be used.
    pub fn decoder(&self, device: &Device) -> Result<Decoder, TrainError> {
        if let ComponentConfig::TinyAutoencoder(config) = self.pipeline.component(Part::Vae)?.config() {
            self.pipeline.check_colours()?;
            return Ok(Decoder::new(self.load(config.init(device), Part::Vae)?));
        }
        Ok(Decoder::new(self.vae(device)?))
    }

    /// The denoiser's configuration, with the size that is asked for.
    ///
    /// # Errors
    /// A file that is missing or cannot be used.
    pub fn unet_config(&self) -> Result<UNet2DConditionConfig, TrainError> {
        let mut config = self.pipeline.unet_config()?.clone();
        if self.size.is_some() {
            let [_, rows, columns] = self.image_sizes()?.latent;
            config.sample_size = Some(if rows == columns { PerBlock::One(rows) } else { PerBlock::Each(vec![rows, columns]) });
        }
        Ok(config)
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

    /// The second text encoder, of Stable Diffusion XL; none in models of other families.
    ///
    /// # Errors
    /// A file that is missing or cannot be used.
    pub fn text_encoder_2(&self, device: &Device) -> Result<Option<ClipTextModel>, TrainError> {
        if !self.pipeline.has(Part::TextEncoder2) {
            return Ok(None);
        }
        self.load(self.pipeline.text_config(Part::TextEncoder2)?.init(device), Part::TextEncoder2).map(Some)
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

    /// How the files say that the network is read in one step; None for models of many steps.
    ///
    /// # Errors
    /// A file that is missing or cannot be used.
    pub fn one_step_kind(&self) -> Result<Option<OneStep>, TrainError> {
        let guided = self.pipeline.unet_config()?.time_cond_proj_dim;
        Ok(OneStep::detect(self.schedule()?.config(), self.pipeline.class(), guided))
    }

    /// How the network is read in one step: by `kind` if given, else as the files say, else as a student at the last timestep. `timestep` replaces
    /// the kind's own.
    ///
    /// # Errors
    /// A file that is missing or cannot be used; a timestep that the schedule does not have.
    pub fn one_step_rule(&self, kind: Option<OneStep>, timestep: Option<usize>) -> Result<OneStepRule, TrainError> {
        let schedule = self.schedule()?;
        let kind = kind.or(self.one_step_kind()?).unwrap_or(OneStep::Student);
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
        self.tokenizer_of(Part::TextEncoder)
    }

    /// The tokenizer of the second text encoder; none in models without one.
    ///
    /// # Errors
    /// A file that is missing or cannot be used.
    pub fn tokenizer_2(&self) -> Result<Option<CaptionTokenizer>, TrainError> {
        if !self.pipeline.has(Part::TextEncoder2) {
            return Ok(None);
        }
        self.tokenizer_of(Part::TextEncoder2).map(Some)
    }

    fn tokenizer_of(&self, part: Part) -> Result<CaptionTokenizer, TrainError> {
        let tokenizer = self.pipeline.open_tokenizer(part)?;
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
