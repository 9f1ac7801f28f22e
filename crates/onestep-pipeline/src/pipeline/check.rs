//! Checks that the parts of a pipeline fit, before anything is computed.

use super::{ComponentConfig, Pipeline, open::SCHEDULER_CONFIG};
use crate::{Part, error::PipelineError};

/// Channels of an image.
const COLOURS: usize = 3;
/// Numbers that Stable Diffusion XL is told about an image: original size, crop, target size.
const TIME_IDS: usize = 6;

/// What a model is to be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Images are generated with it.
    Sample,
    /// It is the teacher of a distillation, or is trained.
    Distil,
    /// It is compiled into a bundle.
    Export,
}

impl Use {
    /// All uses.
    pub const ALL: [Self; 3] = [Self::Sample, Self::Distil, Self::Export];

    /// The name for reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sample => "sample",
            Self::Distil => "distil",
            Self::Export => "export",
        }
    }
}

impl Pipeline {
    /// Checks that all components are there, are implemented for that use, and fit together: channels, widths of texts, weights.
    /// Tokenizers are checked by [`check_tokenizer`](Self::check_tokenizer). Call both before any computation. Values of weights are
    /// checked when they are read.
    ///
    /// # Errors
    /// A component that is missing or cannot be used, with its file; the first two components that do not fit, with both numbers.
    pub fn check_for(&self, _wanted: Use) -> Result<(), PipelineError> {
        let is_xl = self.is_xl.clone()?;
        self.check_index()?;
        for part in self.parts() {
            self.component(*part)?;
        }
        self.scheduler_config()?;
        self.check_channels()?;
        self.check_widths(is_xl)?;
        self.parts().iter().try_for_each(|part| self.component(*part)?.check_weights())
    }

    /// Checks the tokenizer of a text encoder.
    ///
    /// # Errors
    /// Those of [`open_tokenizer`](Self::open_tokenizer); more tokens than positions, or more ids than embeddings, with both numbers.
    pub fn check_tokenizer(&self, part: Part) -> Result<(), PipelineError> {
        let opened = self.open_tokenizer(part)?;
        let (tokens, ids) = (opened.length(), opened.vocabulary_size());
        let tokenizer = opened.location();
        let (text, file) = (self.text_config(part)?, self.config_name(part));
        let refuse = |message: String| Err(PipelineError::input(message));
        if tokens > text.max_position_embeddings {
            return refuse(format!(
                "{tokenizer} gives {tokens} tokens for a prompt and {file} has max_position_embeddings = {}: there must be no more tokens than positions",
                text.max_position_embeddings
            ));
        }
        if ids > text.vocab_size {
            return refuse(format!(
                "{tokenizer} has {ids} ids and {file} has vocab_size = {}: every id needs an embedding; resize the embeddings of the text encoder, or use \
                 the tokenizer that it was trained with",
                text.vocab_size
            ));
        }
        Ok(())
    }

    fn check_index(&self) -> Result<(), PipelineError> {
        if self.class().is_none() {
            return Ok(());
        }
        self.index.check(self.parts()).map_err(|reason| self.refuse_file("model_index.json", &reason))
    }

    /// Latents have the same channels in the denoiser and the autoencoder, and images three.
    fn check_channels(&self) -> Result<(), PipelineError> {
        let unet = self.unet_config()?;
        let latent = self.check_colours()?;
        for (key, channels) in [("in_channels", unet.in_channels), ("out_channels", unet.out_channels)] {
            if channels != latent {
                let hint = if channels > latent && key == "in_channels" { "; models for inpainting cannot be used" } else { "" };
                return Err(PipelineError::input(format!(
                    "{}: {} has {key} = {channels} and {} has latent_channels = {latent}: they must be equal{hint}",
                    self.path.display(),
                    self.config_name(Part::Unet),
                    self.config_name(Part::Vae)
                )));
            }
        }
        Ok(())
    }

    /// Checks that the autoencoder's images have red, green and blue; returns the channels of its latents.
    ///
    /// # Errors
    /// A component that cannot be used; images of other channels.
    pub fn check_colours(&self) -> Result<usize, PipelineError> {
        let (colours, latent) = match self.component(Part::Vae)?.config() {
            ComponentConfig::Autoencoder(config) => ([config.in_channels, config.out_channels], config.latent_channels),
            ComponentConfig::TinyAutoencoder(config) => ([config.in_channels, config.out_channels], config.latent_channels),
            _ => ([COLOURS; 2], 0),
        };
        for (key, channels) in ["in_channels", "out_channels"].into_iter().zip(colours) {
            if channels != COLOURS {
                return Err(self.refuse(Part::Vae, &format!("{key} = {channels}, expected {COLOURS}: images have red, green and blue")));
            }
        }
        Ok(latent)
    }

    /// The features of texts are those that the denoiser attends to.
    fn check_widths(&self, is_xl: bool) -> Result<(), PipelineError> {
        let unet = self.unet_config()?;
        let (unet_file, text_file) = (self.config_name(Part::Unet), self.config_name(Part::TextEncoder));
        let refuse = |message: String| Err(PipelineError::input(format!("{}: {message}", self.path.display())));
        let first = self.text_config(Part::TextEncoder)?.hidden_size;
        let (width, told) = if is_xl {
            let second = self.text_config(Part::TextEncoder2)?.hidden_size;
            let file = self.config_name(Part::TextEncoder2);
            (
                first + second,
                format!("{text_file} has hidden_size = {first}, {file} has hidden_size = {second}: it must be their sum, {}", first + second),
            )
        } else {
            (first, format!("{text_file} has hidden_size = {first}: they must be equal"))
        };
        let widths = unet.cross_attention_dim.expand(unet.block_out_channels.len()).unwrap_or_default();
        if let Some(other) = widths.iter().find(|other| **other != width) {
            return refuse(format!("{unet_file} has cross_attention_dim = {other} and {told}"));
        }
        if unet.addition_embed_type.is_some() != is_xl {
            let (has, expected) = match &unet.addition_embed_type {
                Some(kind) => (format!("{kind:?}"), "null"),
                None => ("null".to_owned(), "\"text_time\""),
            };
            let class = self.class().unwrap_or(if is_xl { "Stable Diffusion XL" } else { "Stable Diffusion 1.x and 2.x" });
            return refuse(format!("{unet_file} has addition_embed_type = {has}, and a pipeline of the class {class} expects {expected}"));
        }
        if is_xl {
            let pooled = self.text_config(Part::TextEncoder2)?.projection_dim;
            let (one, all) = (unet.addition_time_embed_dim.unwrap_or_default(), unet.projection_class_embeddings_input_dim.unwrap_or_default());
            let expected = pooled.saturating_add(one.saturating_mul(TIME_IDS));
            if all != expected {
                let hint = if all == pooled.saturating_add(one.saturating_mul(TIME_IDS - 1)) { "; the refiner of SDXL cannot be used" } else { "" };
                return refuse(format!(
                    "{unet_file} has projection_class_embeddings_input_dim = {all}, and {} has projection_dim = {pooled}: with {TIME_IDS} ids of \
                     addition_time_embed_dim = {one} it must be {expected}{hint}",
                    self.config_name(Part::TextEncoder2)
                ));
            }
        }
        Ok(())
    }

    /// An error about `scheduler_config.json`.
    pub fn refuse_scheduler(&self, reason: &str) -> PipelineError {
        self.refuse_file(SCHEDULER_CONFIG, reason)
    }
}
