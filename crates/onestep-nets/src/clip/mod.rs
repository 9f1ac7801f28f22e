//! transformers' CLIP text encoder.

mod clip_encoder;
mod clip_text_config;
mod clip_text_model;

pub use clip_encoder::{ClipAttention, ClipEmbeddings, ClipEncoder, ClipEncoderLayer, ClipTextTransformer};
pub use clip_text_config::{ClipActivation, ClipTextConfig};
pub use clip_text_model::{ClipTextModel, ClipTextOutput};
