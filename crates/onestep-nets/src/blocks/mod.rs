//! Layers that several networks are built from.

mod attention_block;
mod cross_attention;
mod downsample2d;
mod frozen_batch_norm2d;
mod mlp;
mod projection;
mod resnet_block2d;
mod scaled_dot_product;
mod timestep_embedding;
mod timestep_features;
mod upsample2d;

pub use attention_block::AttentionBlock;
pub use cross_attention::CrossAttention;
pub use downsample2d::Downsample2d;
pub use frozen_batch_norm2d::FrozenBatchNorm2d;
pub use mlp::Mlp;
pub use projection::Projection;
pub use resnet_block2d::ResnetBlock2d;
pub(crate) use scaled_dot_product::scaled_dot_product;
pub use timestep_embedding::TimestepEmbedding;
pub use timestep_features::{guidance_features, timestep_features};
pub use upsample2d::Upsample2d;

use burn::{
    nn::{
        PaddingConfig2d,
        conv::{Conv2d, Conv2dConfig},
    },
    tensor::Device,
};

/// A convolution of stride 1 with an odd square kernel that keeps height and width.
pub(crate) fn same_conv(input: usize, output: usize, kernel: usize, device: &Device) -> Conv2d {
    let pad = kernel / 2;
    Conv2dConfig::new([input, output], [kernel, kernel]).with_padding(PaddingConfig2d::Explicit(pad, pad, pad, pad)).init(device)
}
