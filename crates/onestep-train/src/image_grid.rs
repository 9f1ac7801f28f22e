//! A grid of images as one PNG.

use std::path::Path;

use burn::tensor::Tensor;

use crate::error::TrainError;

/// Rows of RGB images of equal size.
#[derive(Clone, Debug, Default)]
pub struct ImageGrid {
    /// [height, width] of each image in pixels.
    size: [usize; 2],
    rows: Vec<Vec<Vec<u8>>>,
}

/// White pixels between images.
const GAP: usize = 2;

impl ImageGrid {
    /// An empty grid of images with `size` × `size` pixels.
    pub fn new(size: usize) -> Self {
        Self::of_size([size; 2])
    }

    /// An empty grid of images with `size` = [height, width] pixels.
    pub fn of_size(size: [usize; 2]) -> Self {
        Self { size, rows: Vec::new() }
    }

    /// Adds a row of images [N,3,H,W] in −1…1.
    pub fn row(&mut self, images: &Tensor<4>) {
        self.rows.push(rgb(images));
    }

    /// Adds images [N,3,H,W] in rows of `columns`.
    pub fn wrapped(&mut self, images: &Tensor<4>, columns: usize) {
        for row in rgb(images).chunks(columns.max(1)) {
            self.rows.push(row.to_vec());
        }
    }

    /// Adds a row of images given as RGB bytes.
    pub fn rgb_row(&mut self, images: Vec<Vec<u8>>) {
        self.rows.push(images);
    }

    /// Width, height and RGB bytes of the grid.
    pub fn pixels(&self) -> (usize, usize, Vec<u8>) {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0).max(1);
        let [height, width] = self.size;
        let (all_width, all_height) = (columns * (width + GAP) + GAP, self.rows.len().max(1) * (height + GAP) + GAP);
        let mut pixels = vec![255u8; all_width * all_height * 3];
        for (y, row) in self.rows.iter().enumerate() {
            for (x, image) in row.iter().enumerate() {
                for line in 0..height {
                    let target = ((GAP + y * (height + GAP) + line) * all_width + GAP + x * (width + GAP)) * 3;
                    pixels[target..target + width * 3].copy_from_slice(&image[line * width * 3..(line + 1) * width * 3]);
                }
            }
        }
        (all_width, all_height, pixels)
    }

    /// The grid as PNG bytes.
    ///
    /// # Errors
    /// Errors of the PNG encoder.
    pub fn png(&self) -> Result<Vec<u8>, TrainError> {
        let (width, height, pixels) = self.pixels();
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, width as u32, height as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let written = encoder.write_header().and_then(|mut writer| writer.write_image_data(&pixels));
        written.map_err(|error| TrainError::input(format!("the image grid could not be encoded: {error}")))?;
        Ok(bytes)
    }

    /// Writes the grid.
    ///
    /// # Errors
    /// Storage.
    pub fn write(&self, path: &Path) -> Result<(), TrainError> {
        Ok(onestep_store::replace_file(path, &self.png()?)?)
    }
}

/// Images [N,3,H,W] in −1…1 as interleaved RGB bytes, with the runtime's rounding.
pub fn rgb(images: &Tensor<4>) -> Vec<Vec<u8>> {
    let [count, channels, height, width] = images.dims();
    let data = images.to_data().try_to_vec::<f32>().unwrap_or_default();
    let area = height * width;
    (0..count)
        .map(|index| {
            let image = &data[index * channels * area..(index + 1) * channels * area];
            (0..area)
                .flat_map(|pixel| (0..3).map(move |channel| ((image[channel * area + pixel] * 0.5 + 0.5).clamp(0.0, 1.0) * 255.0).round() as u8))
                .collect()
        })
        .collect()
}
