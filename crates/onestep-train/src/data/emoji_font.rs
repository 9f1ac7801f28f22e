//! The colour bitmaps of an emoji font: from a sequence of code points to an image.

use std::fs;
use std::path::Path;

use rustybuzz::ttf_parser::{GlyphId, RasterImageFormat};

use super::error::DataError;
use super::image::Image;

const MAX_FILE_BYTES: u64 = 256 << 20;

/// The bytes of a font file, checked to be a font with bitmaps when it is opened.
pub(super) struct EmojiFontFile {
    bytes: Vec<u8>,
    name: String,
}

/// An opened emoji font.
pub(super) struct EmojiFont<'a> {
    face: rustybuzz::Face<'a>,
    name: &'a str,
}

impl EmojiFontFile {
    pub fn read(path: &Path) -> Result<Self, DataError> {
        let doing = || format!("reading the emoji font {}", path.display());
        let metadata = fs::metadata(path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => DataError::input(doing(), "the font Noto Color Emoji (CBDT bitmaps)", "nothing there")
                .advise(
                    "install it (Debian and Ubuntu: fonts-noto-color-emoji; Fedora: google-noto-color-emoji-fonts; \
                     macOS: brew install --cask font-noto-color-emoji) or name the file with --font",
                )
                .at(path),
            _ => DataError::reading(path, &e),
        })?;
        if metadata.len() > MAX_FILE_BYTES {
            return Err(DataError::input(doing(), format!("at most {MAX_FILE_BYTES} bytes"), format!("{}", metadata.len()))
                .advise("name another file with --font")
                .at(path));
        }
        let bytes = fs::read(path).map_err(|e| DataError::reading(path, &e))?;
        Ok(Self { bytes, name: path.display().to_string() })
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn open(&self) -> Result<EmojiFont<'_>, DataError> {
        let refuse = |found: &str| {
            DataError::input(format!("reading the emoji font {}", self.name), "a font with colour bitmaps as PNG (tables CBLC and CBDT)", found)
                .advise("use the build of Noto Color Emoji with bitmaps, not the one with outlines (COLR)")
                .at(Path::new(&self.name))
        };
        let face = rustybuzz::Face::from_slice(&self.bytes, 0).ok_or_else(|| refuse("something that is not a font"))?;
        let tables = face.tables();
        if tables.cbdt.is_none() && tables.sbix.is_none() {
            return Err(refuse("a font without them"));
        }
        Ok(EmojiFont { face, name: &self.name })
    }
}

impl EmojiFont<'_> {
    /// The bitmap for an emoji, or nothing if the font has no single image for this sequence.
    pub fn image(&self, emoji: &str) -> Result<Option<Image>, DataError> {
        let Some(glyph) = self.glyph(emoji) else { return Ok(None) };
        let Some(image) = self.face.glyph_raster_image(glyph, u16::MAX) else { return Ok(None) };
        if image.format != RasterImageFormat::PNG {
            return Ok(None);
        }
        Image::from_png(image.data, &format!("{emoji} in the font {}", self.name)).map(Some)
    }

    /// The font's own copyright notice.
    pub fn copyright(&self) -> Option<String> {
        let names = self.face.names();
        (0..names.len())
            .filter_map(|i| names.get(i))
            .filter(|n| n.name_id == rustybuzz::ttf_parser::name_id::COPYRIGHT_NOTICE)
            .find_map(|n| n.to_string())
            .map(|notice| notice.chars().map(|c| if c.is_control() { ' ' } else { c }).take(500).collect())
    }

    /// The single glyph that renders the sequence. Sequences are stored without the mark that asks for an image
    /// instead of text (U+FE0F); fonts differ in whether their ligatures expect it, so both are tried.
    fn glyph(&self, emoji: &str) -> Option<GlyphId> {
        let mut chars = emoji.chars();
        if let (Some(only), None) = (chars.next(), chars.next()) {
            return self.face.glyph_index(only).filter(|g| g.0 != 0);
        }
        self.ligature(emoji).or_else(|| self.ligature(&with_image_marks(emoji)))
    }

    fn ligature(&self, text: &str) -> Option<GlyphId> {
        let mut buffer = rustybuzz::UnicodeBuffer::new();
        buffer.push_str(text);
        buffer.set_direction(rustybuzz::Direction::LeftToRight);
        let shaped = rustybuzz::shape(&self.face, &[], buffer);
        let space = self.face.glyph_index(' ').map(|g| u32::from(g.0));
        let mut visible = shaped
            .glyph_infos()
            .iter()
            .zip(shaped.glyph_positions())
            // Remaining joiners and marks are rendered as a space without width.
            .filter(|(info, position)| !(Some(info.glyph_id) == space && position.x_advance == 0))
            .map(|(info, _)| info.glyph_id);
        match (visible.next(), visible.next()) {
            (Some(glyph), None) if glyph != 0 => u16::try_from(glyph).ok().map(GlyphId),
            _ => None,
        }
    }
}

/// U+FE0F behind every code point that is text unless asked otherwise: those of the older blocks.
fn with_image_marks(emoji: &str) -> String {
    let mut out = String::new();
    let mut chars = emoji.chars().peekable();
    while let Some(c) = chars.next() {
        out.push(c);
        let is_joiner_or_modifier =
            matches!(c, '\u{200D}' | '\u{20E3}' | '\u{1F3FB}'..='\u{1F3FF}' | '\u{E0020}'..='\u{E007F}' | '\u{1F1E6}'..='\u{1F1FF}');
        let followed_by_modifier = matches!(chars.peek(), Some('\u{1F3FB}'..='\u{1F3FF}'));
        if !is_joiner_or_modifier && !followed_by_modifier && (c < '\u{1F000}' || matches!(c, '\u{1F321}'..='\u{1F5FF}')) {
            out.push('\u{FE0F}');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_go_behind_old_symbols_only() {
        assert_eq!(with_image_marks("❤\u{200D}🔥"), "❤\u{FE0F}\u{200D}🔥\u{FE0F}");
        assert_eq!(with_image_marks("👨\u{1F3FB}\u{200D}⚕"), "👨\u{1F3FB}\u{200D}⚕\u{FE0F}");
        assert_eq!(with_image_marks("🇫🇷"), "🇫🇷");
    }

    #[test]
    fn a_missing_font_names_the_packages() {
        let error = EmojiFontFile::read(Path::new("/nowhere/NotoColorEmoji.ttf")).err().unwrap().to_string();
        assert!(error.contains("fonts-noto-color-emoji") && error.contains("--font"), "{error}");
    }

    #[test]
    fn what_is_no_font_is_refused() {
        let file = EmojiFontFile { bytes: b"not a font at all".to_vec(), name: "x.ttf".into() };
        assert!(file.open().err().unwrap().to_string().contains("CBDT"));
    }
}
