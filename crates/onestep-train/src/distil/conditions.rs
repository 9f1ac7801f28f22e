//! Inputs of the student: conditions and noises of pairs.

use burn::tensor::{Device, Tensor, TensorData};
use onestep_nets::{AddedConditions, Conditioning};

use crate::{error::TrainError, observer::Observer, pairs::Pairs, prompt_encoder::PromptEncoder, sampler::noises};

/// The conditions of every prompt of a pair set, computed once because the text encoders are frozen.
pub(super) struct Conditions {
    states: Rows,
    /// Tokens of a prompt.
    tokens: usize,
    text_embeds: Option<Rows>,
    time_ids: Option<Rows>,
    guidance: Option<Rows>,
}

impl Conditions {
    pub fn new(encoder: &PromptEncoder, pairs: &Pairs, device: &Device, observer: &mut dyn Observer) -> Result<Self, TrainError> {
        encoder.note_long_captions(pairs.index.prompts.iter().map(String::as_str), observer)?;
        let mut all = Self { states: Rows::default(), tokens: 0, text_embeds: None, time_ids: None, guidance: None };
        for prompts in pairs.index.prompts.chunks(64) {
            let texts: Vec<&str> = prompts.iter().map(String::as_str).collect();
            let Conditioning { states, added, guidance } = encoder.encode(&texts, device)?;
            all.tokens = states.dims()[1];
            all.states.push(states);
            if let Some(AddedConditions { text_embeds, time_ids }) = added {
                all.text_embeds.get_or_insert_default().push(text_embeds);
                all.time_ids.get_or_insert_default().push(time_ids);
            }
            if let Some(guidance) = guidance {
                all.guidance.get_or_insert_default().push(guidance);
            }
        }
        Ok(all)
    }

    /// The conditions of some pairs.
    pub fn of(&self, pairs: &Pairs, indices: impl ExactSizeIterator<Item = usize>, device: &Device) -> Conditioning {
        let prompts: Vec<usize> = indices.map(|pair| pairs.rows[pair]).collect();
        let states = self.states.of(&prompts, device).reshape([prompts.len(), self.tokens, self.states.width / self.tokens.max(1)]);
        let added = self.text_embeds.as_ref().zip(self.time_ids.as_ref());
        let added = added.map(|(texts, ids)| AddedConditions { text_embeds: texts.of(&prompts, device), time_ids: ids.of(&prompts, device) });
        Conditioning { states, added, guidance: self.guidance.as_ref().map(|rows| rows.of(&prompts, device)) }
    }
}

/// A row of numbers for every prompt.
#[derive(Default)]
struct Rows {
    values: Vec<f32>,
    width: usize,
}

impl Rows {
    /// Adds the rows of `x`, [prompts, …].
    fn push<const D: usize>(&mut self, x: Tensor<D>) {
        self.width = x.dims()[1..].iter().product();
        self.values.extend(x.to_data().try_to_vec::<f32>().unwrap_or_default());
    }

    /// The rows of some prompts, [prompts, width].
    fn of(&self, prompts: &[usize], device: &Device) -> Tensor<2> {
        let values: Vec<f32> = prompts.iter().flat_map(|&prompt| self.values[prompt * self.width..][..self.width].iter().copied()).collect();
        Tensor::from_data(TensorData::new(values, [prompts.len(), self.width]), device)
    }
}

/// The noises of some pairs: [N,C,H,W].
pub(super) fn noises_of(pairs: &Pairs, indices: impl Iterator<Item = usize>, device: &Device) -> Tensor<4> {
    let seeds: Vec<u64> = indices.map(|pair| pairs.seeds[pair]).collect();
    noises(&seeds, pairs.index.shape, device)
}
