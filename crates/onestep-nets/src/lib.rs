//! The networks of onestep as burn modules: the U-Net, the autoencoder and the text encoder of latent diffusion models,
//! under the configuration keys and parameter names of diffusers and transformers; and a classifier of our own for evaluation.
//!
//! A network here is written once. Training runs it on a burn device; export captures its forward pass. Nothing in this
//! crate opens a file: configurations are read from text and weights from bytes.
//!
//! Layout of tensors, everywhere: pictures and latents are `[batch, channels, height, width]`, sequences
//! `[batch, tokens, features]`.

mod blocks;
mod classifier;
mod clip;
mod config;
mod decoder;
mod generator;
mod schedule;
mod unet;
mod vae;
pub mod weights;

pub use blocks::{AttentionBlock, CrossAttention, Downsample2d, Mlp, Projection, ResnetBlock2d, TimestepEmbedding, Upsample2d, timestep_features};
pub use classifier::{ClassifierLevel, PictureClassifier, PictureClassifierConfig};
pub use clip::{
    ClipActivation, ClipAttention, ClipEmbeddings, ClipEncoder, ClipEncoderLayer, ClipTextConfig, ClipTextModel, ClipTextOutput, ClipTextTransformer,
};
pub use config::{ConfigError, PerBlock};
pub use decoder::Decoder;
pub use generator::Generator;
pub use schedule::{BetaSchedule, DdimStep, NoiseSchedule, SchedulerConfig, TimestepSpacing};
pub use unet::{
    AddedConditions, BasicTransformerBlock, DownBlock, DownBlockType, Encoded, FeedForward, FeedForwardNet, Geglu, MidBlock, Transformer2d,
    UNet2DConditionConfig, UNet2DConditionModel, UpBlock, UpBlockType,
};
pub use vae::{AutoencoderKl, AutoencoderKlConfig, LatentDistribution, VaeDecoder, VaeDownBlock, VaeEncoder, VaeMidBlock, VaeUpBlock};
