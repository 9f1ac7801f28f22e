//! A component of a pipeline: configuration and weights.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use onestep_program::limits;
use serde_json::{Map, Value};

use crate::{
    Part,
    config::{AutoencoderKlConfig, AutoencoderTinyConfig, ClipTextConfig, UNet2DConditionConfig, object},
    error::PipelineError,
    expected_tensors::{autoencoder_tensors, text_encoder_tensors, unet_tensors},
    weights::{Located, Naming, TensorSource, WeightMap, locate},
};

/// Most tensors that an error names.
const MOST_PROBLEMS: usize = 8;

/// The class of a component, as diffusers and transformers name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ComponentClass {
    /// A denoiser.
    UNet2DConditionModel,
    /// An autoencoder.
    AutoencoderKl,
    /// A small autoencoder, TAESD.
    AutoencoderTiny,
    /// A text encoder.
    ClipTextModel,
    /// A text encoder with a projection of its pooled state.
    ClipTextModelWithProjection,
}

impl ComponentClass {
    /// Every class.
    const ALL: [Self; 5] =
        [Self::UNet2DConditionModel, Self::AutoencoderKl, Self::AutoencoderTiny, Self::ClipTextModel, Self::ClipTextModelWithProjection];

    /// The name in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::UNet2DConditionModel => "UNet2DConditionModel",
            Self::AutoencoderKl => "AutoencoderKL",
            Self::AutoencoderTiny => "AutoencoderTiny",
            Self::ClipTextModel => "CLIPTextModel",
            Self::ClipTextModelWithProjection => "CLIPTextModelWithProjection",
        }
    }

    /// The library that has the class.
    pub fn library(self) -> &'static str {
        match self {
            Self::ClipTextModel | Self::ClipTextModelWithProjection => "transformers",
            _ => "diffusers",
        }
    }

    /// The class of that name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.name() == name)
    }

    /// Whether a component of this class may be that part.
    pub fn fits(self, part: Part) -> bool {
        match part {
            Part::Unet => self == Self::UNet2DConditionModel,
            Part::Vae => matches!(self, Self::AutoencoderKl | Self::AutoencoderTiny),
            Part::TextEncoder => self == Self::ClipTextModel,
            Part::TextEncoder2 => self == Self::ClipTextModelWithProjection,
        }
    }

    fn naming(self) -> Naming {
        match self {
            Self::UNet2DConditionModel | Self::AutoencoderTiny => Naming::Plain,
            Self::AutoencoderKl => Naming::Autoencoder,
            Self::ClipTextModel | Self::ClipTextModelWithProjection => Naming::ClipText,
        }
    }
}

/// The configuration of a component.
#[derive(Clone, Debug, PartialEq)]
pub enum ComponentConfig {
    /// A denoiser's.
    Unet(Box<UNet2DConditionConfig>),
    /// An autoencoder's.
    Autoencoder(AutoencoderKlConfig),
    /// A small autoencoder's.
    TinyAutoencoder(AutoencoderTinyConfig),
    /// A text encoder's.
    Text(ClipTextConfig),
}

impl ComponentConfig {
    /// The class that it configures.
    pub fn class(&self) -> ComponentClass {
        match self {
            Self::Unet(_) => ComponentClass::UNet2DConditionModel,
            Self::Autoencoder(_) => ComponentClass::AutoencoderKl,
            Self::TinyAutoencoder(_) => ComponentClass::AutoencoderTiny,
            Self::Text(config) if config.with_projection => ComponentClass::ClipTextModelWithProjection,
            Self::Text(_) => ComponentClass::ClipTextModel,
        }
    }

    /// A `config.json` that diffusers or transformers reads.
    pub fn to_json(&self) -> String {
        match self {
            Self::Unet(config) => config.to_json(),
            Self::Autoencoder(config) => config.to_json(),
            Self::TinyAutoencoder(config) => config.to_json(),
            Self::Text(config) => config.to_json(),
        }
    }

    /// Reads a `config.json` of a known class. Files of text encoders may leave the class out; `named` is then taken.
    fn read(keys: Map<String, Value>, named: Option<ComponentClass>) -> Result<Self, String> {
        let said = |key: &str| keys.get(key).and_then(Value::as_str).map(str::to_owned);
        let architecture = keys.get("architectures").and_then(|names| names.get(0)?.as_str()).map(str::to_owned);
        let is_text = said("model_type").is_some_and(|kind| kind == "clip_text_model");
        let class = match said("_class_name").or(architecture) {
            Some(name) => ComponentClass::of_name(&name).ok_or_else(|| format!("the class {name} is not implemented"))?,
            None if is_text && named != Some(ComponentClass::ClipTextModelWithProjection) => ComponentClass::ClipTextModel,
            None => named.ok_or_else(|| "there is neither _class_name nor architectures; expected the class of the component".to_owned())?,
        };
        if let Some(named) = named.filter(|named| *named != class) {
            return Err(format!("the class is {}, expected {}, as model_index.json says", class.name(), named.name()));
        }
        match class {
            ComponentClass::UNet2DConditionModel => keys.try_into().map(|config| Self::Unet(Box::new(config))),
            ComponentClass::AutoencoderKl => keys.try_into().map(Self::Autoencoder),
            ComponentClass::AutoencoderTiny => keys.try_into().map(Self::TinyAutoencoder),
            ComponentClass::ClipTextModel => keys.try_into().map(Self::Text),
            ComponentClass::ClipTextModelWithProjection => {
                ClipTextConfig::try_from(keys).map(|config| Self::Text(ClipTextConfig { with_projection: true, ..config }))
            }
        }
        .map_err(|error| error.to_string())
    }
}

/// A component that was opened: its configuration and the headers of its weights.
#[derive(Clone, Debug)]
pub struct Component {
    /// Where its configuration is, for errors: `unet/config.json` within the pipeline.
    pub(super) config_name: String,
    pub(super) config: ComponentConfig,
    pub(super) weights: Result<WeightMap, PipelineError>,
    pub(super) layout: String,
    /// The files that hold it, by their names within the component's folder; `None` if it is a part of a larger file.
    pub(super) files: Option<Vec<(String, PathBuf)>>,
}

impl Component {
    /// Opens the folder of a component. `named` is the class that the pipeline's index gives it.
    pub(super) fn open(folder: &Path, config_name: &str, named: Option<ComponentClass>, variant: Option<&str>) -> Result<Self, PipelineError> {
        let path = folder.join("config.json");
        let refuse = |reason: &str| PipelineError::input(format!("{}: {reason}", path.display()));
        let bytes = onestep_store::read_at_most(&path, limits::CONFIG_BYTES.max)?;
        let text = String::from_utf8(bytes).map_err(|_| refuse("the text is not UTF-8"))?;
        let keys = object("the component", &text).map_err(|error| refuse(&error.to_string()))?;
        let config = ComponentConfig::read(keys, named).map_err(|error| refuse(&error))?;
        let mut files = vec![("config.json".to_owned(), path.clone())];
        let opened = locate(folder, variant).and_then(|located| {
            let map = located.open()?.named(config.class().naming())?;
            Ok((located, map))
        });
        let (layout, weights) = match opened {
            Ok((located, map)) => {
                files.extend(stored_under(&located));
                (located.layout(), Ok(map))
            }
            Err(error) => (String::new(), Err(error)),
        };
        Ok(Self { config_name: config_name.to_owned(), config, weights, layout, files: Some(files) })
    }

    /// A component that is a part of a larger file: its tensors are those of `table`.
    ///
    /// # Errors
    /// Those of [`WeightMap::select`].
    pub fn of_table(
        part: Part,
        config: ComponentConfig,
        file: &WeightMap,
        table: impl IntoIterator<Item = (String, TensorSource)>,
    ) -> Result<Self, PipelineError> {
        let weights = file.select(table)?.named(config.class().naming())?;
        Ok(Self { config_name: part.name().to_owned(), config, weights: Ok(weights), layout: "part of a single file".into(), files: None })
    }

    /// Compares the tensors with those that the configuration implies.
    ///
    /// # Errors
    /// The weights cannot be used; tensors that are missing, surplus or of another shape.
    pub fn check_weights(&self) -> Result<(), PipelineError> {
        let weights = self.weights()?;
        let mut seen = BTreeSet::new();
        let mut problems = Vec::new();
        let mut visit = |name: &str, shape: &[usize]| {
            match weights.info(name) {
                None => problems.push(format!("{name} {shape:?} is missing")),
                Some(info) if info.shape != shape => problems.push(format!("{name} has shape {:?} instead of {shape:?}", info.shape)),
                Some(_) => {}
            }
            seen.insert(name.to_owned());
            // A configuration may ask for millions of tensors.
            if problems.len() < MOST_PROBLEMS { Ok(()) } else { Err(()) }
        };
        let is_complete = match &self.config {
            ComponentConfig::Unet(config) => unet_tensors(config, &mut visit),
            ComponentConfig::Autoencoder(config) => autoencoder_tensors(config, &mut visit),
            ComponentConfig::Text(config) => text_encoder_tensors(config, &mut visit),
            // Its tensors are compared when the network is loaded.
            ComponentConfig::TinyAutoencoder(_) => return Ok(()),
        }
        .is_ok();
        if is_complete {
            problems.extend(weights.names().filter(|name| !seen.contains(*name)).take(MOST_PROBLEMS).map(|name| format!("{name} is surplus")));
        }
        if problems.is_empty() {
            return Ok(());
        }
        let more = if problems.len() >= MOST_PROBLEMS { "; and more" } else { "" };
        problems.truncate(MOST_PROBLEMS);
        let files: Vec<&str> = weights.files().map(|file| file.location()).collect();
        let files = match files.as_slice() {
            [first, others @ ..] if !others.is_empty() => format!("{first} and {} more", others.len()),
            _ => files.concat(),
        };
        Err(PipelineError::input(format!("{files}: the weights do not fit {}: {}{more}", self.config_name, problems.join("; "))))
    }

    /// Its class.
    pub fn class(&self) -> ComponentClass {
        self.config.class()
    }

    /// Its configuration.
    pub fn config(&self) -> &ComponentConfig {
        &self.config
    }

    /// Its weights.
    ///
    /// # Errors
    /// They could not be opened.
    pub fn weights(&self) -> Result<&WeightMap, PipelineError> {
        self.weights.as_ref().map_err(Clone::clone)
    }

    /// Its weights, to add overlays.
    ///
    /// # Errors
    /// They could not be opened.
    pub fn weights_mut(&mut self) -> Result<&mut WeightMap, PipelineError> {
        self.weights.as_mut().map_err(|error| error.clone())
    }

    /// How its weights are stored, in words.
    pub fn layout(&self) -> &str {
        &self.layout
    }
}

/// The files of a component with the names that a copy of them gets.
fn stored_under(located: &Located) -> impl Iterator<Item = (String, PathBuf)> {
    located.index.iter().chain(&located.files).map(|path| (path.file_name().unwrap_or_default().to_string_lossy().into_owned(), path.clone()))
}
