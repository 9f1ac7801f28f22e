//! Characters and tokens with the bytes of the prompt that they come from.

/// A character, perhaps normalized, with the byte range of the prompt that it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SpannedChar {
    pub(crate) character: char,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// A token with the byte range of the prompt that it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) id: u32,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// The characters of a text with their byte ranges.
pub(crate) fn spanned_chars(text: &str) -> Vec<SpannedChar> {
    text.char_indices().map(|(start, character)| SpannedChar { character, start, end: start + character.len_utf8() }).collect()
}

/// The byte range of adjacent characters.
pub(crate) fn span(characters: &[SpannedChar]) -> (usize, usize) {
    match characters {
        [] => (0, 0),
        [first, ..] => characters.iter().fold((first.start, first.end), |(start, end), spanned| (start.min(spanned.start), end.max(spanned.end))),
    }
}
