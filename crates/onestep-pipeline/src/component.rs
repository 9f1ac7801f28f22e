//! The networks of a pipeline.

use std::fmt;

/// A network of a pipeline that has weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Component {
    /// The denoiser.
    UNet,
    /// The autoencoder.
    Vae,
    /// The text encoder.
    TextEncoder,
    /// The second text encoder, which Stable Diffusion XL has.
    TextEncoder2,
}

impl Component {
    /// The folder of the component in a pipeline folder, which is also its name in LoRA files.
    pub fn folder(self) -> &'static str {
        match self {
            Self::UNet => "unet",
            Self::Vae => "vae",
            Self::TextEncoder => "text_encoder",
            Self::TextEncoder2 => "text_encoder_2",
        }
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UNet => "the U-Net",
            Self::Vae => "the autoencoder",
            Self::TextEncoder => "the text encoder",
            Self::TextEncoder2 => "the second text encoder",
        })
    }
}
