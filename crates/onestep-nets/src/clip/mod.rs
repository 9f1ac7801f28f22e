//! transformers' CLIP: the text encoder alone, and the whole of it.

mod clip_config;
mod clip_encoder;
mod clip_model;
mod clip_text_model;
mod clip_vision_config;
mod clip_vision_transformer;

pub use clip_config::ClipConfig;
pub use clip_encoder::{ClipAttention, ClipEmbeddings, ClipEncoder, ClipEncoderLayer, ClipTextOutput, ClipTextTransformer};
pub use clip_model::{CLIP_MEAN, CLIP_STD, ClipModel};
pub use clip_text_model::ClipTextModel;
pub use clip_vision_config::ClipVisionConfig;
pub use clip_vision_transformer::{ClipVisionEmbeddings, ClipVisionTransformer};
