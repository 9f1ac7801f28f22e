//! A PNG writer that stores how an image was generated.
//!
//! Two text chunks precede the pixels: `parameters`, in the convention of Stable Diffusion web UIs, and `onestep`, JSON with everything
//! that is needed to generate the same image again. The writer is our own because browser and command line must write the same bytes, and
//! because a PNG library would be a tenth of the browser's WebAssembly build.

use std::borrow::Cow;

use crate::{
    error::{Error, ErrorKind, Result},
    image::Image,
    noise::Noise,
    version::VERSION,
};

/// Largest size of the `onestep` chunk in bytes.
const METADATA_BYTES: usize = 8 << 10;

/// What a PNG file stores besides its pixels; the image itself contributes its size and noise.
#[derive(Clone, Copy, Debug)]
pub struct Metadata<'a> {
    /// The prompt, as the user wrote it.
    pub prompt: &'a str,
    /// The model's display name.
    pub title: &'a str,
    /// The bundle's hash, [`Model::id`](crate::Model::id).
    pub bundle: &'a str,
    /// The name of the backend, [`Backend::name`](crate::Backend::name).
    pub backend: &'a str,
}

/// Encodes an image as PNG, with or without metadata.
///
/// # Errors
/// [`ErrorKind::Internal`] if `image.rgba` does not have width × height × 4 bytes.
pub fn encode(image: &Image, metadata: Option<&Metadata<'_>>) -> Result<Vec<u8>> {
    let texts = metadata.map(|metadata| [("parameters", parameters(image, metadata)), ("onestep", json(image, metadata))]);
    write(image.width, image.height, &image.rgba, texts.as_ref().map_or(&[], |texts| texts.as_slice()))
}

/// Encodes RGBA pixels as PNG without metadata.
///
/// # Errors
/// [`ErrorKind::Internal`] if there are not width × height × 4 bytes.
pub fn rgba(width: u32, height: u32, rgba: &[u8]) -> Result<Vec<u8>> {
    write(width, height, rgba, &[])
}

/// Encodes RGBA pixels as PNG with text chunks: a keyword of Latin-1 letters and a text each.
///
/// # Errors
/// [`ErrorKind::Internal`] if there are not width × height × 4 bytes.
pub fn write(width: u32, height: u32, rgba: &[u8], texts: &[(&str, String)]) -> Result<Vec<u8>> {
    if width == 0 || height == 0 || rgba.len() as u64 != u64::from(width) * u64::from(height) * 4 {
        return Err(Error::new(ErrorKind::Internal, format!("{} bytes are no image of {width} x {height} pixels", rgba.len())));
    }
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    // 8 bits, RGBA; the only compression and filter method, not interlaced.
    chunk(&mut file, *b"IHDR", &[&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 6, 0, 0, 0]].concat());
    for (keyword, text) in texts {
        // Latin-1 if possible, because more readers support that chunk.
        let latin_1: Option<Vec<u8>> = text.chars().map(|sign| u8::try_from(u32::from(sign)).ok()).collect();
        match latin_1 {
            Some(latin_1) => chunk(&mut file, *b"tEXt", &[keyword.as_bytes(), &[0], &latin_1].concat()),
            // Not compressed, no language, no translated keyword.
            None => chunk(&mut file, *b"iTXt", &[keyword.as_bytes(), &[0, 0, 0, 0, 0], text.as_bytes()].concat()),
        }
    }
    chunk(&mut file, *b"IDAT", &miniz_oxide::deflate::compress_to_vec_zlib(&filtered(width as usize * PIXEL, rgba), LEVEL));
    chunk(&mut file, *b"IEND", &[]);
    Ok(file)
}

/// Bytes of a pixel.
const PIXEL: usize = 4;
/// Compression level of 10; 6 is the usual default.
const LEVEL: u8 = 6;

fn chunk(file: &mut Vec<u8>, kind: [u8; 4], data: &[u8]) {
    // An image is far below the 2^31 bytes that a chunk may have.
    file.extend((data.len() as u32).to_be_bytes());
    let start = file.len();
    file.extend(kind);
    file.extend(data);
    file.extend(checksum(&file[start..]).to_be_bytes());
}

/// CRC-32 of PNG and zlib. The table is computed at run time, because it would compress badly in the WebAssembly build.
fn checksum(bytes: &[u8]) -> u32 {
    let table: [u32; 256] = std::array::from_fn(|byte| (0..8).fold(byte as u32, |crc, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1))));
    !bytes.iter().fold(!0, |crc, &byte| table[usize::from(crc as u8 ^ byte)] ^ (crc >> 8))
}

/// Each row with the filter type (0 none, 1 sub, 2 up, 3 average, 4 Paeth) that has the smallest sum of absolute differences.
fn filtered(row: usize, rgba: &[u8]) -> Vec<u8> {
    let mut all = Vec::with_capacity(rgba.len() + rgba.len() / row);
    let mut above = vec![0; row];
    for row in rgba.chunks_exact(row) {
        let best = (0..5).map(|filter| differences(filter, row, &above)).min_by_key(|candidate| {
            // Bytes are signed differences.
            candidate[1..].iter().map(|&byte| u64::from(byte.min(byte.wrapping_neg()))).sum::<u64>()
        });
        all.extend(best.unwrap_or_default());
        above.copy_from_slice(row);
    }
    all
}

fn differences(filter: u8, row: &[u8], above: &[u8]) -> Vec<u8> {
    let before = |row: &[u8], at: usize| if at < PIXEL { 0 } else { row[at - PIXEL] };
    let predicted = |at: usize| {
        let (left, up, corner) = (before(row, at), above[at], before(above, at));
        match filter {
            0 => 0,
            1 => left,
            2 => up,
            3 => u8::midpoint(left, up),
            _ => {
                let [a, b, c] = [left, up, corner].map(i16::from);
                let [to_left, to_up, to_corner] = [b - c, a - c, a + b - 2 * c].map(i16::abs);
                if to_left <= to_up && to_left <= to_corner {
                    left
                } else if to_up <= to_corner {
                    up
                } else {
                    corner
                }
            }
        }
    };
    std::iter::once(filter).chain(row.iter().enumerate().map(|(at, &byte)| byte.wrapping_sub(predicted(at)))).collect()
}

/// The prompt, then one line of `Key: value` pairs. Line breaks in the prompt would end it for readers, and a NUL would end the chunk.
fn parameters(image: &Image, metadata: &Metadata<'_>) -> String {
    let (width, height) = (image.width, image.height);
    let prompt: String = metadata.prompt.chars().map(|sign| if sign.is_control() { ' ' } else { sign }).collect();
    let model = if metadata.title.contains([',', ':', '"', '\n', '\0']) {
        Cow::Owned(serde_json::Value::from(metadata.title).to_string())
    } else {
        Cow::Borrowed(metadata.title)
    };
    let hash = metadata.bundle.get(..10).unwrap_or(metadata.bundle);
    // Web UIs call the interpolation between two seeds a variation.
    let seed = match &image.noise {
        Noise::Seed(seed) => format!("Seed: {seed}, "),
        Noise::Slerp { from, to, t } => format!("Seed: {from}, Variation seed: {to}, Variation seed strength: {t}, "),
        Noise::Values(_) => String::new(),
    };
    format!(
        "{}\nSteps: 1, Sampler: onestep, {seed}Size: {width}x{height}, Model: {model}, Model hash: {hash}, Version: onestep {VERSION}",
        prompt.trim(),
    )
}

/// The JSON of the `onestep` chunk. A prompt that does not fit is replaced by its token ids, which are what the model read.
fn json(image: &Image, metadata: &Metadata<'_>) -> String {
    let mut object = serde_json::json!({
        "format": 1,
        "prompt": metadata.prompt,
        "bundle": metadata.bundle,
        "title": metadata.title,
        "backend": metadata.backend,
        "size": [image.width, image.height],
        "version": VERSION,
    });
    // Seeds are strings, because JavaScript rounds numbers above 2^53.
    match &image.noise {
        Noise::Seed(seed) => object["seed"] = seed.to_string().into(),
        Noise::Slerp { from, to, t } => object["noise"] = serde_json::json!({ "from": from.to_string(), "to": to.to_string(), "t": t }),
        // The values would be as large as the image itself.
        Noise::Values(_) => object["noise"] = "given".into(),
    }
    if object.to_string().len() > METADATA_BYTES {
        object["prompt"] = serde_json::Value::Null;
        object["ids"] = image.prompt.ids.clone().into();
    }
    object.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{image::Timings, prompt::Prompt};

    fn image() -> Image {
        let rgba = (0..2 * 3 * 4).map(|byte| byte as u8 * 10).collect();
        let prompt = Prompt { ids: vec![0, 5, 1], tokens: 1, ..Prompt::default() };
        Image { width: 2, height: 3, rgba, prompt, noise: u64::MAX.into(), timings: Timings::default() }
    }
    fn metadata(prompt: &str) -> Metadata<'_> {
        Metadata { prompt, title: "Emoji", bundle: "0123456789abcdef", backend: "webgpu" }
    }
    fn read(file: &[u8]) -> (Vec<u8>, Vec<(String, String)>) {
        let mut reader = png::Decoder::new(std::io::Cursor::new(file)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut pixels).unwrap();
        let info = reader.info();
        let mut texts: Vec<_> = info.uncompressed_latin1_text.iter().map(|chunk| (chunk.keyword.clone(), chunk.text.clone())).collect();
        texts.extend(info.utf8_text.iter().map(|chunk| (chunk.keyword.clone(), chunk.get_text().unwrap())));
        (pixels, texts)
    }

    #[test]
    fn a_file_stores_its_metadata_and_is_reproducible() {
        let file = encode(&image(), Some(&metadata("a red\napple"))).unwrap();
        assert_eq!(file, encode(&image(), Some(&metadata("a red\napple"))).unwrap());
        let (pixels, texts) = read(&file);
        assert_eq!(pixels, image().rgba);
        assert_eq!(texts[0].0, "parameters");
        assert_eq!(
            texts[0].1,
            format!(
                "a red apple\nSteps: 1, Sampler: onestep, Seed: 18446744073709551615, Size: 2x3, Model: Emoji, Model hash: 0123456789, Version: onestep {VERSION}"
            )
        );
        let json: serde_json::Value = serde_json::from_str(&texts[1].1).unwrap();
        assert_eq!(
            (&json["prompt"], &json["seed"], &json["bundle"]),
            (&"a red\napple".into(), &"18446744073709551615".into(), &"0123456789abcdef".into())
        );
    }

    #[test]
    fn interpolated_and_explicit_noise_are_stored_as_such() {
        let of = |noise: Noise| {
            let (_, texts) = read(&encode(&Image { noise, ..image() }, Some(&metadata("a"))).unwrap());
            (texts[0].1.clone(), serde_json::from_str::<serde_json::Value>(&texts[1].1).unwrap())
        };
        let (line, json) = of(Noise::Slerp { from: 3, to: u64::MAX, t: 0.25 });
        assert!(line.contains("Seed: 3, Variation seed: 18446744073709551615, Variation seed strength: 0.25, Size"), "{line}");
        assert_eq!(json["noise"], serde_json::json!({ "from": "3", "to": "18446744073709551615", "t": 0.25 }));
        let (line, json) = of(Noise::Values(vec![0.0]));
        assert!(!line.contains("Seed"), "{line}");
        assert_eq!(json["noise"], "given");
    }

    #[test]
    fn text_beyond_latin_1_is_kept() {
        let (_, texts) = read(&encode(&image(), Some(&metadata("赤い林檎 🍎"))).unwrap());
        assert!(texts[0].1.starts_with("赤い林檎 🍎\n"));
        assert!(read(&encode(&image(), None).unwrap()).1.is_empty());
    }

    #[test]
    fn a_prompt_that_does_not_fit_is_replaced_by_its_ids() {
        let (_, texts) = read(&encode(&image(), Some(&metadata(&"\"".repeat(65_536)))).unwrap());
        assert!(texts[1].1.len() <= METADATA_BYTES);
        let json: serde_json::Value = serde_json::from_str(&texts[1].1).unwrap();
        assert!(json["prompt"].is_null());
        assert_eq!(json["ids"], serde_json::json!([0, 5, 1]));
    }

    #[test]
    fn hostile_prompts_and_titles_end_no_line_and_no_chunk() {
        let metadata = Metadata { title: "a, Seed: 1\0", ..metadata("x\0y\nSteps: 50\r") };
        let (_, texts) = read(&encode(&image(), Some(&metadata)).unwrap());
        assert_eq!(texts[0].1.lines().count(), 2);
        assert!(texts[0].1.contains(r#"Model: "a, Seed: 1\u0000""#));
    }

    #[test]
    fn every_filter_is_read_back_and_smooth_images_are_small() {
        let (width, height) = (64u32, 80u32);
        // Noise, constant rows and columns, gradients: each favours another filter.
        let pixel = |x: u32, y: u32| match y / 16 {
            0 => (x.wrapping_mul(2_654_435_761) ^ y.wrapping_mul(40_503)) >> 13,
            1 => y * 9,
            2 => x * 7,
            3 => (x + y) * 3,
            _ => x * y,
        };
        let bytes: Vec<u8> = (0..height)
            .flat_map(|y| (0..width).flat_map(move |x| [pixel(x, y) as u8, (pixel(x, y) / 2) as u8, (pixel(x, y) ^ 85) as u8, 255]))
            .collect();
        let file = rgba(width, height, &bytes).unwrap();
        assert_eq!(read(&file).0, bytes);
        let filters: std::collections::BTreeSet<u8> = filtered(width as usize * 4, &bytes).chunks(width as usize * 4 + 1).map(|row| row[0]).collect();
        assert!(filters.len() >= 4, "{filters:?}");
        let slope: Vec<u8> = (0..height).flat_map(|y| (0..width).flat_map(move |x| [(x * 3) as u8, (y * 2) as u8, (x + y) as u8, 255])).collect();
        let file = rgba(width, height, &slope).unwrap();
        assert!(file.len() < slope.len() / 20, "{} bytes", file.len());
    }

    #[test]
    fn byte_counts_that_fit_no_image_are_refused() {
        assert_eq!(rgba(2, 2, &[0; 15]).unwrap_err().kind(), ErrorKind::Internal);
        assert_eq!(rgba(0, 0, &[]).unwrap_err().kind(), ErrorKind::Internal);
    }
}
