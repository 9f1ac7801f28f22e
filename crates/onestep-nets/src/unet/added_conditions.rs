//! The additional conditions of SDXL's U-Net.

use burn::tensor::Tensor;

/// The inputs of `addition_embed_type = "text_time"`.
#[derive(Debug, Clone)]
pub struct AddedConditions {
    /// The pooled, projected text, `[batch, features]`.
    pub text_embeds: Tensor<2>,
    /// Original size, crop and target size in pixels, `[batch, 6]`, as floats.
    pub time_ids: Tensor<2>,
}
