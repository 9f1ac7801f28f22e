//! Sizes of images and latents.

use onestep_program::limits;

use super::{ComponentConfig, Pipeline};
use crate::{Part, config::PerBlock, error::PipelineError};

/// Sizes of images and latents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// [rows, columns] of an image in pixels.
    pub image: [usize; 2],
    /// [channels, rows, columns] of a latent.
    pub latent: [usize; 3],
}

impl Pipeline {
    /// The sizes for images of `requested` [rows, columns] pixels; without a request, those that the denoiser's configuration
    /// states.
    ///
    /// # Errors
    /// A component that cannot be used; a request that is no multiple of the autoencoder's downscale or beyond the limits; no
    /// request where the configuration states no size.
    pub fn sizes(&self, requested: Option<[usize; 2]>) -> Result<Sizes, PipelineError> {
        let unet = self.unet_config()?;
        // Not the autoencoder's sample_size: models of other sizes use it too.
        let scale = self.downscale()?;
        let most = limits::IMAGE_SIDE.max as usize;
        let [rows, columns] = match requested {
            Some(image) => {
                if let Some(side) = image.iter().find(|side| **side == 0 || **side > most || !side.is_multiple_of(scale)) {
                    let message = format!("size {}x{}: {side} is no multiple of {scale} within {scale}..={most}", image[1], image[0]);
                    return Err(PipelineError::usage(message));
                }
                image.map(|side| side / scale)
            }
            None => self.stated(Part::Unet, unet.sample_size.as_ref(), scale)?,
        };
        Ok(Sizes { image: [rows * scale, columns * scale], latent: [unet.in_channels, rows, columns] })
    }

    /// [rows, columns] of the images that the autoencoder was made for, in pixels.
    ///
    /// # Errors
    /// A component that cannot be used; a configuration that states no size.
    pub fn image_size(&self) -> Result<[usize; 2], PipelineError> {
        match self.component(Part::Vae)?.config() {
            ComponentConfig::Autoencoder(config) => self.stated(Part::Vae, config.sample_size.as_ref(), 1),
            _ => Err(self.refuse(Part::Vae, "the configuration states no sample_size")),
        }
    }

    /// How much smaller the rows and columns of a latent are than those of its image.
    ///
    /// # Errors
    /// A component that cannot be used.
    pub fn downscale(&self) -> Result<usize, PipelineError> {
        Ok(match self.component(Part::Vae)?.config() {
            ComponentConfig::TinyAutoencoder(config) => config.downscale(),
            ComponentConfig::Autoencoder(config) => config.downscale(),
            _ => 1,
        })
    }

    /// The rows and columns that a `sample_size` states, as one number or as a list. `scale` is the number of image pixels per
    /// unit of it.
    fn stated(&self, part: Part, size: Option<&PerBlock<usize>>, scale: usize) -> Result<[usize; 2], PipelineError> {
        let most = (limits::IMAGE_SIDE.max as usize / scale).max(1);
        let example = (512 / scale).max(1);
        let instead = format!("write one number instead, such as {example} for images of {0}x{0}, or give --size", example * scale);
        let sides = match size {
            Some(PerBlock::One(side)) => [*side; 2],
            Some(PerBlock::Each(sides)) => match sides.as_slice() {
                [rows, columns] => [*rows, *columns],
                _ => return Err(self.refuse(part, &format!("sample_size is {sides:?}, expected rows and columns; {instead}"))),
            },
            None => return Err(self.refuse(part, &format!("sample_size is null or missing; {instead}"))),
        };
        match sides.iter().find(|side| !(1..=most).contains(*side)) {
            Some(side) => Err(self.refuse(part, &format!("sample_size = {side} is not within 1..={most}; {instead}"))),
            None => Ok(sides),
        }
    }
}
