//! Characters and tokens that know where in the prompt they come from.

/// One character on its way through the tokenizer, and the bytes of the prompt that it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Letter {
    pub(crate) sign: char,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// One token, and the bytes of the prompt that it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) id: u32,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// A text's characters.
pub(crate) fn letters(text: &str) -> Vec<Letter> {
    text.char_indices().map(|(start, sign)| Letter { sign, start, end: start + sign.len_utf8() }).collect()
}

/// The bytes of the prompt that neighbouring letters stand for.
pub(crate) fn span(letters: &[Letter]) -> (usize, usize) {
    match letters {
        [] => (0, 0),
        [first, ..] => letters.iter().fold((first.start, first.end), |(start, end), letter| (start.min(letter.start), end.max(letter.end))),
    }
}
