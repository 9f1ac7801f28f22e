//! Pictures as PNG files that say how they were made, in bytes that depend on nothing else.
//!
//! Two text chunks before the pixels: `parameters` in the convention that galleries read, and `onestep`, JSON with everything that is
//! needed to make the same picture again.

use std::borrow::Cow;

use crate::{
    VERSION,
    error::{Error, ErrorKind, Result},
    picture::Picture,
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
    /// What computed the picture.
    pub backend: &'a str,
}

/// A picture with or without its facts.
///
/// # Errors
/// Bytes that are not width × height × 4.
pub fn encode(picture: &Picture, facts: Option<&Facts<'_>>) -> Result<Vec<u8>> {
    let texts = facts.map(|facts| [("parameters", parameters(picture, facts)), ("onestep", json(picture, facts))]);
    write(picture.width, picture.height, &picture.rgba, texts.as_ref().map_or(&[], |texts| texts.as_slice()))
}

/// Pixels alone.
///
/// # Errors
/// Bytes that are not width × height × 4.
pub fn rgba(width: u32, height: u32, rgba: &[u8]) -> Result<Vec<u8>> {
    write(width, height, rgba, &[])
}

fn write(width: u32, height: u32, rgba: &[u8], texts: &[(&str, String)]) -> Result<Vec<u8>> {
    let internal = |error: png::EncodingError| Error::new(ErrorKind::Internal, format!("the PNG file cannot be written: {error}"));
    if width == 0 || height == 0 || rgba.len() as u64 != u64::from(width) * u64::from(height) * 4 {
        return Err(Error::new(ErrorKind::Internal, format!("{} bytes are no picture of {width} x {height} pixels", rgba.len())));
    }
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width, height);
    encoder.set_color(png::ColorType::Rgba);
    encoder.set_depth(png::BitDepth::Eight);
    for (keyword, text) in texts {
        let latin_1 = text.chars().all(|sign| u32::from(sign) <= 0xff);
        if latin_1 {
            encoder.add_text_chunk((*keyword).into(), text.clone()).map_err(internal)?;
        } else {
            encoder.add_itxt_chunk((*keyword).into(), text.clone()).map_err(internal)?;
        }
    }
    let mut writer = encoder.write_header().map_err(internal)?;
    writer.write_image_data(rgba).map_err(internal)?;
    writer.finish().map_err(internal)?;
    Ok(file)
}

/// Prompt, then one line of `Key: value`. A line break in the prompt would end it for readers, and a NUL ends a chunk.
fn parameters(picture: &Picture, facts: &Facts<'_>) -> String {
    let (width, height) = (picture.width, picture.height);
    let prompt: String = facts.prompt.chars().map(|sign| if sign.is_control() { ' ' } else { sign }).collect();
    let model = if facts.title.contains([',', ':', '"', '\n', '\0']) {
        Cow::Owned(serde_json::Value::from(facts.title).to_string())
    } else {
        Cow::Borrowed(facts.title)
    };
    let hash = facts.bundle.get(..10).unwrap_or(facts.bundle);
    format!(
        "{}\nSteps: 1, Sampler: onestep, Seed: {}, Size: {width}x{height}, Model: {model}, Model hash: {hash}, Version: onestep {VERSION}",
        prompt.trim(),
        picture.seed
    )
}

/// A prompt that would not fit is left out, and its token ids stand for it: they are what the model read.
fn json(picture: &Picture, facts: &Facts<'_>) -> String {
    let mut object = serde_json::json!({
        "format": 1,
        "prompt": facts.prompt,
        // A string: numbers above 2^53 do not survive JavaScript.
        "seed": picture.seed.to_string(),
        "bundle": facts.bundle,
        "title": facts.title,
        "backend": facts.backend,
        "size": [picture.width, picture.height],
        "version": VERSION,
    });
    if object.to_string().len() > FACTS_BYTES {
        object["prompt"] = serde_json::Value::Null;
        object["ids"] = picture.prompt.ids.clone().into();
    }
    object.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{picture::Timings, prompt::Prompt};

    fn picture() -> Picture {
        let rgba = (0..2 * 3 * 4).map(|byte| byte as u8 * 10).collect();
        let prompt = Prompt { ids: vec![0, 5, 1], unknown: vec![], truncated: false, tokens: 1 };
        Picture { width: 2, height: 3, rgba, prompt, seed: u64::MAX, timings: Timings::default() }
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
        let file = encode(&picture(), Some(&facts("a red\napple"))).unwrap();
        assert_eq!(file, encode(&picture(), Some(&facts("a red\napple"))).unwrap());
        let (pixels, texts) = read(&file);
        assert_eq!(pixels, picture().rgba);
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
    fn text_beyond_latin_1_is_kept() {
        let (_, texts) = read(&encode(&picture(), Some(&facts("赤い林檎 🍎"))).unwrap());
        assert!(texts[0].1.starts_with("赤い林檎 🍎\n"));
        assert!(read(&encode(&picture(), None).unwrap()).1.is_empty());
    }

    #[test]
    fn a_prompt_that_does_not_fit_gives_way_to_its_ids() {
        let (_, texts) = read(&encode(&picture(), Some(&facts(&"\"".repeat(65_536)))).unwrap());
        assert!(texts[1].1.len() <= FACTS_BYTES);
        let json: serde_json::Value = serde_json::from_str(&texts[1].1).unwrap();
        assert!(json["prompt"].is_null());
        assert_eq!(json["ids"], serde_json::json!([0, 5, 1]));
    }

    #[test]
    fn hostile_prompts_and_titles_end_no_line_and_no_chunk() {
        let facts = Facts { title: "a, Seed: 1\0", ..facts("x\0y\nSteps: 50\r") };
        let (_, texts) = read(&encode(&picture(), Some(&facts)).unwrap());
        assert_eq!(texts[0].1.lines().count(), 2);
        assert!(texts[0].1.contains(r#"Model: "a, Seed: 1\u0000""#));
    }

    #[test]
    fn bytes_that_are_no_picture_are_refused() {
        assert_eq!(rgba(2, 2, &[0; 15]).unwrap_err().kind(), ErrorKind::Internal);
        assert_eq!(rgba(0, 0, &[]).unwrap_err().kind(), ErrorKind::Internal);
    }
}
