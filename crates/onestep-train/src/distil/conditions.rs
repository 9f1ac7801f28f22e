//! Inputs of the student: conditions and noises of pairs.

use burn::tensor::{Device, Tensor, TensorData};
use onestep_nets::Conditioning;

use crate::{
    error::TrainError,
    observer::Observer,
    pairs::Pairs,
    pipeline_folder::PipelineFolder,
    sampler::{encode_prompts, noises, note_long_captions},
};

/// The text encoder's output for every prompt of a pair set, computed once because the text encoder is frozen.
pub(super) struct Conditions {
    /// [prompts, tokens, features], flat.
    values: Vec<f32>,
    /// [tokens, features].
    shape: [usize; 2],
}

impl Conditions {
    pub fn new(teacher: &PipelineFolder, pairs: &Pairs, device: &Device, observer: &mut dyn Observer) -> Result<Self, TrainError> {
        let (text_encoder, tokenizer) = (teacher.text_encoder(device)?, teacher.tokenizer()?);
        note_long_captions(&tokenizer, pairs.index.prompts.iter().map(String::as_str), observer)?;
        let (mut values, mut shape) = (Vec::new(), [0, 0]);
        for prompts in pairs.index.prompts.chunks(64) {
            let texts: Vec<&str> = prompts.iter().map(String::as_str).collect();
            let context = encode_prompts(&text_encoder, &tokenizer, &texts, device)?.states;
            shape = [context.dims()[1], context.dims()[2]];
            values.extend(context.to_data().try_to_vec::<f32>().unwrap_or_default());
        }
        Ok(Self { values, shape })
    }

    /// The conditions of some pairs.
    pub fn of(&self, pairs: &Pairs, indices: impl ExactSizeIterator<Item = usize>, device: &Device) -> Conditioning {
        let elements = self.shape[0] * self.shape[1];
        let count = indices.len();
        let values: Vec<f32> = indices.flat_map(|pair| self.values[pairs.rows[pair] * elements..][..elements].iter().copied()).collect();
        Tensor::<3>::from_data(TensorData::new(values, [count, self.shape[0], self.shape[1]]), device).into()
    }
}

/// The noises of some pairs: [N,C,H,W].
pub(super) fn noises_of(pairs: &Pairs, indices: impl Iterator<Item = usize>, device: &Device) -> Tensor<4> {
    let seeds: Vec<u64> = indices.map(|pair| pairs.seeds[pair]).collect();
    noises(&seeds, pairs.index.shape, device)
}
