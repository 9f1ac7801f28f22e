//! An image in memory, read from PNG of any colour type and written as RGB.

use std::io::Cursor;

use super::error::DataError;

/// Maximum width and height in pixels.
pub(super) const MAX_SIDE: u32 = 4096;
/// Maximum size of a PNG file.
pub(super) const MAX_FILE_BYTES: u64 = 64 << 20;

/// Premultiplied RGBA of every pixel in 0…1, row by row from the top.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Image {
    pub width: usize,
    pub height: usize,
    pub premultiplied: Vec<[f32; 4]>,
}

impl Image {
    /// Decodes a PNG of any colour type and bit depth. `name` is for errors.
    pub fn from_png(bytes: &[u8], name: &str) -> Result<Self, DataError> {
        let mut decoder = png::Decoder::new_with_limits(Cursor::new(bytes), png::Limits { bytes: 256 << 20 });
        decoder.set_transformations(png::Transformations::normalize_to_color8());
        let mut reader = decoder.read_info().map_err(|e| not_a_png(name, &e))?;
        let (width, height) = (reader.info().width, reader.info().height);
        if width > MAX_SIDE || height > MAX_SIDE {
            return Err(DataError::input(
                format!("reading the image {name}"),
                format!("at most {MAX_SIDE}x{MAX_SIDE} pixels"),
                format!("{width}x{height}"),
            )
            .advise("make it smaller"));
        }
        let (width, height) = (width as usize, height as usize);
        let mut samples = vec![0; reader.output_buffer_size().ok_or_else(|| too_large(name))?];
        let frame = reader.next_frame(&mut samples).map_err(|e| not_a_png(name, &e))?;
        let samples = samples.get(..frame.buffer_size()).unwrap_or(&samples);
        let one = |sample: u8| f32::from(sample) / 255.0;
        let opaque = |grey: f32| [grey, grey, grey, 1.0];
        let premultiplied: Vec<[f32; 4]> = match frame.color_type {
            png::ColorType::Grayscale => samples.iter().map(|&g| opaque(one(g))).collect(),
            png::ColorType::GrayscaleAlpha => samples
                .chunks_exact(2)
                .map(|p| {
                    let (g, a) = (one(p[0]), one(p[1]));
                    [g * a, g * a, g * a, a]
                })
                .collect(),
            png::ColorType::Rgb => samples.chunks_exact(3).map(|p| [one(p[0]), one(p[1]), one(p[2]), 1.0]).collect(),
            png::ColorType::Rgba => samples
                .chunks_exact(4)
                .map(|p| {
                    let a = one(p[3]);
                    [one(p[0]) * a, one(p[1]) * a, one(p[2]) * a, a]
                })
                .collect(),
            png::ColorType::Indexed => {
                return Err(DataError::internal(format!("reading the image {name}"), "a palette that was not expanded"));
            }
        };
        if premultiplied.len() != width * height {
            return Err(DataError::input(
                format!("reading the image {name}"),
                format!("{} pixels", width * height),
                format!("{}", premultiplied.len()),
            )
            .advise("the file is damaged: replace it"));
        }
        Ok(Self { width, height, premultiplied })
    }

    /// The image centred on the smallest transparent square that contains it.
    pub fn on_square(&self) -> Self {
        let side = self.width.max(self.height);
        let (left, top) = ((side - self.width) / 2, (side - self.height) / 2);
        let mut premultiplied = vec![[0.0; 4]; side * side];
        for y in 0..self.height {
            let from = y * self.width;
            let to = (top + y) * side + left;
            premultiplied[to..to + self.width].copy_from_slice(&self.premultiplied[from..from + self.width]);
        }
        Self { width: side, height: side, premultiplied }
    }

    /// The largest central square.
    pub fn centre_square(&self) -> Self {
        self.centre_of([1, 1])
    }

    /// The largest central rectangle with the proportions of `shape` = [height, width].
    pub fn centre_of(&self, shape: [usize; 2]) -> Self {
        let [height, width] = shape.map(|side| side.max(1));
        let fitted = [self.height.min((self.width * height).div_ceil(width)), self.width.min((self.height * width).div_ceil(height))];
        let (left, top) = ((self.width - fitted[1]) / 2, (self.height - fitted[0]) / 2);
        let mut premultiplied = Vec::with_capacity(fitted[0] * fitted[1]);
        for y in top..top + fitted[0] {
            let from = y * self.width + left;
            premultiplied.extend_from_slice(&self.premultiplied[from..from + fitted[1]]);
        }
        Self { width: fitted[1], height: fitted[0], premultiplied }
    }

    /// RGB in 0…1, composited over a background colour in encoded (sRGB) values, as browsers do.
    pub fn on(&self, background: [f32; 3]) -> impl Iterator<Item = [f32; 3]> + '_ {
        self.premultiplied.iter().map(move |&[r, g, b, a]| {
            let behind = background.map(|value| value * (1.0 - a));
            [(r + behind[0]).clamp(0.0, 1.0), (g + behind[1]).clamp(0.0, 1.0), (b + behind[2]).clamp(0.0, 1.0)]
        })
    }

    /// RGB in 0…1, composited over white.
    pub fn on_white(&self) -> impl Iterator<Item = [f32; 3]> + '_ {
        self.on([1.0; 3])
    }

    /// RGB bytes, composited over a background colour.
    pub fn rgb8_on(&self, background: [f32; 3]) -> Vec<u8> {
        self.on(background).flatten().map(|v| (v * 255.0).round() as u8).collect()
    }

    /// RGB bytes, composited over white.
    pub fn rgb8_on_white(&self) -> Vec<u8> {
        self.rgb8_on([1.0; 3])
    }
}

/// Pixels [3,side,side] of a square PNG in −1…1; `name` is for errors.
///
/// # Errors
/// Bytes that are not a PNG, an image that is not square.
pub fn square_pixels(bytes: &[u8], name: &str) -> Result<Vec<f32>, DataError> {
    let image = Image::from_png(bytes, name)?;
    if image.width != image.height {
        let found = format!("{}x{}", image.width, image.height);
        return Err(DataError::input(format!("reading the image {name}"), "a square", found).advise("cut it to a square"));
    }
    let pixels: Vec<[f32; 3]> = image.on_white().collect();
    Ok((0..3).flat_map(|channel| pixels.iter().map(move |pixel| pixel[channel] * 2.0 - 1.0)).collect())
}

/// Writes RGB bytes as PNG.
pub(super) fn rgb8_to_png(width: usize, height: usize, rgb: &[u8]) -> Result<Vec<u8>, DataError> {
    let mut bytes = Vec::new();
    let fail = |e: png::EncodingError| DataError::internal("writing a PNG", e.to_string());
    let mut encoder = png::Encoder::new(&mut bytes, width as u32, height as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::High);
    let mut writer = encoder.write_header().map_err(fail)?;
    writer.write_image_data(rgb).map_err(fail)?;
    writer.finish().map_err(fail)?;
    Ok(bytes)
}

fn not_a_png(name: &str, error: &png::DecodingError) -> DataError {
    DataError::input(format!("reading the image {name}"), "a whole PNG file", error.to_string()).advise("convert it to PNG or replace it")
}

fn too_large(name: &str) -> DataError {
    DataError::input(format!("reading the image {name}"), "an image that fits into memory", "a larger one").advise("make it smaller")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(color: png::ColorType, depth: png::BitDepth, palette: Option<(Vec<u8>, Vec<u8>)>, width: u32, height: u32, data: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, width, height);
        encoder.set_color(color);
        encoder.set_depth(depth);
        if let Some((palette, opacity)) = palette {
            encoder.set_palette(palette);
            encoder.set_trns(opacity);
        }
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(data).unwrap();
        writer.finish().unwrap();
        bytes
    }

    #[test]
    fn every_colour_type_gives_the_same_grey() {
        use png::{BitDepth as D, ColorType as C};
        let cases = [
            ("grey 8", encode(C::Grayscale, D::Eight, None, 1, 1, &[51])),
            ("grey 16", encode(C::Grayscale, D::Sixteen, None, 1, 1, &[51, 51])),
            ("grey 4", encode(C::Grayscale, D::Four, None, 1, 1, &[0x30])),
            ("grey alpha", encode(C::GrayscaleAlpha, D::Eight, None, 1, 1, &[51, 255])),
            ("rgb", encode(C::Rgb, D::Eight, None, 1, 1, &[51, 51, 51])),
            ("rgb 16", encode(C::Rgb, D::Sixteen, None, 1, 1, &[51, 51, 51, 51, 51, 51])),
            ("rgba", encode(C::Rgba, D::Eight, None, 1, 1, &[51, 51, 51, 255])),
            ("rgba over white", encode(C::Rgba, D::Eight, None, 1, 1, &[0, 0, 0, 204])),
            ("palette 2", encode(C::Indexed, D::Two, Some((vec![0, 0, 0, 51, 51, 51], vec![255, 255])), 1, 1, &[0x40])),
            ("palette with opacity", encode(C::Indexed, D::Eight, Some((vec![0, 0, 0], vec![204])), 1, 1, &[0])),
        ];
        for (name, bytes) in cases {
            let image = Image::from_png(&bytes, name).unwrap();
            assert_eq!(image.rgb8_on_white(), [51, 51, 51], "{name}");
        }
    }

    #[test]
    fn damaged_bytes_are_refused_with_a_sentence() {
        let good = encode(png::ColorType::Rgb, png::BitDepth::Eight, None, 2, 2, &[9; 12]);
        for cut in 0..good.len() - 12 {
            let error = Image::from_png(&good[..cut], "cut.png").unwrap_err();
            assert!(error.to_string().contains("cut.png"), "{error}");
        }
        let mut wide = good.clone();
        wide[16..20].copy_from_slice(&5000u32.to_be_bytes());
        assert!(Image::from_png(&wide, "wide.png").is_err());
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x55;
            let _ = Image::from_png(&bad, "flip.png"); // an error or an image, never a panic
        }
    }

    #[test]
    fn the_square_keeps_the_image_in_the_middle() {
        let image = Image { width: 1, height: 3, premultiplied: vec![[1.0; 4]; 3] };
        let square = image.on_square();
        assert_eq!((square.width, square.height), (3, 3));
        for y in 0..3 {
            let row: Vec<f32> = (0..3).map(|x| square.premultiplied[y * 3 + x][3]).collect();
            assert_eq!(row, [0.0, 1.0, 0.0]);
        }
        assert_eq!(square.centre_square(), square);
        assert_eq!(image.centre_square().premultiplied.len(), 1);
    }

    #[test]
    fn written_png_reads_back() {
        let rgb: Vec<u8> = (0..48).collect();
        let bytes = rgb8_to_png(4, 4, &rgb).unwrap();
        assert_eq!(Image::from_png(&bytes, "x").unwrap().rgb8_on_white(), rgb);
    }
}
