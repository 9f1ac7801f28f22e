//! The networks of onestep as burn modules.
//!
//! - Latent diffusion models: U-Net, autoencoder and text encoder, with the configuration keys and parameter names of diffusers and transformers.
//! - Training: the one-step generator, the discriminator and the perceptual metric LatentLPIPS.
//! - Evaluation: Inception-v3 and CLIP, with the parameter names of torchvision and transformers, and an image classifier.
//!
//! Each network is implemented once: training runs it on a burn device, and export captures its forward pass. The crate opens no file; it reads
//! configurations from text and weights from bytes.
//!
//! Images and latents have the shape `[batch, channels, height, width]`, sequences `[batch, tokens, features]`.

mod blocks;
mod classifier;
mod clip;
mod conditioning;
mod decoder;
mod discriminator;
mod generator;
mod inception;
mod init;
mod latent_lpips;
mod noising;
mod precision;
mod unet;
mod vae;
pub mod weights;

pub use blocks::{
    AttentionBlock, CrossAttention, Downsample2d, FrozenBatchNorm2d, Mlp, Projection, ResnetBlock2d, TimestepEmbedding, Upsample2d, timestep_features,
};
pub use classifier::{ClassifierLevel, ImageClassifier, ImageClassifierConfig};
pub use clip::{
    CLIP_MEAN, CLIP_STD, ClipAttention, ClipConfig, ClipEmbeddings, ClipEncoder, ClipEncoderLayer, ClipModel, ClipTextModel, ClipTextOutput,
    ClipTextTransformer, ClipVisionConfig, ClipVisionEmbeddings, ClipVisionTransformer,
};
pub use conditioning::Conditioning;
pub use decoder::Decoder;
pub use discriminator::{Discriminator, DiscriminatorParts, Readout, Readouts};
pub use generator::Generator;
pub use inception::{InceptionA, InceptionB, InceptionC, InceptionConv, InceptionD, InceptionE, InceptionLayout, InceptionPool, InceptionV3};
pub use init::Init;
pub use latent_lpips::{FEATURES, LatentClassifier, LatentLpips, LatentLpipsConfig, LatentScaling, LatentVgg, MetricSpace, NormKind};
pub use noising::add_noise;
pub use onestep_pipeline::config::{
    AutoencoderKlConfig, BetaSchedule, ClipActivation, ClipTextConfig, ConfigError, DownBlockType, PerBlock, SchedulerConfig, TimestepSpacing,
    UNet2DConditionConfig, UpBlockType, object as config_object,
};
pub use onestep_pipeline::{
    one_step::{OneStep, OneStepRule},
    schedule::NoiseSchedule,
};
pub use precision::in_dtype;
pub use unet::{
    AddedConditions, BasicTransformerBlock, DownBlock, Encoded, FeedForward, FeedForwardNet, Geglu, MidBlock, Transformer2d, UNet2DConditionModel,
    UpBlock,
};
pub use vae::{AutoencoderKl, LatentDistribution, VaeDecoder, VaeDownBlock, VaeEncoder, VaeMidBlock, VaeUpBlock};
