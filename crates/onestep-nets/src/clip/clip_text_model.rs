//! The text encoder itself.

use burn::{
    module::Module,
    nn::Linear,
    tensor::{Device, Int, Tensor},
};

use onestep_pipeline::config::ClipTextConfig;

use crate::Init;

use super::clip_encoder::{ClipTextOutput, ClipTextTransformer, gaussian_linear};

/// transformers' `CLIPTextModel`, or `CLIPTextModelWithProjection` when it has a projection.
#[derive(Module, Debug)]
pub struct ClipTextModel {
    /// Everything except the projection.
    pub text_model: ClipTextTransformer,
    /// From the pooled text to `text_embeds`, without bias.
    pub text_projection: Option<Linear>,
    /// Id of the token that ends a text; 2 stands for "the highest id" (see [`Self::pool`]).
    pub eos_token_id: usize,
}

impl Init for ClipTextConfig {
    type Network = ClipTextModel;

    fn init(&self, device: &Device) -> ClipTextModel {
        ClipTextModel::new(self, device)
    }
}

impl ClipTextModel {
    /// Initial weights; called by [`Init::init`].
    pub(crate) fn new(config: &ClipTextConfig, device: &Device) -> Self {
        let size = config.hidden_size;
        let std = (size as f64).powf(-0.5) * config.initializer_factor;
        Self {
            text_model: ClipTextTransformer::new(config, device),
            text_projection: config.with_projection.then(|| gaussian_linear(size, config.projection_dim, false, std, device)),
            eos_token_id: config.eos_token_id,
        }
    }

    /// Encodes `input_ids` `[batch, tokens]`, each below the vocabulary's size.
    ///
    /// # Panics
    /// If there are more tokens than positions.
    pub fn forward(&self, input_ids: Tensor<2, Int>) -> ClipTextOutput {
        self.text_model.forward(input_ids)
    }

    /// The features of the token that ends the text (`pooler_output`): `[batch, features]`.
    ///
    /// As transformers: with `eos_token_id = 2`, an old mistake that many files carry, the first token with the highest id;
    /// otherwise the first token with that id, or token 0 where there is none.
    pub fn pool(&self, last_hidden_state: Tensor<3>, input_ids: Tensor<2, Int>) -> Tensor<2> {
        pool(last_hidden_state, input_ids, self.eos_token_id)
    }

    /// `text_embeds` `[batch, projection_dim]` from the pooled text, or `None` without a projection.
    pub fn project(&self, pooled: Tensor<2>) -> Option<Tensor<2>> {
        self.text_projection.as_ref().map(|linear| linear.forward(pooled))
    }
}

/// [`ClipTextModel::pool`].
pub(super) fn pool(last_hidden_state: Tensor<3>, input_ids: Tensor<2, Int>, eos_token_id: usize) -> Tensor<2> {
    let [batch, tokens, features] = last_hidden_state.dims();
    let device = last_hidden_state.device();
    // All positions have different ranks, so that the result does not depend on how argmax breaks ties.
    let n = tokens as i64;
    let earlier: Vec<i64> = (0..n).rev().collect();
    let earlier = Tensor::<1, Int>::from_data(earlier.as_slice(), &device).reshape([1, tokens]);
    let rank = if eos_token_id == 2 {
        input_ids.mul_scalar(n) + earlier
    } else {
        let first: Vec<i64> = (0..n).map(|i| i64::from(i == 0)).collect();
        let first = Tensor::<1, Int>::from_data(first.as_slice(), &device).reshape([1, tokens]);
        let is_end = input_ids.equal_elem(eos_token_id as i64).int();
        is_end * (earlier + 1).mul_scalar(2) + first
    };
    let chosen = rank.clone().equal(rank.max_dim(1).expand([batch, tokens])).float();
    let chosen = if chosen.dtype() == last_hidden_state.dtype() { chosen } else { chosen.cast(last_hidden_state.dtype()) };
    chosen.reshape([batch, 1, tokens]).matmul(last_hidden_state).reshape([batch, features])
}
