//! A model on disk: the pipeline folder of diffusers.
//!
//! ```text
//! model_index.json
//! vae/config.json                vae/diffusion_pytorch_model.safetensors
//! unet/config.json               unet/diffusion_pytorch_model.safetensors
//! text_encoder/config.json       text_encoder/model.safetensors
//! scheduler/scheduler_config.json
//! tokenizer/tokenizer.json, or vocab.json and merges.txt
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::Module;
use burn::tensor::Device;
use onestep_nets::{
    AutoencoderKl, AutoencoderKlConfig, ClipTextConfig, ClipTextModel, Init, LatentScaling, NoiseSchedule, PerBlock, SchedulerConfig,
    UNet2DConditionConfig, UNet2DConditionModel, config_object,
    weights::{self, Shard},
};
use onestep_pipeline::tokenizer::{self, TokenizerContents};
use onestep_program::{TensorFile, limits, printable};
use onestep_store::{FolderKind, recorded_folder_kind};
use serde_json::{Value, json};

use crate::{
    data::CaptionTokenizer,
    error::TrainError,
    sampler::STUDENT_TIMESTEP,
    store::{self, sha256},
};

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

/// The list of components.
const INDEX: &str = "model_index.json";
const VAE_CONFIG: &str = "vae/config.json";
const UNET_CONFIG: &str = "unet/config.json";
const TEXT_CONFIG: &str = "text_encoder/config.json";
const SCHEDULER_CONFIG: &str = "scheduler/scheduler_config.json";

/// The class of the pipeline.
const PIPELINE: &str = "StableDiffusionPipeline";
/// Its components.
const COMPONENTS: [&str; 5] = ["vae", "unet", "text_encoder", "tokenizer", "scheduler"];
/// Components that it may have and that are ignored, because they do not influence a latent.
const UNUSED: [&str; 3] = ["safety_checker", "feature_extractor", "image_encoder"];
/// Classes of tokenizers that `tokenizer.json` may belong to.
const TOKENIZERS: [&str; 4] = ["CLIPTokenizer", "CLIPTokenizerFast", "PreTrainedTokenizerFast", "TokenizersBackend"];
/// Channels of an image.
const COLOURS: usize = 3;

/// Sizes of images and latents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Side of an image in pixels.
    pub image: usize,
    /// [channels, rows, columns] of a latent.
    pub latent: [usize; 3],
}

/// The files of a pipeline folder, in memory.
///
/// # Stable Diffusion XL
///
/// [`unet_config`](Self::unet_config) refuses denoisers with `addition_embed_type = "text_time"`, those of SDXL. The network itself implements these
/// conditions (`AddedConditions` in `onestep-nets`). To train and export such models, all of this would have to change:
///
/// - here: `COMPONENTS`, the index and [`check`](Self::check) for `StableDiffusionXLPipeline`, `text_encoder_2` (a `CLIPTextModelWithProjection`) and
///   `tokenizer_2`;
/// - `sampler`: `encode_prompts` concatenates the hidden states of two text encoders and also returns the pooled state; `Sampler::latents` and
///   `one_step` pass `AddedConditions` instead of None;
/// - `teacher`: `Teacher` gets the second text encoder, the loss passes `AddedConditions` with the size and crop of each image;
/// - `distil`: `Conditions` also stores the pooled states; `Discriminator::forward` and its `embed` in `onestep-nets` take `AddedConditions`;
/// - `pairs` and `evaluate`: they call `encode_prompts`;
/// - `onestep-cli`: `export` compiles two text encoders and a generator with more inputs, `debug run-component` knows `text_encoder_2`;
/// - `onestep`: the ports of a bundle (`ports.rs`) get pooled state and time ids, and `generate` runs two tokenizers and text encoders;
/// - `onestep-program`: the bundle's manifest names them.
#[derive(Clone, Debug)]
pub struct PipelineFolder {
    location: String,
    files: BTreeMap<String, Vec<u8>>,
    /// For each missing file, files in its folder that may be meant instead: weights under other names.
    others: BTreeMap<String, Vec<String>>,
}

impl PipelineFolder {
    /// Reads the folder. Components may be missing; the methods that need one then return an error. [`check`](Self::check) tests that all are there
    /// and fit.
    ///
    /// # Errors
    /// A folder without `model_index.json`, another pipeline, unreadable files.
    pub fn open(path: &Path) -> Result<Self, TrainError> {
        let mut folder = Self { location: path.display().to_string(), files: BTreeMap::new(), others: BTreeMap::new() };
        folder.files.insert(INDEX.to_owned(), onestep_store::read_at_most(&path.join(INDEX), limits::CONFIG_BYTES.max)?);
        folder.check_index()?;
        let config = limits::CONFIG_BYTES.max;
        for (name, most) in [
            (VAE_CONFIG, config),
            (UNET_CONFIG, config),
            (TEXT_CONFIG, config),
            (SCHEDULER_CONFIG, config),
            (VAE_WEIGHTS, u64::MAX),
            (UNET_WEIGHTS, u64::MAX),
            (TEXT_WEIGHTS, u64::MAX),
        ] {
            let file = path.join(name);
            if file.exists() {
                folder.files.insert(name.to_owned(), onestep_store::read_at_most(&file, most)?);
            } else {
                folder.others.insert(name.to_owned(), alike(&file));
            }
        }
        for name in tokenizer::FILES {
            let file = path.join("tokenizer").join(name);
            if file.exists() {
                folder.files.insert(format!("tokenizer/{name}"), onestep_store::read_at_most(&file, limits::TOKENIZER_BYTES.max)?);
            }
        }
        Ok(folder)
    }

    /// A folder in memory, from contents by path.
    pub fn new(files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Self {
        Self { location: "the model".into(), files: files.into_iter().collect(), others: BTreeMap::new() }
    }

    /// The bytes of a file.
    ///
    /// # Errors
    /// The file is missing.
    pub fn file(&self, name: &str) -> Result<&[u8], TrainError> {
        self.files.get(name).map(Vec::as_slice).ok_or_else(|| {
            let others = self.others.get(name).filter(|others| !others.is_empty());
            let others = others.map_or_else(String::new, |others| {
                let read = "only a single file of that name is read, in f32, f16 or bf16; save the component as one";
                format!(", only {}: {read}", others.join(", "))
            });
            TrainError::input(format!("{} has no {name}{others}", self.location))
        })
    }

    /// The files of a component to save: contents by path. Those of a tokenizer are its one form.
    pub fn component(&self, name: &str) -> Vec<(String, Vec<u8>)> {
        if name == "tokenizer"
            && let Ok(tokenizer) = self.tokenizer()
        {
            return tokenizer.files().collect();
        }
        self.files_of(name).map(|(path, bytes)| (path.clone(), bytes.clone())).collect()
    }

    /// Whether the files of a component are identical in another pipeline.
    pub fn has_same(&self, name: &str, other: &Self) -> bool {
        // A student has its teacher's tokenizer in another form.
        if name == "tokenizer" { self.component(name) == other.component(name) } else { self.files_of(name).eq(other.files_of(name)) }
    }

    fn files_of(&self, component: &str) -> impl Iterator<Item = (&String, &Vec<u8>)> {
        let prefix = format!("{component}/");
        self.files.iter().filter(move |(path, _)| path.starts_with(&prefix))
    }

    /// A hash of all files.
    pub fn hash(&self) -> String {
        let lines: String = self.files.iter().map(|(name, bytes)| format!("{name} {}\n", sha256(bytes))).collect();
        sha256(lines.as_bytes())
    }

    /// Writes the folder atomically.
    ///
    /// # Errors
    /// Storage.
    pub fn write(&self, path: &Path) -> Result<(), TrainError> {
        let files: Vec<_> = self.files.iter().map(|(name, bytes)| (name.clone(), bytes.clone())).collect();
        store::write_folder(path, MODEL, &files)
    }

    fn text(&self, name: &str) -> Result<String, TrainError> {
        String::from_utf8(self.file(name)?.to_vec()).map_err(|_| TrainError::input(format!("{}/{name} is not UTF-8", self.location)))
    }

    fn refuse(&self, name: &str, error: impl std::fmt::Display) -> TrainError {
        TrainError::input(format!("{}/{name}: {error}", self.location))
    }

    /// Checks the class of the pipeline and of its components.
    fn check_index(&self) -> Result<(), TrainError> {
        let refuse = |message: String| Err(self.refuse(INDEX, message));
        let index = config_object("the pipeline", &self.text(INDEX)?).map_err(|error| self.refuse(INDEX, error))?;
        match index.get("_class_name") {
            Some(class) if class == PIPELINE => {}
            None => return refuse(format!("there is no _class_name; expected {PIPELINE:?}")),
            Some(other) => return refuse(format!("_class_name is {other}; only {PIPELINE:?} is implemented")),
        }
        for (component, value) in index.iter().filter(|(component, _)| !component.starts_with('_')) {
            let (library, class) = match value {
                Value::Array(pair) => match pair.as_slice() {
                    [Value::Null, Value::Null] => continue,
                    [Value::String(library), Value::String(class)] => (library.as_str(), class.as_str()),
                    _ => {
                        return refuse(format!("{component} is {value}; expected a library and a class, such as [\"diffusers\", \"AutoencoderKL\"]"));
                    }
                },
                _ if COMPONENTS.contains(&component.as_str()) => {
                    return refuse(format!("{component} is {value}; expected a library and a class, such as [\"diffusers\", \"AutoencoderKL\"]"));
                }
                // Options of the pipeline, such as requires_safety_checker.
                Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Null => continue,
                Value::Object(_) => return refuse(format!("{component} is a JSON object; expected a library and a class")),
            };
            let is_known = match component.as_str() {
                "vae" => (library, class) == ("diffusers", "AutoencoderKL"),
                "unet" => (library, class) == ("diffusers", "UNet2DConditionModel"),
                "text_encoder" => (library, class) == ("transformers", "CLIPTextModel"),
                "tokenizer" => library == "transformers" && TOKENIZERS.contains(&class),
                "scheduler" => library == "diffusers" && SchedulerConfig::knows(class),
                other => UNUSED.contains(&other),
            };
            if !is_known {
                return refuse(format!("the component {component} is a {class} of {library}, which is not implemented"));
            }
        }
        Ok(())
    }

    /// Checks that all components are there and fit together: latents, texts, tokens, sizes. Call it before any computation.
    ///
    /// # Errors
    /// A component that is missing or cannot be used, with its file; the first two components that do not fit, with both numbers.
    pub fn check(&self) -> Result<(), TrainError> {
        let (unet, vae, text, tokenizer) = (self.unet_config()?, self.vae_config()?, self.text_config()?, self.tokenizer()?);
        self.schedule()?;
        let refuse = |message: String| Err(TrainError::input(format!("{}: {message}", self.location)));
        let tokens = if self.files.contains_key(TOKENIZER) { TOKENIZER } else { "tokenizer/vocab.json" };
        let index = config_object("the pipeline", &self.text(INDEX)?).map_err(|error| self.refuse(INDEX, error))?;
        if let Some(component) = COMPONENTS.iter().find(|component| index.get(**component).is_none_or(|named| named[0].is_null())) {
            return refuse(format!("{INDEX} does not name the component {component}"));
        }
        for (key, channels) in [("in_channels", unet.in_channels), ("out_channels", unet.out_channels)] {
            if channels != vae.latent_channels {
                let hint = if channels > vae.latent_channels && key == "in_channels" { "; models for inpainting cannot be used" } else { "" };
                return refuse(format!(
                    "{UNET_CONFIG} has {key} = {channels} and {VAE_CONFIG} has latent_channels = {}: they must be equal{hint}",
                    vae.latent_channels
                ));
            }
        }
        let widths = unet.cross_attention_dim.expand(unet.block_out_channels.len()).unwrap_or_default();
        if let Some(width) = widths.iter().find(|width| **width != text.hidden_size) {
            return refuse(format!(
                "{UNET_CONFIG} has cross_attention_dim = {width} and {TEXT_CONFIG} has hidden_size = {}: they must be equal",
                text.hidden_size
            ));
        }
        if tokenizer.length() > text.max_position_embeddings {
            return refuse(format!(
                "{tokens} gives {} tokens for a prompt and {TEXT_CONFIG} has max_position_embeddings = {}: there must be no more tokens than positions",
                tokenizer.length(),
                text.max_position_embeddings
            ));
        }
        if tokenizer.vocabulary_size() > text.vocab_size {
            return refuse(format!(
                "{tokens} has {} ids and {TEXT_CONFIG} has vocab_size = {}: every id needs an embedding; resize the embeddings of the text encoder, \
                 or use the tokenizer that it was trained with",
                tokenizer.vocabulary_size(),
                text.vocab_size
            ));
        }
        self.sizes()?;
        [UNET_WEIGHTS, VAE_WEIGHTS, TEXT_WEIGHTS].iter().try_for_each(|name| self.check_weights(name))
    }

    /// Checks that a weight file can be read and is finite, also for components that the command does not load.
    fn check_weights(&self, name: &str) -> Result<(), TrainError> {
        let location = format!("{}/{name}", self.location);
        let file = TensorFile::read(self.file(name)?, &location).map_err(|error| TrainError::input(error.to_string()))?;
        match file.iter().find_map(|(name, tensor)| Some((name, tensor.first_non_finite()?))) {
            Some((tensor, position)) => {
                Err(TrainError::input(printable(&format!("{location}: tensor {tensor} is not finite at {position:?}, where weights must be finite"))))
            }
            None => Ok(()),
        }
    }

    /// The sizes that the configurations state.
    ///
    /// # Errors
    /// A file that is missing or cannot be used.
    pub fn sizes(&self) -> Result<Sizes, TrainError> {
        let unet = self.unet_config()?;
        // Not the autoencoder's sample_size: models of other sizes use it too.
        let downscale = self.vae_config()?.downscale();
        let latent = self.side(UNET_CONFIG, unet.sample_size.as_ref(), downscale)?;
        let step = 1 << unet.block_out_channels.len().saturating_sub(1);
        if !latent.is_multiple_of(step) {
            let below = latent - latent % step;
            let instead = if below == 0 { step.to_string() } else { format!("{below} or {}", below + step) };
            let message = format!(
                "sample_size = {latent} is no multiple of the denoiser's downscale, which neither distil nor export supports; write a multiple of {step} \
                 instead, such as {instead}"
            );
            return Err(self.refuse(UNET_CONFIG, message));
        }
        Ok(Sizes { image: latent * downscale, latent: [unet.in_channels, latent, latent] })
    }

    /// The side that a `sample_size` states, as one number or as rows and columns. `scale` is the number of image pixels per unit of it.
    fn side(&self, name: &str, size: Option<&PerBlock<usize>>, scale: usize) -> Result<usize, TrainError> {
        let most = (limits::IMAGE_SIDE.max as usize / scale).max(1);
        let example = (512 / scale).max(1);
        let instead = format!("write one number instead, such as {example} for images of {0}x{0}", example * scale);
        let side = match size {
            Some(PerBlock::One(side)) => *side,
            Some(PerBlock::Each(sides)) => match sides.as_slice() {
                [rows, columns] if rows == columns => *rows,
                _ => return Err(self.refuse(name, format!("sample_size is {sides:?}, where only squares are implemented; {instead}"))),
            },
            None => return Err(self.refuse(name, format!("sample_size is null or missing; {instead}"))),
        };
        if (1..=most).contains(&side) {
            return Ok(side);
        }
        Err(self.refuse(name, format!("sample_size = {side} is not within 1..={most}; {instead}")))
    }

    /// The side of the autoencoder's images in pixels.
    ///
    /// # Errors
    /// A file that is missing or cannot be used.
    pub fn image_size(&self) -> Result<usize, TrainError> {
        self.side(VAE_CONFIG, self.vae_config()?.sample_size.as_ref(), 1)
    }

    /// A unique name of the autoencoder: `vae-` and the start of its weights' hash.
    ///
    /// # Errors
    /// A folder without an autoencoder.
    pub fn encoder_name(&self) -> Result<String, TrainError> {
        Ok(format!("vae-{}", &sha256(self.file(VAE_WEIGHTS)?)[..12]))
    }

    /// The scaling from the encoder's output to model space.
    ///
    /// # Errors
    /// A file that is missing or cannot be used.
    pub fn latent_scaling(&self) -> Result<LatentScaling, TrainError> {
        let config = self.vae_config()?;
        Ok(LatentScaling { shift: config.shift_factor.unwrap_or(0.0), factor: config.scaling_factor })
    }

    fn vae_config(&self) -> Result<AutoencoderKlConfig, TrainError> {
        let config = AutoencoderKlConfig::from_json(&self.text(VAE_CONFIG)?).map_err(|error| self.refuse(VAE_CONFIG, error))?;
        for (key, channels) in [("in_channels", config.in_channels), ("out_channels", config.out_channels)] {
            if channels != COLOURS {
                return Err(self.refuse(VAE_CONFIG, format!("{key} = {channels}, expected {COLOURS}: images have red, green and blue")));
            }
        }
        Ok(config)
    }

    /// The autoencoder.
    ///
    /// # Errors
    /// A file that is missing or cannot be used.
    pub fn vae(&self, device: &Device) -> Result<AutoencoderKl, TrainError> {
        self.load(self.vae_config()?.init(device), VAE_WEIGHTS)
    }

    /// The denoiser's configuration.
    ///
    /// # Errors
    /// A file that is missing or cannot be used.
    pub fn unet_config(&self) -> Result<UNet2DConditionConfig, TrainError> {
        let name = UNET_CONFIG;
        let config = UNet2DConditionConfig::from_json(&self.text(name)?).map_err(|error| self.refuse(name, error))?;
        if config.addition_embed_type.is_some() {
            let message =
                "expected no addition_embed_type: models that also want the sizes of images, such as SDXL, cannot be trained or exported yet";
            return Err(self.refuse(name, message));
        }
        Ok(config)
    }

    /// The denoiser.
    ///
    /// # Errors
    /// A file that is missing or cannot be used.
    pub fn unet(&self, device: &Device) -> Result<UNet2DConditionModel, TrainError> {
        self.load(self.unet_config()?.init(device), UNET_WEIGHTS)
    }

    fn text_config(&self) -> Result<ClipTextConfig, TrainError> {
        let config = ClipTextConfig::from_json(&self.text(TEXT_CONFIG)?).map_err(|error| self.refuse(TEXT_CONFIG, error))?;
        if config.with_projection {
            let message = "architectures = [\"CLIPTextModelWithProjection\"], expected \"CLIPTextModel\", the class of this pipeline's text encoder";
            return Err(self.refuse(TEXT_CONFIG, message));
        }
        Ok(config)
    }

    /// The text encoder.
    ///
    /// # Errors
    /// A file that is missing or cannot be used.
    pub fn text_encoder(&self, device: &Device) -> Result<ClipTextModel, TrainError> {
        self.load(self.text_config()?.init(device), TEXT_WEIGHTS)
    }

    /// The noise schedule.
    ///
    /// # Errors
    /// A file that is missing or cannot be used.
    pub fn schedule(&self) -> Result<NoiseSchedule, TrainError> {
        let name = SCHEDULER_CONFIG;
        let config = SchedulerConfig::from_json(&self.text(name)?).map_err(|error| self.refuse(name, error))?;
        let schedule = NoiseSchedule::new(&config).map_err(|error| self.refuse(name, error))?;
        schedule.check(STUDENT_TIMESTEP).map_err(|error| self.refuse(name, error))?;
        Ok(schedule)
    }

    /// The tokenizer.
    ///
    /// # Errors
    /// A file that is missing or cannot be used.
    pub fn tokenizer(&self) -> Result<CaptionTokenizer, TrainError> {
        let files = self.files_of("tokenizer").filter_map(|(path, bytes)| Some((path.split_once('/')?.1, bytes.clone())));
        // A configuration that cannot be read is reported when the text encoder is asked for.
        let positions = self.text_config().ok().map(|config| config.max_position_embeddings);
        let tokenizer = TokenizerContents::new(format!("{}/tokenizer", self.location), files).open(positions)?;
        CaptionTokenizer::new(tokenizer).map_err(|error| TrainError::input(error.to_string()))
    }

    fn load<M: Module>(&self, module: M, name: &str) -> Result<M, TrainError> {
        let file = format!("{}/{name}", self.location);
        weights::load(module, &[Shard::new(&file, self.file(name)?)]).map_err(|error| TrainError::input(error.to_string()))
    }
}

/// Files in the folder of a `missing` one that may be meant instead, as paths within the pipeline folder.
pub fn alike(missing: &Path) -> Vec<String> {
    let Some(folder) = missing.parent() else { return Vec::new() };
    let component = folder.file_name().unwrap_or_default().to_string_lossy();
    let is_alike = |name: &str| match Path::new(name).extension().and_then(|extension| extension.to_str()) {
        Some("safetensors" | "bin" | "pt" | "pth" | "ckpt" | "msgpack" | "h5" | "onnx" | "gguf") => true,
        Some("json") => name.contains(".index."),
        _ => false,
    };
    let names = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut paths: Vec<String> = names.filter(|name| is_alike(name)).map(|name| format!("{component}/{name}")).collect();
    paths.sort();
    if let Some(more) = paths.len().checked_sub(NAMED).filter(|more| *more > 0) {
        paths.truncate(NAMED);
        paths.push(format!("and {more} more"));
    }
    paths
}

/// Most files that an error names.
const NAMED: usize = 6;

/// `model_index.json` for these components.
pub fn model_index(components: &[&str]) -> (String, Vec<u8>) {
    let mut index = json!({ "_class_name": PIPELINE, "_diffusers_version": "0.30.0", "safety_checker": [null, null], "feature_extractor": [null, null], "requires_safety_checker": false });
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

/// The files of a component: configuration and weights.
pub fn component_files<M: Module>(config_name: &str, config: String, weights_name: &str, module: &M) -> Vec<(String, Vec<u8>)> {
    vec![(config_name.into(), config.into_bytes()), (weights_name.into(), weights::save(module, &BTreeMap::new()))]
}
