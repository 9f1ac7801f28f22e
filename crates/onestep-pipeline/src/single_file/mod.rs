//! Single files: whole models (or parts of them) in the original key layout of Stable Diffusion.
//!
//! ```text
//! model.diffusion_model.*              the U-Net
//! first_stage_model.*                  the autoencoder
//! cond_stage_model.transformer.*       the text encoder of 1.x, named as transformers names it
//! cond_stage_model.model.*             the text encoder of 2.x, named as OpenCLIP names it
//! conditioner.embedders.0.transformer.*, conditioner.embedders.1.model.*   those of XL
//! ```
//!
//! [`SingleFile::read`] takes the names and shapes of a file's tensors, and no weights. It finds the family, derives the
//! configuration of each network from the shapes, and lists for each tensor of diffusers where it is stored and what is
//! to be done to it. Every tensor of a network must be there with its shape, and a network has no others.
//!
//! Parts are read too, also without these prefixes: a U-Net (also with diffusers' names), an autoencoder, a text encoder.

mod family;
mod infer_config;
mod original_names;
mod single_file_error;
mod stored_tensor;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::{Map, Value};

pub use family::PredictionType;
use family::UNET;
pub use original_names::{Location, UNetBlocks, former_autoencoder, open_clip, original_autoencoder};
pub use single_file_error::SingleFileError;
pub use stored_tensor::{StoredTensor, Transform};

use crate::{
    Family, Part,
    config::{AutoencoderKlConfig, ClipTextConfig, ConfigError, UNet2DConditionConfig},
    expected_tensors::{Visit, autoencoder_tensors, text_encoder_tensors, unet_tensors},
};
use infer_config::{Shapes, TIME_ID_FEATURES};

/// Layers of OpenCLIP ViT-H that Stable Diffusion 2.x uses, of 24: its condition is the output of the last but one.
const SD2_LAYERS: usize = 23;
/// Width of Stable Diffusion 2's text encoder.
const SD2_WIDTH: usize = 1024;
/// Numbers that describe the size and the crop of an image to Stable Diffusion XL.
const TIME_IDS: usize = 6;
/// Longest name that is quoted in an error, in characters.
const QUOTED: usize = 120;

/// What a caller knows about a file and the file does not say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Known {
    /// The family. Only an autoencoder alone needs it, because the family decides the scaling of latents.
    pub family: Option<Family>,
    /// What the U-Net predicts.
    pub prediction_type: Option<PredictionType>,
}

/// Something that a file does not say and that must be known to use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undecided {
    /// Whether a U-Net of Stable Diffusion 2.x predicts the noise (512² pixels) or the velocity (768² pixels).
    PredictionType,
    /// The factor of an autoencoder's latents.
    ScalingFactor,
}

impl fmt::Display for Undecided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PredictionType => {
                "a file of Stable Diffusion 2.x does not say what its U-Net predicts: models for 512x512 predict the noise (epsilon), \
                 models for 768x768 the velocity (v_prediction)"
            }
            Self::ScalingFactor => {
                "an autoencoder's file does not say by what factor its latents are scaled: 0.18215 in Stable Diffusion 1.x and 2.x, \
                 0.13025 in XL, others elsewhere"
            }
        })
    }
}

/// A network of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Network<C> {
    /// Its configuration, derived from shapes.
    pub config: C,
    /// Its tensors by diffusers' (for text encoders transformers') names; those of text encoders begin with `text_model.`.
    pub tensors: BTreeMap<String, StoredTensor>,
}

type TextEncoder = Network<ClipTextConfig>;

/// A tokenizer that a model needs. Its vocabulary is in no single file; all families have the same one, that of CLIP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenizerNeed {
    /// Its folder in a pipeline folder.
    pub folder: &'static str,
    /// What fills short texts: the end token (`true`), or the token `!` with id 0.
    pub pads_with_end: bool,
    /// Longest text, in tokens.
    pub model_max_length: usize,
}

/// What is to be done about a tokenizer that is missing.
impl fmt::Display for TokenizerNeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let folder = self.folder;
        write!(
            f,
            "a single file has no tokenizer: name a folder that has CLIP's vocab.json and merges.txt with --tokenizer, such as the tokenizer folder \
             of any Stable Diffusion model, or put it beside the file as {folder}/"
        )
    }
}

/// What is in a single file.
#[derive(Debug, Clone, PartialEq)]
pub struct SingleFile {
    /// The family, as far as the file or the caller says it.
    pub family: Option<Family>,
    /// What the U-Net predicts, as far as the file or the caller says it.
    pub prediction_type: Option<PredictionType>,
    /// The U-Net.
    pub unet: Option<Network<UNet2DConditionConfig>>,
    /// The autoencoder.
    pub vae: Option<Network<AutoencoderKlConfig>>,
    /// The text encoder.
    pub text_encoder: Option<Network<ClipTextConfig>>,
    /// The second text encoder.
    pub text_encoder_2: Option<Network<ClipTextConfig>>,
    /// The keys of `scheduler_config.json` that belong to the family, if there is a U-Net and [`prediction_type`](Self::prediction_type) is known.
    pub scheduler: Option<Map<String, Value>>,
    /// The tokenizers of the text encoders. The file has none: they come from a folder that has CLIP's `vocab.json` and `merges.txt`.
    pub tokenizers: Vec<TokenizerNeed>,
    /// Tensors that are passed over: averaged weights (`model_ema.*`), noise schedules, position numbers, layers that are not used.
    pub ignored: Vec<String>,
    /// What is to be known before the file is used. [`Known`] decides it.
    pub undecided: Vec<Undecided>,
}

impl SingleFile {
    /// Reads what is in a file, from the names and shapes of its tensors and the metadata of its header.
    ///
    /// # Errors
    /// Files of other families (by name), LoRA files, files that hold no network that is known, networks with tensors that
    /// are missing, surplus, double or of a wrong shape, and networks that do not fit each other.
    pub fn read(tensors: &BTreeMap<String, Vec<usize>>, metadata: &BTreeMap<String, String>, known: Known) -> Result<Self, SingleFileError> {
        family::refuse_others(tensors)?;
        let mut reader = Reader { stored: tensors, used: BTreeSet::new() };
        let source = reader.unet_source()?;
        let family = match &source {
            Some(source) => Some(reader.unet_family(source)?),
            None => None,
        };
        let zero_terminal_snr = tensors.contains_key("ztsnr");
        let said = metadata.get("modelspec.prediction_type").and_then(|name| PredictionType::from_name(name));
        let prediction_type = known.prediction_type.or(said).or(match family {
            _ if tensors.contains_key("v_pred") => Some(PredictionType::V),
            Some(Family::StableDiffusion1 | Family::StableDiffusionXl) => Some(PredictionType::Epsilon),
            Some(Family::StableDiffusion2) | None => None,
        });
        let image = family.zip(prediction_type).map(|(family, prediction)| family.image_size(prediction));
        let unet = match &source {
            Some(source) => Some(reader.unet(source, image)?),
            None => None,
        };
        let (text_encoder, text_encoder_2) = reader.text_encoders(family)?;
        let family = family.or(known.family).or(match (&text_encoder, &text_encoder_2) {
            (_, Some(_)) => Some(Family::StableDiffusionXl),
            (Some(_), None) if reader.has_prefix("cond_stage_model.model.") => Some(Family::StableDiffusion2),
            (Some(_), None) if reader.has_prefix("cond_stage_model.transformer.") => Some(Family::StableDiffusion1),
            _ => None,
        });
        let vae = reader.autoencoder(family, image)?;
        if unet.is_none() && vae.is_none() && text_encoder.is_none() {
            let first: String = tensors.keys().next().map_or_else(String::new, |name| name.chars().take(QUOTED).collect());
            return Err(SingleFileError::Unrecognised { count: tensors.len(), first });
        }
        let mut undecided = Vec::new();
        if unet.is_some() && prediction_type.is_none() {
            undecided.push(Undecided::PredictionType);
        }
        // Other numbers of channels are of other families, whatever U-Net the file has.
        if vae.as_ref().is_some_and(|vae| family.is_none() || vae.config.latent_channels != 4) {
            undecided.push(Undecided::ScalingFactor);
        }
        let scheduler = match (&unet, family, prediction_type) {
            (Some(_), Some(family), Some(prediction)) => Some(family.scheduler(prediction, zero_terminal_snr)),
            _ => None,
        };
        let tokenizer = |part: &Option<Network<ClipTextConfig>>, folder, pads_with_end| {
            part.as_ref().map(|part| TokenizerNeed { folder, pads_with_end, model_max_length: part.config.max_position_embeddings })
        };
        let tokenizers = tokenizer(&text_encoder, "tokenizer", family != Some(Family::StableDiffusion2)).into_iter().chain(tokenizer(
            &text_encoder_2,
            "tokenizer_2",
            false,
        ));
        let file = Self {
            family,
            prediction_type,
            scheduler,
            tokenizers: tokenizers.collect(),
            ignored: reader.rest()?,
            undecided,
            unet,
            vae,
            text_encoder,
            text_encoder_2,
        };
        file.check_widths()?;
        Ok(file)
    }

    /// The purpose of a U-Net if its input has more channels than latents: inpainting and the like. `None` for a usual U-Net.
    pub fn special_input(&self) -> Option<&'static str> {
        match self.unet.as_ref()?.config.in_channels {
            9 => Some("inpainting (a mask and a masked image beside the latents)"),
            8 => Some("instructions (an image beside the latents)"),
            5 => Some("depth (a depth map beside the latents)"),
            7 => Some("upscaling (an image beside the latents)"),
            _ => None,
        }
    }

    /// Whether the text encoders give what the U-Net takes.
    fn check_widths(&self) -> Result<(), SingleFileError> {
        let Some(unet) = &self.unet else { return Ok(()) };
        if let (Some(second), Some(takes)) = (&self.text_encoder_2, unet.config.projection_class_embeddings_input_dim) {
            let pooled = second.config.projection_dim;
            if takes != TIME_IDS * TIME_ID_FEATURES + pooled {
                return Err(SingleFileError::Structure(format!(
                    "the U-Net of the file takes {takes} features beside the text (label_emb), but they are {TIME_IDS} times \
                     {TIME_ID_FEATURES} and the {pooled} that its second text encoder gives (text_projection); these parts are of two models"
                )));
            }
        }
        let Some(first) = &self.text_encoder else { return Ok(()) };
        let Some(takes) = unet.config.cross_attention_dim.get(0) else { return Ok(()) };
        let widths = [Some(first), self.text_encoder_2.as_ref()].map(|part| part.map(|part| part.config.hidden_size));
        let gives: usize = widths.iter().flatten().sum();
        // One of XL's encoders may be in another file.
        if gives == takes || (self.family == Some(Family::StableDiffusionXl) && self.text_encoder_2.is_none()) {
            return Ok(());
        }
        let many = if self.text_encoder_2.is_some() { "text encoders" } else { "text encoder" };
        Err(SingleFileError::Structure(format!(
            "the U-Net of the file takes text with {takes} features (attn2.to_k), but its {many} give {gives}; these parts are of two models"
        )))
    }
}

/// Where the U-Net is.
struct UNetSource {
    prefix: &'static str,
    /// With the original names, or else with diffusers'.
    original: bool,
    blocks: UNetBlocks,
}

impl UNetSource {
    fn key(&self, name: &str) -> Option<String> {
        let name = if self.original { self.blocks.original(name)? } else { name.to_owned() };
        Some(format!("{}{name}", self.prefix))
    }
}

/// Takes networks out of a file.
struct Reader<'a> {
    stored: &'a BTreeMap<String, Vec<usize>>,
    /// Tensors that a network uses.
    used: BTreeSet<&'a str>,
}

impl<'a> Reader<'a> {
    fn first_with(&self, prefix: &str) -> Option<&'a str> {
        let next = self.stored.range::<str, _>((std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded)).next();
        next.map(|(key, _)| key.as_str()).filter(|key| key.starts_with(prefix))
    }

    fn has_prefix(&self, prefix: &str) -> bool {
        self.first_with(prefix).is_some()
    }

    fn shape(&self, key: &str) -> Option<&'a [usize]> {
        self.stored.get(key).map(Vec::as_slice)
    }

    /// Finds the only one of these candidates for a component that the file has: a prefix of names, and the value to return.
    fn one_of<T: Copy>(&self, component: Part, candidates: &[(&str, T)]) -> Result<Option<T>, SingleFileError> {
        let mut found = candidates.iter().filter_map(|(prefix, value)| self.first_with(prefix).map(|key| (key, *value)));
        let first = found.next();
        match (first, found.next()) {
            (Some((first, _)), Some((second, _))) => Err(SingleFileError::Twice { component, first: first.to_owned(), second: second.to_owned() }),
            _ => Ok(first.map(|(_, value)| value)),
        }
    }

    fn unet_source(&self) -> Result<Option<UNetSource>, SingleFileError> {
        let candidates: [(&str, (&'static str, bool)); 4] =
            [(UNET, (UNET, true)), ("diffusion_model.", ("diffusion_model.", true)), ("input_blocks.", ("", true)), ("down_blocks.", ("", false))];
        let Some((prefix, original)) = self.one_of(Part::Unet, &candidates)? else { return Ok(None) };
        let has = |name: &str| self.stored.contains_key(&format!("{prefix}{name}"));
        let blocks = if original { UNetBlocks::of_original(has) } else { UNetBlocks::of(has) };
        Ok(Some(UNetSource { prefix, original, blocks }))
    }

    /// The family of a U-Net: XL has conditions in addition to the text, 2.x matrices around its transformers, 1.x convolutions.
    fn unet_family(&self, source: &UNetSource) -> Result<Family, SingleFileError> {
        let shape = |name: &str| source.key(name).and_then(|key| self.shape(&key));
        let text = shape("mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight").and_then(|shape| shape.get(1).copied());
        if let (Some(added), Some(key)) = (shape("add_embedding.linear_1.weight"), source.key("add_embedding.linear_1.weight")) {
            return match (added.get(1), text) {
                (Some(2560), _) => Err(SingleFileError::OtherFamily { family: "the refiner of Stable Diffusion XL", key }),
                (Some(1536 | 2048), Some(1024)) => Err(SingleFileError::OtherFamily { family: "Stable unCLIP", key }),
                _ => Ok(Family::StableDiffusionXl),
            };
        }
        let linear = shape("mid_block.attentions.0.proj_in.weight").is_some_and(|shape| shape.len() == 2);
        Ok(if linear { Family::StableDiffusion2 } else { Family::StableDiffusion1 })
    }

    fn unet(&mut self, source: &UNetSource, image: Option<usize>) -> Result<Network<UNet2DConditionConfig>, SingleFileError> {
        let stored = self.stored;
        let shape = |name: &str| source.key(name).and_then(|key| stored.get(&key)).map(Vec::as_slice);
        let config = Shapes { shape: &shape }.unet(&source.blocks.layers, image);
        let locations = |name: &str| source.key(name).map(Location::Whole).into_iter().collect();
        self.part(Part::Unet, config, UNet2DConditionConfig::validate, unet_tensors, locations)
    }

    fn autoencoder(&mut self, family: Option<Family>, image: Option<usize>) -> Result<Option<Network<AutoencoderKlConfig>>, SingleFileError> {
        let component = Part::Vae;
        let candidates = [("first_stage_model.", "first_stage_model."), ("vae.", "vae."), ("encoder.", ""), ("decoder.", "")];
        let Some(prefix) = self.one_of(component, &candidates[..3])?.or(self.one_of(component, &candidates[3..])?) else { return Ok(None) };
        // The text encoder of transformers has an `encoder.` too.
        if prefix.is_empty() && !["encoder.conv_in.", "decoder.conv_in.", "encoder.down", "decoder.up"].iter().any(|name| self.has_prefix(name)) {
            return Ok(None);
        }
        let original = !self.has_prefix(&format!("{prefix}encoder.down_blocks.")) && !self.has_prefix(&format!("{prefix}decoder.up_blocks."));
        let stored = self.stored;
        let levels = (0..).take_while(|level| self.has_prefix(&format!("{prefix}encoder.down.{level}."))).count();
        let names = |name: &str| -> Vec<String> {
            let names = match original {
                true => [original_autoencoder(name, levels), None],
                false => [Some(name.to_owned()), former_autoencoder(name)],
            };
            names.into_iter().flatten().map(|name| format!("{prefix}{name}")).collect()
        };
        let shape = |name: &str| names(name).iter().find_map(|key| stored.get(key)).map(Vec::as_slice);
        let mut config = Shapes { shape: &shape }.autoencoder(image);
        if let Some(family) = family {
            config.scaling_factor = family.scaling_factor();
        }
        let locations = |name: &str| names(name).into_iter().map(Location::Whole).collect();
        self.part(component, config, AutoencoderKlConfig::validate, autoencoder_tensors, locations).map(Some)
    }

    /// The text encoders of a file with a U-Net of `family`.
    fn text_encoders(&mut self, family: Option<Family>) -> Result<(Option<TextEncoder>, Option<TextEncoder>), SingleFileError> {
        let candidates = [
            ("cond_stage_model.transformer.", ("cond_stage_model.transformer.", false)),
            ("cond_stage_model.model.", ("cond_stage_model.model.", true)),
            ("conditioner.embedders.0.transformer.", ("conditioner.embedders.0.transformer.", false)),
            ("text_model.", ("", false)),
            ("embeddings.token_embedding.", ("", false)),
        ];
        let first = self.one_of(Part::TextEncoder, &candidates)?;
        let second = self.has_prefix("conditioner.embedders.1.model.").then_some(("conditioner.embedders.1.model.", true));
        // The activation is not in the file: OpenCLIP's models have the exact one.
        let (xl, sd2) = (family == Some(Family::StableDiffusionXl), family == Some(Family::StableDiffusion2));
        if let Some((prefix, _)) = first.filter(|(prefix, _)| xl && prefix.starts_with("cond_stage")) {
            return Err(SingleFileError::Structure(format!(
                "the U-Net of the file is of Stable Diffusion XL, but its text encoder is named {prefix}*, as in 1.x and 2.x"
            )));
        }
        let first = match first {
            Some((prefix, fused)) => Some(self.text_encoder(Part::TextEncoder, prefix, fused, fused || sd2, false)?),
            None => None,
        };
        let second = match second {
            Some((prefix, fused)) => Some(self.text_encoder(Part::TextEncoder2, prefix, fused, true, true)?),
            None => None,
        };
        Ok((first, second))
    }

    fn text_encoder(
        &mut self,
        component: Part,
        prefix: &str,
        fused: bool,
        open_clip_activation: bool,
        with_projection: bool,
    ) -> Result<Network<ClipTextConfig>, SingleFileError> {
        let stored = self.stored;
        let locations = |name: &str| -> Vec<Location> {
            let with_prefix = |name: &str| format!("{prefix}{name}");
            match open_clip(name) {
                Some(Location::Whole(name)) if fused => vec![Location::Whole(with_prefix(&name))],
                Some(Location::Third(name, third)) if fused => vec![Location::Third(with_prefix(&name), third)],
                Some(Location::Transposed(name)) if fused => vec![Location::Transposed(with_prefix(&name))],
                None if fused => Vec::new(),
                // transformers names them with and without `text_model.`, by version.
                _ => [Some(name), name.strip_prefix("text_model.")].into_iter().flatten().map(|name| Location::Whole(with_prefix(name))).collect(),
            }
        };
        let layer = |index: usize| match fused {
            true => vec![format!("{prefix}transformer.resblocks.{index}.")],
            false => ["text_model.", ""].map(|text| format!("{prefix}{text}encoder.layers.{index}.")).to_vec(),
        };
        let mut layers = (0..).take_while(|&index| layer(index).iter().any(|prefix| self.has_prefix(prefix))).count();
        // Only shapes that need no transform are read here; those of the projection are the other way round.
        let shape = |name: &str| {
            let locations = locations(name);
            locations.iter().find_map(|location| match location {
                Location::Whole(key) => stored.get(key).map(Vec::as_slice),
                _ => None,
            })
        };
        let mut config = Shapes { shape: &shape }.text_encoder(layers, open_clip_activation);
        if component == Part::TextEncoder && fused && config.hidden_size == SD2_WIDTH {
            layers = layers.min(SD2_LAYERS);
        }
        config.num_hidden_layers = layers;
        config.with_projection = with_projection;
        if with_projection {
            config.projection_dim =
                stored.get(&format!("{prefix}text_projection")).and_then(|shape| shape.get(1).copied()).unwrap_or(config.hidden_size);
        }
        self.part(component, config, ClipTextConfig::validate, text_encoder_tensors, locations)
    }

    /// A network: each tensor that its configuration implies, from the first of its locations that the file has.
    fn part<C>(
        &mut self,
        component: Part,
        config: C,
        validate: fn(&C) -> Result<(), ConfigError>,
        expected: fn(&C, &mut Visit<'_, SingleFileError>) -> Result<(), SingleFileError>,
        locations: impl Fn(&str) -> Vec<Location>,
    ) -> Result<Network<C>, SingleFileError> {
        validate(&config).map_err(|error| SingleFileError::Config { component, error })?;
        let mut tensors = BTreeMap::new();
        expected(&config, &mut |name, shape| {
            let locations = locations(name);
            let mut found = locations.iter().filter_map(|location| self.stored.get_key_value(location.key()).map(|stored| (location, stored)));
            let Some((location, (key, stored_shape))) = found.next() else {
                let key = locations.first().map_or(name, Location::key).to_owned();
                return Err(SingleFileError::Missing { component, key, name: name.to_owned(), shape: shape.to_vec() });
            };
            if let Some((second, _)) = found.next() {
                return Err(SingleFileError::Twice { component, first: key.clone(), second: second.key().to_owned() });
            }
            let Some(transform) = location.transform(name, shape, stored_shape) else {
                let (key, found, expected) = (key.clone(), stored_shape.clone(), location.stored_shape(shape));
                return Err(SingleFileError::Shape { component, key, found, expected, target: format!("{name} {shape:?}") });
            };
            self.used.insert(key);
            let tensor = StoredTensor { key: key.clone(), stored_shape: stored_shape.clone(), shape: shape.to_vec(), transform };
            tensors.insert(name.to_owned(), tensor);
            Ok(())
        })?;
        Ok(Network { config, tensors })
    }

    /// The tensors that no network uses, if they may be passed over.
    fn rest(&self) -> Result<Vec<String>, SingleFileError> {
        let rest = self.stored.keys().filter(|key| !self.used.contains(key.as_str()));
        rest.map(|key| match surplus_of(key) {
            Some(component) => Err(SingleFileError::Unexpected { component, key: key.clone() }),
            None => Ok(key.clone()),
        })
        .collect()
    }
}

/// The network to which a surplus tensor would belong; `None` for tensors that are known to be of no use, and those of no network.
fn surplus_of(key: &str) -> Option<Part> {
    // Numbers of positions, masks, what losses and contrastive training need, and the half of CLIP that sees images.
    const USELESS: [&str; 7] =
        ["position_ids", "attn_mask", "logit_scale", "text_projection", "text_projection.weight", "logvar", "text_model.embeddings.position_ids"];
    const PREFIXES: [(&str, Part); 18] = [
        (UNET, Part::Unet),
        ("diffusion_model.", Part::Unet),
        ("first_stage_model.", Part::Vae),
        ("vae.", Part::Vae),
        ("cond_stage_model.transformer.", Part::TextEncoder),
        ("cond_stage_model.model.", Part::TextEncoder),
        ("conditioner.embedders.0.", Part::TextEncoder),
        ("conditioner.embedders.1.", Part::TextEncoder2),
        ("down_blocks.", Part::Unet),
        ("mid_block.", Part::Unet),
        ("up_blocks.", Part::Unet),
        ("input_blocks.", Part::Unet),
        ("middle_block.", Part::Unet),
        ("output_blocks.", Part::Unet),
        ("text_model.", Part::TextEncoder),
        ("encoder.layers.", Part::TextEncoder),
        ("encoder.", Part::Vae),
        ("decoder.", Part::Vae),
    ];
    let (rest, component) = PREFIXES.iter().find_map(|(prefix, component)| key.strip_prefix(prefix).map(|rest| (rest, *component)))?;
    let rest = rest.trim_start_matches("model.").trim_start_matches("transformer.");
    let unused_layer = key.strip_prefix("cond_stage_model.model.transformer.resblocks.").and_then(|rest| rest.split('.').next()?.parse().ok());
    let useless = component != Part::Unet
        && (USELESS.contains(&rest)
            || rest.ends_with(".position_ids")
            || ["loss.", "visual.", "model_ema."].iter().any(|prefix| rest.starts_with(prefix))
            || unused_layer.is_some_and(|layer: usize| layer >= SD2_LAYERS));
    (!useless).then_some(component)
}

impl Location {
    /// The stored name.
    pub fn key(&self) -> &str {
        match self {
            Self::Whole(key) | Self::Third(key, _) | Self::Transposed(key) => key,
        }
    }

    /// The shape that is stored there for a tensor of this shape.
    fn stored_shape(&self, shape: &[usize]) -> Vec<usize> {
        let mut shape = shape.to_vec();
        match self {
            Self::Whole(_) => {}
            Self::Third(..) => shape[0] *= 3,
            Self::Transposed(_) => shape.reverse(),
        }
        shape
    }

    /// What makes the tensor `name` of this shape from the stored one, if anything does.
    fn transform(&self, name: &str, shape: &[usize], stored: &[usize]) -> Option<Transform> {
        let fits = stored == self.stored_shape(shape);
        match self {
            Self::Whole(_) if fits => Some(Transform::None),
            // Attention of autoencoders was 1x1 convolutions.
            Self::Whole(_) if name.contains(".mid_block.attentions.") && shape.len() == 2 => {
                let (matrix, ones) = stored.split_at_checked(2)?;
                (matrix == shape && ones.iter().all(|&axis| axis == 1)).then_some(Transform::DropTrailingOnes)
            }
            Self::Third(_, third) if fits => Some(Transform::Rows(third * shape[0]..(third + 1) * shape[0])),
            Self::Transposed(_) if fits => Some(Transform::Transpose),
            _ => None,
        }
    }
}
