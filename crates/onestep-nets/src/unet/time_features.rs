//! The embedding of the timestep and of everything else that residual blocks are conditioned on.

use burn::tensor::{DType, Tensor, activation::silu};

use super::AddedConditions;
use crate::{
    blocks::{TimestepEmbedding, timestep_features},
    conditioning::Conditioning,
    precision::cast,
};

/// How numbers become the features that the embedding networks of a U-Net take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TimeFeatures {
    /// True if cosines come before sines.
    pub flip_sin_to_cos: bool,
    /// Shift in the frequencies.
    pub freq_shift: f64,
    /// Number of features of the timestep.
    pub timestep: usize,
    /// Number of features of each of SDXL's time ids; 0 without `text_time`.
    pub time_id: usize,
}

impl TimeFeatures {
    /// The embedding that residual blocks take, `[batch or 1, features]` **after** SiLU, in the element type `dtype`.
    ///
    /// - `time`: the network of the timestep and of the guidance scale;
    /// - `added`: the network of pooled text and time ids (`text_time`);
    /// - `timestep`: `[batch]`, or `[1]` for the whole batch.
    ///
    /// # Panics
    /// If `conditions.added` is needed and missing.
    pub fn embed(
        &self,
        time: &TimestepEmbedding,
        added: Option<&TimestepEmbedding>,
        timestep: Tensor<1>,
        conditions: &Conditioning,
        dtype: DType,
    ) -> Tensor<2> {
        let features = |values: Tensor<1>, size: usize| cast(timestep_features(values, size, self.flip_sin_to_cos, self.freq_shift), dtype);
        let guidance = conditions.guidance.clone().map(|guidance| cast(guidance, dtype));
        let mut embedding = time.forward(features(timestep, self.timestep), guidance);
        if let Some(network) = added {
            let AddedConditions { text_embeds, time_ids } =
                conditions.added.clone().expect("this U-Net has addition_embed_type = text_time and needs AddedConditions");
            let [batch, ids] = time_ids.dims();
            let time_ids = features(time_ids.reshape([batch * ids]), self.time_id).reshape([batch, ids * self.time_id]);
            embedding = embedding + network.forward(Tensor::cat(vec![cast(text_embeds, dtype), time_ids], 1), None);
        }
        silu(embedding)
    }
}
