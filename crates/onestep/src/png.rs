//! Images as PNG files that say how they were made, in bytes that depend on nothing else.
//!
//! Two text chunks before the pixels: `parameters` in the convention that galleries read, and `onestep`, JSON with everything that is
//! needed to make the same image again.

use std::borrow::Cow;

use crate::{
    VERSION,
    error::{Error, ErrorKind, Result},
    image::Image,
    noise::Noise,
};

/// The most bytes of the `onestep` chunk.
const FACTS_BYTES: usize = 8 << 10;

/// What a file says besides its pixels.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// As it was given.
    pub prompt: &'a str,
    /// The model's name for people.
    pub title: &'a str,
    /// The bundle's hash, [`Model::id`](crate::Model::id).
    pub bundle: &'a str,
    /// What computed the image.
    pub backend: &'a str,
}

/// An image with or without its facts.
///
/// # Errors
/// Bytes that are not width × height × 4.
pub fn encode(image: &Image, facts: Option<&Facts<'_>>) -> Result<Vec<u8>> {
    let texts = facts.map(|facts| [("parameters", parameters(image, facts)), ("onestep", json(image, facts))]);
    write(image.width, image.height, &image.rgba, texts.as_ref().map_or(&[], |texts| texts.as_slice()))
}

/// Pixels alone.
///
/// # Errors
/// Bytes that are not width × height × 4.
pub fn rgba(width: u32, height: u32, rgba: &[u8]) -> Result<Vec<u8>> {
    write(width, height, rgba, &[])
}

fn write(width: u32, height: u32, rgba: &[u8], texts: &[(&str, String)]) -> Result<Vec<u8>> {
    if width == 0 || height == 0 || rgba.len() as u64 != u64::from(width) * u64::from(height) * 4 {
        return Err(Error::new(ErrorKind::Internal, format!("{} bytes are no image of {width} x {height} pixels", rgba.len())));
    }
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    // Eight bits, red, green, blue and alpha; the one way of packing, of filtering, and not interlaced.
    chunk(&mut file, *b"IHDR", &[&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 6, 0, 0, 0]].concat());
    for (keyword, text) in texts {
        // Latin-1 where it suffices: more readers know that chunk.
        let latin_1: Option<Vec<u8>> = text.chars().map(|sign| u8::try_from(u32::from(sign)).ok()).collect();
        match latin_1 {
            Some(latin_1) => chunk(&mut file, *b"tEXt", &[keyword.as_bytes(), &[0], &latin_1].concat()),
            // Not packed, of no language, its keyword not translated.
            None => chunk(&mut file, *b"iTXt", &[keyword.as_bytes(), &[0, 0, 0, 0, 0], text.as_bytes()].concat()),
        }
    }
    chunk(&mut file, *b"IDAT", &miniz_oxide::deflate::compress_to_vec_zlib(&filtered(width as usize * PIXEL, rgba), LEVEL));
    chunk(&mut file, *b"IEND", &[]);
    Ok(file)
}

/// Bytes of a pixel.
const PIXEL: usize = 4;
/// How long the packer searches, of 10: as long as most programs let it.
const LEVEL: u8 = 6;

fn chunk(file: &mut Vec<u8>, kind: [u8; 4], data: &[u8]) {
    // An image is far below the 2^31 bytes that a chunk may have.
    file.extend((data.len() as u32).to_be_bytes());
    let start = file.len();
    file.extend(kind);
    file.extend(data);
    file.extend(checksum(&file[start..]).to_be_bytes());
}

/// CRC-32 as PNG and zlib have it. The table is made, since it packs worse than all the rest of this file.
fn checksum(bytes: &[u8]) -> u32 {
    let table: [u32; 256] = std::array::from_fn(|byte| (0..8).fold(byte as u32, |crc, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1))));
    !bytes.iter().fold(!0, |crc, &byte| table[usize::from(crc as u8 ^ byte)] ^ (crc >> 8))
}

/// Each row with the filter in front that leaves the smallest differences: of the left, upper, both or likeliest neighbour, or of none.
fn filtered(row: usize, rgba: &[u8]) -> Vec<u8> {
    let mut all = Vec::with_capacity(rgba.len() + rgba.len() / row);
    let mut above = vec![0; row];
    for row in rgba.chunks_exact(row) {
        let best = (0..5).map(|filter| differences(filter, row, &above)).min_by_key(|candidate| {
            // As signed numbers, around nothing.
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

/// Prompt, then one line of `Key: value`. A line break in the prompt would end it for readers, and a NUL ends a chunk.
fn parameters(image: &Image, facts: &Facts<'_>) -> String {
    let (width, height) = (image.width, image.height);
    let prompt: String = facts.prompt.chars().map(|sign| if sign.is_control() { ' ' } else { sign }).collect();
    let model = if facts.title.contains([',', ':', '"', '\n', '\0']) {
        Cow::Owned(serde_json::Value::from(facts.title).to_string())
    } else {
        Cow::Borrowed(facts.title)
    };
    let hash = facts.bundle.get(..10).unwrap_or(facts.bundle);
    // The way between two seeds is what galleries know as a variation.
    let seed = match &image.noise {
        Noise::Seed(seed) => format!("Seed: {seed}, "),
        Noise::Between { from, to, t } => format!("Seed: {from}, Variation seed: {to}, Variation seed strength: {t}, "),
        Noise::Given(_) => String::new(),
    };
    format!(
        "{}\nSteps: 1, Sampler: onestep, {seed}Size: {width}x{height}, Model: {model}, Model hash: {hash}, Version: onestep {VERSION}",
        prompt.trim(),
    )
}

/// A prompt that would not fit is left out, and its token ids stand for it: they are what the model read.
fn json(image: &Image, facts: &Facts<'_>) -> String {
    let mut object = serde_json::json!({
        "format": 1,
        "prompt": facts.prompt,
        "bundle": facts.bundle,
        "title": facts.title,
        "backend": facts.backend,
        "size": [image.width, image.height],
        "version": VERSION,
    });
    // Strings: numbers above 2^53 do not survive JavaScript.
    match &image.noise {
        Noise::Seed(seed) => object["seed"] = seed.to_string().into(),
        Noise::Between { from, to, t } => object["noise"] = serde_json::json!({ "from": from.to_string(), "to": to.to_string(), "t": t }),
        // As long as the image itself.
        Noise::Given(_) => object["noise"] = "given".into(),
    }
    if object.to_string().len() > FACTS_BYTES {
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
        let prompt = Prompt { ids: vec![0, 5, 1], unknown: vec![], truncated: false, tokens: 1 };
        Image { width: 2, height: 3, rgba, prompt, noise: u64::MAX.into(), timings: Timings::default() }
    }
    fn facts(prompt: &str) -> Facts<'_> {
        Facts { prompt, title: "Emoji", bundle: "0123456789abcdef", backend: "webgpu" }
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
    fn a_file_says_how_it_was_made_and_says_it_the_same_way_every_time() {
        let file = encode(&image(), Some(&facts("a red\napple"))).unwrap();
        assert_eq!(file, encode(&image(), Some(&facts("a red\napple"))).unwrap());
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
    fn the_way_between_two_seeds_is_told_and_noise_of_the_callers_is_named_as_that() {
        let of = |noise: Noise| {
            let (_, texts) = read(&encode(&Image { noise, ..image() }, Some(&facts("a"))).unwrap());
            (texts[0].1.clone(), serde_json::from_str::<serde_json::Value>(&texts[1].1).unwrap())
        };
        let (line, json) = of(Noise::Between { from: 3, to: u64::MAX, t: 0.25 });
        assert!(line.contains("Seed: 3, Variation seed: 18446744073709551615, Variation seed strength: 0.25, Size"), "{line}");
        assert_eq!(json["noise"], serde_json::json!({ "from": "3", "to": "18446744073709551615", "t": 0.25 }));
        let (line, json) = of(Noise::Given(vec![0.0]));
        assert!(!line.contains("Seed"), "{line}");
        assert_eq!(json["noise"], "given");
    }

    #[test]
    fn text_beyond_latin_1_is_kept() {
        let (_, texts) = read(&encode(&image(), Some(&facts("赤い林檎 🍎"))).unwrap());
        assert!(texts[0].1.starts_with("赤い林檎 🍎\n"));
        assert!(read(&encode(&image(), None).unwrap()).1.is_empty());
    }

    #[test]
    fn a_prompt_that_does_not_fit_gives_way_to_its_ids() {
        let (_, texts) = read(&encode(&image(), Some(&facts(&"\"".repeat(65_536)))).unwrap());
        assert!(texts[1].1.len() <= FACTS_BYTES);
        let json: serde_json::Value = serde_json::from_str(&texts[1].1).unwrap();
        assert!(json["prompt"].is_null());
        assert_eq!(json["ids"], serde_json::json!([0, 5, 1]));
    }

    #[test]
    fn hostile_prompts_and_titles_end_no_line_and_no_chunk() {
        let facts = Facts { title: "a, Seed: 1\0", ..facts("x\0y\nSteps: 50\r") };
        let (_, texts) = read(&encode(&image(), Some(&facts)).unwrap());
        assert_eq!(texts[0].1.lines().count(), 2);
        assert!(texts[0].1.contains(r#"Model: "a, Seed: 1\u0000""#));
    }

    #[test]
    fn every_filter_is_read_back_and_smooth_images_are_small() {
        let (width, height) = (64u32, 80u32);
        // Noise, constant rows and columns, slopes: each favours another filter.
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
    fn bytes_that_are_no_image_are_refused() {
        assert_eq!(rgba(2, 2, &[0; 15]).unwrap_err().kind(), ErrorKind::Internal);
        assert_eq!(rgba(0, 0, &[]).unwrap_err().kind(), ErrorKind::Internal);
    }
}
