//! Opens what a path is: a folder of diffusers, the folder of a component, a single file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use onestep_program::limits;
use serde_json::Value;

use super::{
    Component, ComponentClass, ComponentConfig, TokenizerFiles,
    index::{Index, Named},
};
use crate::{
    Family, Part,
    config::{AutoencoderKlConfig, ClipTextConfig, ConfigError, SchedulerConfig, UNet2DConditionConfig, object},
    error::PipelineError,
    family::is_xl,
    lora::LoraOption,
    single_file::PredictionType,
    tokenizer::Tokenizer,
    weights::WeightMap,
};

const INDEX: &str = "model_index.json";
/// Within a pipeline's folder.
pub(super) const SCHEDULER_CONFIG: &str = "scheduler/scheduler_config.json";

/// The layout of a model's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// A folder with `model_index.json` and a folder for each component.
    PipelineFolder,
    /// A folder with `config.json` and weights of one component.
    ComponentFolder,
    /// One file with the weights of all components.
    SingleFile,
}

impl Layout {
    /// The name for reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::PipelineFolder => "folder of diffusers",
            Self::ComponentFolder => "folder of a component",
            Self::SingleFile => "single file",
        }
    }
}

/// How a model is opened.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OpenOptions {
    /// The variant of weight files, such as `fp16` of `model.fp16.safetensors`; by default files without one, or the only variant there is.
    pub variant: Option<String>,
    /// LoRA files that are merged when weights are read, in this order.
    pub loras: Vec<LoraOption>,
    /// A component's folder, a model or a file with the U-Net to use in place of the model's.
    pub unet: Option<PathBuf>,
    /// The same for the autoencoder.
    pub vae: Option<PathBuf>,
    /// Folder of the tokenizer of all text encoders, in place of the model's. Single files have none.
    pub tokenizer: Option<PathBuf>,
    /// What the U-Net of a single file predicts, where the file does not say it.
    pub prediction_type: Option<PredictionType>,
}

/// A model that was opened: configurations and the headers of weights. No weights were read.
///
/// A component that cannot be used is an error only for those who ask for it, or for [`check_for`](Self::check_for).
#[derive(Clone, Debug)]
pub struct Pipeline {
    pub(super) path: PathBuf,
    pub(super) layout: Layout,
    pub(super) index: Index,
    /// Whether it has the components of Stable Diffusion XL; or why its denoiser and text encoders cannot be used.
    pub(super) is_xl: Result<bool, PipelineError>,
    pub(super) components: BTreeMap<Part, Result<Component, PipelineError>>,
    /// The text of `scheduler_config.json`.
    pub(super) scheduler: Option<Result<String, PipelineError>>,
    pub(super) tokenizers: BTreeMap<Part, TokenizerFiles>,
}

impl Pipeline {
    /// Opens a pipeline folder, a component's folder or a single file.
    ///
    /// # Errors
    /// A path that is none of these; an index that is damaged; a replacement or a LoRA that does not fit.
    pub fn open(path: &Path, options: &OpenOptions) -> Result<Self, PipelineError> {
        let mut pipeline = Self::open_plain(path, options)?;
        for (part, replacement) in [(Part::Unet, &options.unet), (Part::Vae, &options.vae)] {
            if let Some(replacement) = replacement {
                let other = Self::open_plain(replacement, options)?;
                let component = other.component(part)?.clone();
                pipeline.components.insert(part, Ok(component));
            }
        }
        if let Some(folder) = &options.tokenizer {
            for part in [Part::TextEncoder, Part::TextEncoder2].into_iter().filter(|part| pipeline.has(*part)).collect::<Vec<_>>() {
                pipeline.set_tokenizer(part, folder)?;
            }
        }
        for lora in &options.loras {
            pipeline.add_lora(lora)?;
        }
        Ok(pipeline)
    }

    fn open_plain(path: &Path, options: &OpenOptions) -> Result<Self, PipelineError> {
        let variant = options.variant.as_deref();
        if path.join(INDEX).exists() {
            return Self::open_folder(path, variant);
        }
        if path.join("config.json").exists() {
            return Self::open_component(path, variant);
        }
        if path.is_file() {
            return Self::open_file(path, options);
        }
        let found = if path.is_dir() { "a folder with neither" } else { "nothing there" };
        Err(PipelineError::input(format!(
            "opening the model {}: expected a folder with {INDEX}, a component's folder with config.json, or a single file of weights; found {found}",
            path.display()
        )))
    }

    fn open_folder(path: &Path, variant: Option<&str>) -> Result<Self, PipelineError> {
        let refuse = |file: &str, reason: &str| PipelineError::input(format!("{}/{file}: {reason}", path.display()));
        let index = object("the pipeline", &read_text(&path.join(INDEX))?).map_err(|error| refuse(INDEX, &error.to_string()))?;
        let index = Index::new(index);
        let is_xl = match &index.class {
            Some(class) => is_xl(class),
            None => Err("there is no _class_name; expected a pipeline such as \"StableDiffusionPipeline\"".to_owned()),
        };
        let is_xl = is_xl.map_err(|reason| refuse(INDEX, &reason));
        let mut components = BTreeMap::new();
        for part in Part::ALL {
            let folder = path.join(part.name());
            let is_named = !matches!(index.named(part.name()), None | Some(Ok(Named::Missing)));
            // Other families use these names for components of other classes.
            let is_wanted = is_xl.is_ok() || part == Part::Vae;
            if !is_wanted || !(is_named || folder.join("config.json").exists()) {
                continue;
            }
            // A component that the index leaves out is opened all the same: runs write models without an index of all.
            let class = if is_named { index.class_of(part).map(Some) } else { Ok(None) };
            let opened = class
                .map_err(|reason| refuse(INDEX, &reason))
                .and_then(|class| Component::open(&folder, &format!("{}/config.json", part.name()), class, variant));
            components.insert(part, opened);
        }
        let scheduler = path.join(SCHEDULER_CONFIG);
        let scheduler = scheduler.exists().then(|| read_text(&scheduler));
        let tokenizers = [(Part::TextEncoder, "tokenizer"), (Part::TextEncoder2, "tokenizer_2")];
        let tokenizers = tokenizers.into_iter().filter_map(|(part, name)| Some((part, TokenizerFiles::of(&path.join(name))?))).collect();
        Ok(Self { path: path.to_owned(), layout: Layout::PipelineFolder, index, is_xl, components, scheduler, tokenizers })
    }

    fn open_component(path: &Path, variant: Option<&str>) -> Result<Self, PipelineError> {
        let component = Component::open(path, "config.json", None, variant)?;
        let part = match component.class() {
            ComponentClass::UNet2DConditionModel => Part::Unet,
            ComponentClass::AutoencoderKl | ComponentClass::AutoencoderTiny => Part::Vae,
            ComponentClass::ClipTextModel => Part::TextEncoder,
            ComponentClass::ClipTextModelWithProjection => Part::TextEncoder2,
        };
        let only = format!("{} is the folder of one component, a {}; expected a whole model", path.display(), component.class().name());
        Ok(Self {
            path: path.to_owned(),
            layout: Layout::ComponentFolder,
            index: Index::default(),
            is_xl: Err(PipelineError::input(only)),
            components: BTreeMap::from([(part, Ok(component))]),
            scheduler: None,
            tokenizers: BTreeMap::new(),
        })
    }

    /// The path that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The layout of its files.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The class of the pipeline, as `model_index.json` gives it.
    pub fn class(&self) -> Option<&str> {
        self.index.class.as_deref()
    }

    /// The family.
    ///
    /// # Errors
    /// Another family than those that are implemented; the folder of one component; a text encoder that cannot be used.
    pub fn family(&self) -> Result<Family, PipelineError> {
        use crate::config::ClipActivation;
        if self.is_xl.clone()? {
            return Ok(Family::StableDiffusionXl);
        }
        let is_open_clip = self.text_config(Part::TextEncoder)?.hidden_act == ClipActivation::Gelu;
        Ok(if is_open_clip { Family::StableDiffusion2 } else { Family::StableDiffusion1 })
    }

    /// The parts that a pipeline of its kind has; none if it is no pipeline that is implemented.
    pub fn parts(&self) -> &'static [Part] {
        match self.is_xl {
            Ok(true) => &Part::ALL,
            Ok(false) => &[Part::Unet, Part::Vae, Part::TextEncoder],
            Err(_) => &[],
        }
    }

    /// A component.
    ///
    /// # Errors
    /// It is missing, or cannot be used.
    pub fn component(&self, part: Part) -> Result<&Component, PipelineError> {
        match self.components.get(&part) {
            Some(opened) => opened.as_ref().map_err(Clone::clone),
            None => {
                self.is_xl.clone()?;
                Err(PipelineError::input(format!("{} has no {}/config.json", self.path.display(), part.name())))
            }
        }
    }

    /// Whether the model has a component, usable or not.
    pub fn has(&self, part: Part) -> bool {
        self.components.contains_key(&part)
    }

    /// A component, to add overlays to its weights.
    ///
    /// # Errors
    /// It is missing, or cannot be used.
    pub fn component_mut(&mut self, part: Part) -> Result<&mut Component, PipelineError> {
        self.component(part)?;
        let missing = PipelineError::input(format!("{} has no {}", self.path.display(), part.name()));
        self.components.get_mut(&part).ok_or(missing)?.as_mut().map_err(|error| error.clone())
    }

    /// The denoiser's configuration.
    ///
    /// # Errors
    /// It is missing, or cannot be used.
    pub fn unet_config(&self) -> Result<&UNet2DConditionConfig, PipelineError> {
        match self.component(Part::Unet)?.config() {
            ComponentConfig::Unet(config) => Ok(config),
            other => Err(self.wrong_class(Part::Unet, other)),
        }
    }

    /// The autoencoder's configuration.
    ///
    /// # Errors
    /// It is missing, cannot be used, or is of the class AutoencoderTiny.
    pub fn vae_config(&self) -> Result<&AutoencoderKlConfig, PipelineError> {
        match self.component(Part::Vae)?.config() {
            ComponentConfig::Autoencoder(config) => Ok(config),
            other => Err(self.wrong_class(Part::Vae, other)),
        }
    }

    /// The configuration of a text encoder.
    ///
    /// # Errors
    /// It is missing, or cannot be used.
    pub fn text_config(&self, part: Part) -> Result<&ClipTextConfig, PipelineError> {
        match self.component(part)?.config() {
            ComponentConfig::Text(config) => Ok(config),
            other => Err(self.wrong_class(part, other)),
        }
    }

    /// The weights of a component.
    ///
    /// # Errors
    /// The component is missing, or its weights cannot be used.
    pub fn weights(&self, part: Part) -> Result<&WeightMap, PipelineError> {
        self.component(part)?.weights()
    }

    /// The text of `scheduler_config.json`.
    ///
    /// # Errors
    /// It is missing, or cannot be read.
    pub fn scheduler_text(&self) -> Result<&str, PipelineError> {
        match &self.scheduler {
            Some(text) => text.as_ref().map(String::as_str).map_err(Clone::clone),
            None => Err(PipelineError::input(format!("{} has no {SCHEDULER_CONFIG}", self.path.display()))),
        }
    }

    /// The text of the scheduler's configuration as the pipeline's class uses it.
    ///
    /// diffusers' Stable Diffusion pipelines replace two keys of whatever scheduler they are given, `steps_offset` by 1 and `clip_sample` by false;
    /// those of latent consistency models and of XL do not (diffusers 0.42.1, `StableDiffusionPipeline.__init__`).
    ///
    /// # Errors
    /// It is missing, or no JSON object.
    pub fn scheduler_json(&self) -> Result<String, PipelineError> {
        let text = self.scheduler_text()?;
        if !self.class().is_some_and(|class| class.starts_with("StableDiffusion") && !class.starts_with("StableDiffusionXL")) {
            return Ok(text.to_owned());
        }
        let mut keys = object("the scheduler", text).map_err(|error| self.refuse_file(SCHEDULER_CONFIG, &error.to_string()))?;
        let is_clipping = |class: Option<&Value>| {
            class.and_then(Value::as_str).is_some_and(|class| class.starts_with("DDIM") || class.starts_with("DDPM") || class.starts_with("LCM"))
        };
        if is_clipping(keys.get("_class_name")) || keys.contains_key("clip_sample") {
            keys.insert("clip_sample".to_owned(), Value::Bool(false));
        }
        keys.insert("steps_offset".to_owned(), Value::from(1));
        Ok(Value::Object(keys).to_string())
    }

    /// The scheduler's configuration, see [`scheduler_json`](Self::scheduler_json).
    ///
    /// # Errors
    /// It is missing, or not implemented.
    pub fn scheduler_config(&self) -> Result<SchedulerConfig, PipelineError> {
        let refuse = |error: ConfigError| self.refuse_file(SCHEDULER_CONFIG, &error.to_string());
        // What the pipeline replaces must be sound all the same.
        SchedulerConfig::from_json(self.scheduler_text()?).map_err(refuse)?;
        SchedulerConfig::from_json(&self.scheduler_json()?).map_err(refuse)
    }

    /// Replaces the scheduler by a `scheduler_config.json` with this text.
    pub fn set_scheduler(&mut self, text: String) {
        self.scheduler = Some(Ok(text));
    }

    /// The files of the tokenizer of a text encoder.
    ///
    /// # Errors
    /// There are none.
    pub fn tokenizer(&self, part: Part) -> Result<&TokenizerFiles, PipelineError> {
        let name = if part == Part::TextEncoder2 { "tokenizer_2" } else { "tokenizer" };
        self.tokenizers.get(&part).ok_or_else(|| {
            let hint =
                if self.layout == Layout::SingleFile { "; a single file has no tokenizer, give the folder of one with --tokenizer" } else { "" };
            let files = format!("{name}/tokenizer.json, nor {name}/vocab.json with {name}/merges.txt");
            PipelineError::input(format!("{} has no {files}{hint}", self.path.display()))
        })
    }

    /// Opens the tokenizer of a text encoder. Where its files state no length, prompts have as many tokens as the text encoder has positions.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub fn open_tokenizer(&self, part: Part) -> Result<Tokenizer, PipelineError> {
        // A configuration that cannot be read is reported when the text encoder is asked for.
        let positions = self.text_config(part).ok().map(|config| config.max_position_embeddings);
        crate::tokenizer::open_folder(&self.tokenizer(part)?.folder, positions)
    }

    /// Uses the tokenizer in `folder` for a text encoder: for single files, which have none.
    ///
    /// # Errors
    /// The folder has no file of a tokenizer.
    pub fn set_tokenizer(&mut self, part: Part, folder: &Path) -> Result<(), PipelineError> {
        let files = TokenizerFiles::of(folder).ok_or_else(|| {
            PipelineError::input(format!("{}: expected tokenizer.json, or vocab.json and merges.txt; found neither", folder.display()))
        })?;
        self.tokenizers.insert(part, files);
        Ok(())
    }

    /// Whether the embedding of an empty negative prompt is zero, as pipelines of Stable Diffusion XL state it.
    pub fn force_zeros_for_empty_prompt(&self) -> bool {
        self.index.flag("force_zeros_for_empty_prompt").unwrap_or(true)
    }

    /// An error about a file of the model.
    pub(super) fn refuse_file(&self, name: &str, reason: &str) -> PipelineError {
        PipelineError::input(format!("{}/{name}: {reason}", self.path.display()))
    }

    /// An error about the configuration of a part.
    pub(super) fn refuse(&self, part: Part, reason: &str) -> PipelineError {
        self.refuse_file(&self.config_name(part), reason)
    }

    /// The file of a part's configuration, within the model.
    pub(super) fn config_name(&self, part: Part) -> String {
        match self.components.get(&part) {
            Some(Ok(component)) => component.config_name.clone(),
            _ => format!("{}/config.json", part.name()),
        }
    }

    fn wrong_class(&self, part: Part, found: &ComponentConfig) -> PipelineError {
        self.refuse(part, &format!("the class {} cannot be used here", found.class().name()))
    }
}

fn read_text(path: &Path) -> Result<String, PipelineError> {
    let bytes = onestep_store::read_at_most(path, limits::CONFIG_BYTES.max)?;
    String::from_utf8(bytes).map_err(|_| PipelineError::input(format!("{}: the text is not UTF-8", path.display())))
}
