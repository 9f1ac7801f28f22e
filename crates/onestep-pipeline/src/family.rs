//! Families of models.

/// A family that is implemented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Stable Diffusion 1.x and its descendants: one CLIP text encoder.
    StableDiffusion1,
    /// Stable Diffusion 2.x and its descendants: the text encoder OpenCLIP H.
    StableDiffusion2,
    /// Stable Diffusion XL and its descendants: two text encoders, pooled text and sizes as conditions.
    StableDiffusionXl,
}

impl std::fmt::Display for Family {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl Family {
    /// The name for reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::StableDiffusion1 => "Stable Diffusion 1.x",
            Self::StableDiffusion2 => "Stable Diffusion 2.x",
            Self::StableDiffusionXl => "Stable Diffusion XL",
        }
    }
}

/// Pipelines with the components of Stable Diffusion 1.x and 2.x.
const STABLE_DIFFUSION: [&str; 7] = [
    "StableDiffusionPipeline",
    "StableDiffusionImg2ImgPipeline",
    "StableDiffusionInpaintPipeline",
    "LatentConsistencyModelPipeline",
    "LatentConsistencyModelImg2ImgPipeline",
    // InstaFlow's.
    "RectifiedFlowPipeline",
    "InstaFlowPipeline",
];
/// Pipelines with the components of Stable Diffusion XL.
const STABLE_DIFFUSION_XL: [&str; 3] = ["StableDiffusionXLPipeline", "StableDiffusionXLImg2ImgPipeline", "StableDiffusionXLInpaintPipeline"];

/// How the names of other pipelines begin, and their families.
const OTHERS: [(&str, &str); 30] = [
    ("StableDiffusion3", "Stable Diffusion 3"),
    ("Flux", "FLUX"),
    ("ZImage", "Z-Image"),
    ("QwenImage", "Qwen-Image"),
    ("PixArt", "PixArt"),
    ("Sana", "SANA"),
    ("AuraFlow", "AuraFlow"),
    ("Chroma", "Chroma"),
    ("HiDream", "HiDream"),
    ("Lumina", "Lumina"),
    ("HunyuanDiT", "Hunyuan-DiT"),
    ("Hunyuan", "Hunyuan"),
    ("Kandinsky", "Kandinsky"),
    ("StableCascade", "Stable Cascade"),
    ("Wuerstchen", "Würstchen"),
    ("CogView", "CogView"),
    ("CogVideo", "CogVideo"),
    ("Kolors", "Kolors"),
    ("OmniGen", "OmniGen"),
    ("Bria", "Bria"),
    ("Wan", "Wan"),
    ("LTX", "LTX-Video"),
    ("Mochi", "Mochi"),
    ("IF", "DeepFloyd IF"),
    ("StableVideoDiffusion", "Stable Video Diffusion"),
    ("StableDiffusionUpscale", "an upscaler"),
    ("StableDiffusionLatentUpscale", "an upscaler"),
    ("StableDiffusionControlNet", "a ControlNet"),
    ("StableDiffusionXLControlNet", "a ControlNet"),
    ("StableDiffusionInstructPix2Pix", "InstructPix2Pix"),
];

/// The kind of a pipeline class: true for Stable Diffusion XL, false for 1.x and 2.x.
///
/// # Errors
/// Any other class, with its family if it is known.
pub(crate) fn is_xl(class: &str) -> Result<bool, String> {
    if STABLE_DIFFUSION.contains(&class) {
        return Ok(false);
    }
    if STABLE_DIFFUSION_XL.contains(&class) {
        return Ok(true);
    }
    let family = OTHERS.iter().find(|(prefix, _)| class.starts_with(prefix)).map(|(_, family)| *family);
    let found = family.map_or_else(|| format!("{class}, an unknown family"), |family| format!("{class}, the family {family}"));
    Err(format!(
        "_class_name is {found}, which is not implemented; models of Stable Diffusion 1.x, 2.x and XL are. Of this model, only an autoencoder of the class \
         AutoencoderKL can be used, to train latent metrics"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipelines_are_known_by_their_class() {
        assert_eq!(is_xl("StableDiffusionPipeline"), Ok(false));
        assert_eq!(is_xl("StableDiffusionXLImg2ImgPipeline"), Ok(true));
        for (class, family) in [
            ("StableDiffusion3Pipeline", "Stable Diffusion 3"),
            ("FluxPipeline", "FLUX"),
            ("ZImagePipeline", "Z-Image"),
            ("MyPipeline", "an unknown family"),
        ] {
            let told = is_xl(class).unwrap_err();
            assert!(told.contains(class) && told.contains(family), "{told}");
        }
    }
}
