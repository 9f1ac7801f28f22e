//! The conditions of a denoiser.

use burn::tensor::Tensor;

use crate::unet::AddedConditions;

/// All conditions of a denoiser except its timestep, for N images.
#[derive(Debug, Clone)]
pub struct Conditioning {
    /// The text encoder's hidden states, `[N, tokens, features]`.
    pub states: Tensor<3>,
    /// The pooled text and the sizes of SDXL; None for other families.
    pub added: Option<AddedConditions>,
    /// Embedding of the guidance scale, `[N, time_cond_proj_dim]`, for networks distilled to take it as an input; None for others.
    pub guidance: Option<Tensor<2>>,
}

impl From<Tensor<3>> for Conditioning {
    /// Hidden states alone.
    fn from(states: Tensor<3>) -> Self {
        Self { states, added: None, guidance: None }
    }
}

impl Conditioning {
    /// Number of images, N.
    pub fn len(&self) -> usize {
        self.states.dims()[0]
    }

    /// True if there are no images.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Each of its parts concatenated along the first axis with that of `other`; a part that one of them lacks is left out.
    pub fn cat(self, other: Self) -> Self {
        let added = self.added.zip(other.added).map(|(a, b)| AddedConditions {
            text_embeds: Tensor::cat(vec![a.text_embeds, b.text_embeds], 0),
            time_ids: Tensor::cat(vec![a.time_ids, b.time_ids], 0),
        });
        let guidance = self.guidance.zip(other.guidance).map(|(a, b)| Tensor::cat(vec![a, b], 0));
        Self { states: Tensor::cat(vec![self.states, other.states], 0), added, guidance }
    }

    /// The conditions of one image for `count` images.
    ///
    /// # Panics
    /// If these are not the conditions of one image.
    pub fn repeat(self, count: usize) -> Self {
        assert_eq!(self.len(), 1, "conditions of one image");
        Self {
            states: self.states.repeat_dim(0, count),
            added: self
                .added
                .map(|added| AddedConditions { text_embeds: added.text_embeds.repeat_dim(0, count), time_ids: added.time_ids.repeat_dim(0, count) }),
            guidance: self.guidance.map(|guidance| guidance.repeat_dim(0, count)),
        }
    }
}
