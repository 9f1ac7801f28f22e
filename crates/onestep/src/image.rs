//! A generated image.

use crate::{
    error::{Error, ErrorKind, Result},
    noise::Noise,
    prompt::Prompt,
};

/// The time that an image took, in milliseconds of the caller's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Timings {
    /// The times of the stages, if [`GenerateOptions::staged`](crate::GenerateOptions::staged) was set.
    pub stages: Option<StageTimes>,
    /// From the call to the image, including tokenization.
    pub total: f64,
}

/// The times of the stages, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StageTimes {
    /// Text encoder; 0 if the prompt is that of the previous image.
    pub text: f64,
    /// Generator.
    pub generator: f64,
    /// Decoder, including the readback of the pixels.
    pub decoder: f64,
}

/// A generated image with its inputs.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// RGBA8 pixels, rows from the top; alpha is 255. Empty with [`GenerateOptions::skip_readback`](crate::GenerateOptions::skip_readback).
    pub rgba: Vec<u8>,
    /// The prompt as the model read it.
    pub prompt: Prompt,
    /// The noise that the image was generated from.
    pub noise: Noise,
    /// The time that it took.
    pub timings: Timings,
}

/// Converts an image [3,H,W] of floats in −1…1 to RGBA8. On a GPU a kernel does this.
#[cfg(feature = "cpu")]
pub(crate) fn rgba(sample: &[f32]) -> Result<Vec<u8>> {
    let plane = sample.len() / 3;
    if sample.len() != plane * 3 {
        return Err(Error::new(ErrorKind::Internal, format!("{} values are not three planes of pixels", sample.len())));
    }
    let byte = |value: f32| ((value * 0.5 + 0.5).clamp(0.0, 1.0) * 255.0).round() as u8;
    Ok((0..plane).flat_map(|pixel| [byte(sample[pixel]), byte(sample[plane + pixel]), byte(sample[2 * plane + pixel]), 255]).collect())
}

/// Refuses NaN and infinite values, naming the network that computed them.
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
