//! The parts of a pipeline that have weights.

use std::fmt;

/// A part of a pipeline that has weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// The denoiser.
    Unet,
    /// The autoencoder.
    Vae,
    /// The text encoder; the first one of Stable Diffusion XL.
    TextEncoder,
    /// The second text encoder of Stable Diffusion XL.
    TextEncoder2,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unet => "the U-Net",
            Self::Vae => "the autoencoder",
            Self::TextEncoder => "the text encoder",
            Self::TextEncoder2 => "the second text encoder",
        })
    }
}

impl Part {
    /// All parts.
    pub const ALL: [Self; 4] = [Self::Unet, Self::Vae, Self::TextEncoder, Self::TextEncoder2];

    /// The name of its folder, and its key in `model_index.json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unet => "unet",
            Self::Vae => "vae",
            Self::TextEncoder => "text_encoder",
            Self::TextEncoder2 => "text_encoder_2",
        }
    }

    /// The name of the weight file that diffusers and transformers write, within the pipeline's folder.
    pub fn weights_name(self) -> String {
        let file = if matches!(self, Self::Unet | Self::Vae) { "diffusion_pytorch_model" } else { "model" };
        format!("{}/{file}.safetensors", self.name())
    }
}
