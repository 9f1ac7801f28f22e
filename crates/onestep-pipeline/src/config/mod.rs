//! Configurations: reading a `config.json` key by key, and refusing what is not implemented.

mod autoencoder_kl_config;
mod autoencoder_tiny_config;
mod clip_text_config;
mod config_error;
mod config_reader;
mod per_block;
mod python_json;
mod scheduler_class;
mod scheduler_config;
mod unet2d_condition_config;

pub use autoencoder_kl_config::AutoencoderKlConfig;
pub use autoencoder_tiny_config::AutoencoderTinyConfig;
pub use clip_text_config::{ClipActivation, ClipTextConfig};
pub use config_error::ConfigError;
pub use config_reader::{ConfigReader, object, parse, written};
pub use per_block::PerBlock;
pub use scheduler_class::{BetaSchedule, FinalSigma, PredictionType, SchedulerClass, SigmaSpacing, TimestepSpacing};
pub use scheduler_config::SchedulerConfig;
pub use unet2d_condition_config::{DownBlockType, UNet2DConditionConfig, UpBlockType};
