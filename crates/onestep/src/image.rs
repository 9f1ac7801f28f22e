//! A finished image.

use crate::{
    error::{Error, ErrorKind, Result},
    noise::Noise,
    prompt::Prompt,
};

/// Milliseconds that an image took, by the caller's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Timings {
    /// Stage by stage, for an image that was asked for so.
    pub stages: Option<StageTimes>,
    /// From the call to the image, tokenizing included.
    pub total: f64,
}

/// Milliseconds of the stages.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StageTimes {
    /// Text encoder; nothing when the prompt is that of the image before.
    pub text: f64,
    /// The one step.
    pub generator: f64,
    /// Latents to pixels, and the way back from the device.
    pub decoder: f64,
}

/// Pixels, and what they were made from.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// Four bytes a pixel, row by row from the top; not premultiplied, alpha is 255. Empty where they were left on the GPU.
    pub rgba: Vec<u8>,
    /// The prompt as the model read it.
    pub prompt: Prompt,
    /// What noise.
    pub noise: Noise,
    /// How long it took.
    pub timings: Timings,
}

/// Three planes of floats in −1 … 1 as RGBA bytes; a GPU makes them itself.
#[cfg(feature = "cpu")]
pub(crate) fn rgba(sample: &[f32]) -> Result<Vec<u8>> {
    let plane = sample.len() / 3;
    if sample.len() != plane * 3 {
        return Err(Error::new(ErrorKind::Internal, format!("{} values are not three planes of pixels", sample.len())));
    }
    let byte = |value: f32| ((value * 0.5 + 0.5).clamp(0.0, 1.0) * 255.0).round() as u8;
    Ok((0..plane).flat_map(|pixel| [byte(sample[pixel]), byte(sample[plane + pixel]), byte(sample[2 * plane + pixel]), 255]).collect())
}

/// Refuses values that are not numbers, naming the network that computed them.
pub(crate) fn finite(values: &[f32], network: &str) -> Result<()> {
    match values.iter().filter(|value| !value.is_finite()).count() {
        0 => Ok(()),
        broken => Err(Error::new(
            ErrorKind::NonFinite,
            format!(
                "the {network} computed {broken} of {} values that are not finite numbers on this device; the image would be broken",
                values.len()
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "cpu")]
    #[test]
    fn planes_become_pixels_with_rounding_and_clamping() {
        // Two pixels: red plane, green plane, blue plane.
        let bytes = rgba(&[-1.0, 1.0, 0.0, 7.0, -7.0, -0.5]).unwrap();
        assert_eq!(bytes, [0, 128, 0, 255, 255, 255, 64, 255]);
        assert_eq!(rgba(&[0.0; 4]).unwrap_err().kind(), ErrorKind::Internal);
    }

    #[test]
    fn what_is_not_finite_is_refused_with_the_networks_name() {
        assert!(finite(&[0.0, -1.0], "decoder").is_ok());
        let error = finite(&[0.0, f32::NAN, f32::INFINITY], "decoder").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NonFinite);
        assert!(error.to_string().starts_with("the decoder computed 2 of 3"));
    }
}
