//! Added tokens: strings that are one token wherever they occur. They are found before the text is split.

use std::collections::{BTreeMap, BTreeSet};

use onestep_program::{BundleError, limits};
use serde_json::Value as Json;

use super::{
    bpe::Bpe,
    fields::Fields,
    normalizer::Normalizer,
    spanned_char::{SpannedChar, Token, span, spanned_chars},
};

/// A part of the text.
pub(super) enum Part {
    Token(Token),
    Text(Vec<SpannedChar>),
}

#[derive(Clone, Debug, Default)]
pub(super) struct Added {
    /// Those that are searched in the original text, and those that are searched in the normalized text.
    sets: [Set; 2],
    special: BTreeSet<u32>,
}

/// Entries sorted by text, so that entries with a common prefix are adjacent.
#[derive(Clone, Debug, Default)]
struct Set(Vec<Entry>);

#[derive(Clone, Debug)]
struct Entry {
    characters: Vec<char>,
    id: u32,
    /// True if white space before, or after, belongs to the token.
    strips: [bool; 2],
}

impl Added {
    pub(super) fn new(tokens: &[Json], model: &Bpe, normalizer: &Normalizer, location: &str) -> Result<Self, BundleError> {
        limits::check(limits::TOKENIZER_ENTRIES, (model.len() + tokens.len()) as u64, location)?;
        let mut special_ids = BTreeSet::new();
        let mut sets: [BTreeMap<Vec<char>, Entry>; 2] = Default::default();
        let mut seen = BTreeSet::new();
        for token in tokens {
            let known = ["id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"];
            let fields = Fields::new(token, "added token", &known, location)?;
            let content = fields.text("content")?;
            limits::check(limits::TOKENIZER_ENTRY_BYTES, content.len() as u64, location)?;
            if content.is_empty() {
                return Err(fields.malformed("has an added token without text".into()));
            }
            if !seen.insert(content) {
                return Err(fields.malformed(format!("adds the token {content:?} twice")));
            }
            let id = fields.number("id")?;
            if let Some(other) = model.id(content).filter(|&other| other != id) {
                return Err(fields.malformed(format!("adds the token {content:?} as {id}, its vocabulary has it as {other}")));
            }
            if fields.flag("single_word", false)? {
                return Err(fields.unsupported(format!("has the added token {content:?} with single_word, which is not supported")));
            }
            let special = fields.flag("special", false)?;
            if special {
                special_ids.insert(id);
            }
            let normalized = fields.flag("normalized", !special)?;
            let text = spanned_chars(content);
            let text = if normalized { normalizer.apply(text) } else { text };
            let characters: Vec<char> = text.iter().map(|spanned| spanned.character).collect();
            let entry = Entry { characters: characters.clone(), id, strips: [fields.flag("lstrip", false)?, fields.flag("rstrip", false)?] };
            // If normalization makes two tokens equal, a special one takes precedence, else the first.
            let set = &mut sets[usize::from(normalized)];
            if set.get(&characters).is_none_or(|other| special && !special_ids.contains(&other.id)) {
                set.insert(characters, entry);
            }
        }
        Ok(Self { sets: sets.map(|set| Set(set.into_values().collect())), special: special_ids })
    }

    pub(super) fn is_special(&self, id: u32) -> bool {
        self.special.contains(&id)
    }

    /// Splits a text at its added tokens; at each position the longest one matches.
    pub(super) fn cut(&self, text: Vec<SpannedChar>, normalized: bool) -> Vec<Part> {
        let set = &self.sets[usize::from(normalized)];
        let mut parts = Vec::new();
        // The text before `passed` is in `parts`.
        let (mut passed, mut at) = (0, 0);
        while at < text.len() {
            let Some((entry, length)) = set.longest(&text[at..]) else {
                at += 1;
                continue;
            };
            let [left, right] = entry.strips;
            let spaces = |spanned: &&SpannedChar| spanned.character.is_whitespace();
            let before = if left { text[passed..at].iter().rev().take_while(spaces).count() } else { 0 };
            let after = if right { text[at + length..].iter().take_while(spaces).count() } else { 0 };
            if passed < at - before {
                parts.push(Part::Text(text[passed..at - before].to_vec()));
            }
            passed = at + length + after;
            let (start, end) = span(&text[at - before..passed]);
            parts.push(Part::Token(Token { id: entry.id, start, end }));
            at = passed;
        }
        match passed {
            0 if !text.is_empty() => parts.push(Part::Text(text)),
            _ if passed < text.len() => parts.push(Part::Text(text[passed..].to_vec())),
            _ => {}
        }
        parts
    }
}

impl Set {
    /// The longest entry that the text begins with, and its length.
    fn longest(&self, text: &[SpannedChar]) -> Option<(&Entry, usize)> {
        let mut left = self.0.as_slice();
        let mut found = None;
        for (depth, spanned) in text.iter().enumerate() {
            // `left` holds the entries that begin like the text so far and are longer.
            let first = left.partition_point(|entry| entry.characters[depth] < spanned.character);
            let end = left.partition_point(|entry| entry.characters[depth] <= spanned.character);
            left = &left[first..end];
            match left.first() {
                None => break,
                Some(entry) if entry.characters.len() == depth + 1 => {
                    found = Some((entry, depth + 1));
                    left = &left[1..];
                }
                Some(_) => {}
            }
        }
        found
    }
}
