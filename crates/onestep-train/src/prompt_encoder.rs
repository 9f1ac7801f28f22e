//! Prompts as conditions of a denoiser, for every family of pipelines.

use burn::tensor::{Device, Tensor};
use onestep_nets::{AddedConditions, ClipTextModel, ClipTextOutput, Conditioning, guidance_features};

use crate::{
    data::CaptionTokenizer,
    error::TrainError,
    observer::Observer,
    pipeline_folder::PipelineFolder,
    sampler::{encode_prompts, note_long_captions, prompt_ids},
};

/// A text encoder with its tokenizer.
pub struct TextEncoder {
    /// The network.
    pub network: ClipTextModel,
    /// Its tokenizer.
    pub tokenizer: CaptionTokenizer,
}

/// What Stable Diffusion XL has besides the first text encoder.
pub struct SecondTextEncoder {
    /// The encoder, a network with projection.
    pub encoder: TextEncoder,
    /// True if the unconditional prediction gets states of zeros instead of those of the empty prompt (`force_zeros_for_empty_prompt`).
    pub zero_unconditional: bool,
    /// Height and width in pixels that images are generated at.
    pub image: [usize; 2],
}

/// The text encoders of a pipeline, which turn prompts into conditions of its denoiser.
///
/// - With one text encoder (Stable Diffusion 1 and 2) the conditions are its last hidden states, normalised.
/// - With two (Stable Diffusion XL) they are the penultimate hidden states of both, joined along the features, the projected pooled text of the
///   second, and the time ids of an image that was neither scaled nor cropped.
/// - A denoiser that takes the guidance scale as an input (`time_cond_proj_dim`) also gets its features.
pub struct PromptEncoder {
    first: TextEncoder,
    second: Option<SecondTextEncoder>,
    /// Features of the guidance scale, [1, size].
    guidance: Option<Tensor<2>>,
}

impl PromptEncoder {
    /// The encoder of these networks.
    ///
    /// # Errors
    /// A second text encoder without projection, or with prompts of another length than the first one's.
    pub fn new(first: TextEncoder, second: Option<SecondTextEncoder>) -> Result<Self, TrainError> {
        if let Some(SecondTextEncoder { encoder, .. }) = &second {
            if encoder.network.text_projection.is_none() {
                return Err(TrainError::input(
                    "text_encoder_2: expected a CLIPTextModelWithProjection, found a network without text_projection; use the second text encoder \
                     of Stable Diffusion XL",
                ));
            }
            let lengths = [first.tokenizer.length(), encoder.tokenizer.length()];
            if lengths[0] != lengths[1] {
                return Err(TrainError::input(format!(
                    "tokenizer and tokenizer_2 give {} and {} tokens for a prompt, expected the same number, since their states are joined token by \
                     token; set model_max_length of both alike",
                    lengths[0], lengths[1]
                )));
            }
        }
        Ok(Self { first, second, guidance: None })
    }

    /// The text encoders of a pipeline. `guidance` is the guidance scale that a denoiser with `time_cond_proj_dim` is told.
    ///
    /// # Errors
    /// A file that is missing or cannot be used; those of [`new`](Self::new).
    pub fn open(pipeline: &PipelineFolder, guidance: f64, device: &Device) -> Result<Self, TrainError> {
        let first = TextEncoder { network: pipeline.text_encoder(device)?, tokenizer: pipeline.tokenizer()? };
        let second = match (pipeline.text_encoder_2(device)?, pipeline.tokenizer_2()?) {
            (Some(network), Some(tokenizer)) => Some(SecondTextEncoder {
                encoder: TextEncoder { network, tokenizer },
                zero_unconditional: pipeline.pipeline().force_zeros_for_empty_prompt(),
                image: pipeline.image_sizes()?.image,
            }),
            _ => None,
        };
        let size = pipeline.unet_config()?.time_cond_proj_dim;
        let encoder = Self::new(first, second)?;
        Ok(Self { guidance: size.map(|size| guidance_features(guidance, size, device)), ..encoder })
    }

    /// Tells how many captions are longer than the text encoders read, if there are any.
    ///
    /// # Errors
    /// A caption that a tokenizer refuses.
    pub fn note_long_captions<'c>(&self, captions: impl IntoIterator<Item = &'c str>, observer: &mut dyn Observer) -> Result<(), TrainError> {
        note_long_captions(&self.first.tokenizer, captions, observer)
    }

    /// The conditions of prompts.
    ///
    /// # Errors
    /// A prompt that a tokenizer refuses.
    pub fn encode(&self, prompts: &[&str], device: &Device) -> Result<Conditioning, TrainError> {
        let TextEncoder { network, tokenizer } = &self.first;
        let count = prompts.len();
        let conditions = match &self.second {
            None => encode_prompts(network, tokenizer, prompts, device)?,
            Some(SecondTextEncoder { encoder, image: [height, width], .. }) => {
                let first = network.forward(prompt_ids(tokenizer, prompts, device)?);
                let ids = prompt_ids(&encoder.tokenizer, prompts, device)?;
                let second = encoder.network.forward(ids.clone());
                let pooled = encoder.network.pool(second.last_hidden_state.clone(), ids);
                let text_embeds = encoder.network.project(pooled.clone()).unwrap_or(pooled);
                // Original size, crop and target size.
                let ids = [*height, *width, 0, 0, *height, *width].map(|pixels| pixels as f32);
                let time_ids = Tensor::<1>::from_data(ids, device).reshape([1, 6]).repeat_dim(0, count);
                let states = Tensor::cat(vec![penultimate(&first), penultimate(&second)], 2);
                Conditioning { states, added: Some(AddedConditions { text_embeds, time_ids }), guidance: None }
            }
        };
        let guidance = self.guidance.clone().map(|features| Tensor::from_data(features.into_data(), device).repeat_dim(0, count));
        Ok(Conditioning { guidance, ..conditions })
    }

    /// The conditions of the unconditional prediction for one image, where no negative prompt is given.
    ///
    /// # Errors
    /// A tokenizer that refuses the empty prompt.
    pub fn unconditional(&self, device: &Device) -> Result<Conditioning, TrainError> {
        let conditions = self.encode(&[""], device)?;
        if !self.second.as_ref().is_some_and(|second| second.zero_unconditional) {
            return Ok(conditions);
        }
        let added = conditions.added.map(|added| AddedConditions { text_embeds: added.text_embeds.zeros_like(), ..added });
        Ok(Conditioning { states: conditions.states.zeros_like(), added, ..conditions })
    }
}

/// The hidden states before the last layer, not normalised.
fn penultimate(output: &ClipTextOutput) -> Tensor<3> {
    output.hidden_states[output.hidden_states.len().saturating_sub(2)].clone()
}
