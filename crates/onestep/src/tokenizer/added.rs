//! Added tokens: texts that are one token wherever they stand, found before anything else is split.

use std::collections::{BTreeMap, BTreeSet};

use onestep_program::{BundleError, limits};
use serde_json::Value as Json;

use super::{
    bpe::Bpe,
    fields::Fields,
    letter::{Letter, Token, letters, span},
    normalizer::Normalizer,
};

/// Some of the text, in order.
pub(super) enum Part {
    Token(Token),
    Text(Vec<Letter>),
}

#[derive(Clone, Debug, Default)]
pub(super) struct Added {
    /// Looked for in the text as it was typed, and in the normalized one.
    sets: [Set; 2],
    special: BTreeSet<u32>,
}

/// Texts in ascending order, so that those with a common beginning stand together.
#[derive(Clone, Debug, Default)]
struct Set(Vec<Entry>);

#[derive(Clone, Debug)]
struct Entry {
    signs: Vec<char>,
    id: u32,
    /// Whether white space before and after belongs to the token.
    strips: [bool; 2],
}

impl Added {
    pub(super) fn new(tokens: &[Json], model: &Bpe, normalizer: &Normalizer, place: &str) -> Result<Self, BundleError> {
        limits::check(limits::TOKENIZER_ENTRIES, (model.len() + tokens.len()) as u64, place)?;
        let mut special_ids = BTreeSet::new();
        let mut sets: [BTreeMap<Vec<char>, Entry>; 2] = Default::default();
        let mut seen = BTreeSet::new();
        for token in tokens {
            let known = ["id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"];
            let fields = Fields::new(token, "added token", &known, place)?;
            let content = fields.text("content")?;
            limits::check(limits::TOKENIZER_ENTRY_BYTES, content.len() as u64, place)?;
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
                return Err(fields.unsupported(format!("wants the added token {content:?} between words only (single_word)")));
            }
            let special = fields.flag("special", false)?;
            if special {
                special_ids.insert(id);
            }
            let normalized = fields.flag("normalized", !special)?;
            let text = letters(content);
            let text = if normalized { normalizer.apply(text) } else { text };
            let signs: Vec<char> = text.iter().map(|letter| letter.sign).collect();
            let entry = Entry { signs: signs.clone(), id, strips: [fields.flag("lstrip", false)?, fields.flag("rstrip", false)?] };
            // Of two that the normalizer makes the same, a special one counts, else the first.
            let set = &mut sets[usize::from(normalized)];
            if set.get(&signs).is_none_or(|other| special && !special_ids.contains(&other.id)) {
                set.insert(signs, entry);
            }
        }
        Ok(Self { sets: sets.map(|set| Set(set.into_values().collect())), special: special_ids })
    }

    pub(super) fn is_special(&self, id: u32) -> bool {
        self.special.contains(&id)
    }

    /// Cuts the tokens out of a text: at each place the longest one.
    pub(super) fn cut(&self, text: Vec<Letter>, normalized: bool) -> Vec<Part> {
        let set = &self.sets[usize::from(normalized)];
        let mut parts = Vec::new();
        // What is before `passed` has become parts.
        let (mut passed, mut at) = (0, 0);
        while at < text.len() {
            let Some((entry, length)) = set.longest(&text[at..]) else {
                at += 1;
                continue;
            };
            let [left, right] = entry.strips;
            let spaces = |letter: &&Letter| letter.sign.is_whitespace();
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
    /// The longest entry with which the text begins.
    fn longest(&self, text: &[Letter]) -> Option<(&Entry, usize)> {
        let mut left = self.0.as_slice();
        let mut found = None;
        for (depth, letter) in text.iter().enumerate() {
            // Those that begin like the text so far stand together; those that end here were taken out of them.
            let first = left.partition_point(|entry| entry.signs[depth] < letter.sign);
            let end = left.partition_point(|entry| entry.signs[depth] <= letter.sign);
            left = &left[first..end];
            match left.first() {
                None => break,
                Some(entry) if entry.signs.len() == depth + 1 => {
                    found = Some((entry, depth + 1));
                    left = &left[1..];
                }
                Some(_) => {}
            }
        }
        found
    }
}
