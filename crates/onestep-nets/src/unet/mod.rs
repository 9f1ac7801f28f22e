//! diffusers' `UNet2DConditionModel`.

mod added_conditions;
mod basic_transformer_block;
mod down_block;
mod feed_forward;
mod mid_block;
mod time_features;
mod transformer2d;
mod unet2d_condition_model;
mod up_block;

pub use added_conditions::AddedConditions;
pub use basic_transformer_block::BasicTransformerBlock;
pub use down_block::DownBlock;
pub use feed_forward::{FeedForward, FeedForwardNet, Geglu};
pub use mid_block::MidBlock;
pub use time_features::TimeFeatures;
pub use transformer2d::Transformer2d;

pub use unet2d_condition_model::{Encoded, UNet2DConditionModel};
pub use up_block::UpBlock;
