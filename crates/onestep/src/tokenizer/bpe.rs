//! Byte-pair encoding: a word is its characters, of which neighbours are joined, the most wanted pair first.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use onestep_program::{BundleError, error::Kind, limits};
use serde_json::Value as Json;

use super::{
    fields::Fields,
    letter::{Letter, Token, span},
};

#[derive(Clone, Debug)]
pub(super) struct Bpe {
    vocabulary: BTreeMap<String, u32>,
    /// Two ids: how wanted their joining is (less is more), and the id that they become.
    merges: BTreeMap<(u32, u32), (u32, u32)>,
    unknown: Option<u32>,
    /// What the last character of a word is looked up with.
    end_of_word: String,
    /// Whether neighbours that are both unknown are one token.
    fuse_unknown: bool,
    /// Whether a word that is in the vocabulary is one token in any case.
    whole_words: bool,
}

/// One token of a word while neighbours are joined.
struct Symbol {
    id: u32,
    /// Its letters in the word; none once it has been joined to the one before.
    first: usize,
    last: usize,
    before: Option<usize>,
    after: Option<usize>,
}

impl Bpe {
    pub(super) fn new(json: &Json, place: &str) -> Result<Self, BundleError> {
        if json["type"].as_str() != Some("BPE") {
            return Err(BundleError::new(Kind::Unsupported, place, format!("holds a tokenizer of the type {}; BPE is read", json["type"])));
        }
        let known = [
            "type",
            "dropout",
            "unk_token",
            "continuing_subword_prefix",
            "end_of_word_suffix",
            "fuse_unk",
            "byte_fallback",
            "ignore_merges",
            "vocab",
            "merges",
        ];
        let model = Fields::new(json, "model", &known, place)?;
        if !model.get("dropout").is_null() && model.get("dropout").as_f64() != Some(0.0) {
            return Err(model.unsupported("wants dropout, with which a prompt reads differently every time".into()));
        }
        let optional = |key: &str| if model.get(key).is_null() { Ok("") } else { model.text(key) };
        if !optional("continuing_subword_prefix")?.is_empty() {
            return Err(model.unsupported("marks the inner parts of words with a prefix".into()));
        }
        if model.flag("byte_fallback", false)? {
            return Err(model.unsupported("spells what is unknown byte by byte (byte_fallback)".into()));
        }
        let end_of_word = optional("end_of_word_suffix")?.to_owned();
        limits::check(limits::TOKENIZER_ENTRY_BYTES, end_of_word.len() as u64, place)?;

        let entries = model.get("vocab").as_object().ok_or_else(|| model.malformed("has no vocabulary".into()))?;
        limits::check(limits::TOKENIZER_ENTRIES, entries.len() as u64, place)?;
        let mut vocabulary = BTreeMap::new();
        for (token, id) in entries {
            limits::check(limits::TOKENIZER_ENTRY_BYTES, token.len() as u64, place)?;
            let id = id.as_u64().and_then(|id| u32::try_from(id).ok());
            vocabulary.insert(token.clone(), id.ok_or_else(|| model.malformed(format!("gives the token {token:?} no id")))?);
        }
        let of_token = |token: &str| vocabulary.get(token).copied();
        let unknown = match model.get("unk_token") {
            Json::Null => None,
            _ => {
                let token = model.text("unk_token")?;
                let missing = || model.malformed(format!("names {token:?} for what is unknown, which is not in its vocabulary"));
                Some(of_token(token).ok_or_else(missing)?)
            }
        };
        let pairs = model.get("merges").as_array().ok_or_else(|| model.malformed("has no merges".into()))?;
        limits::check(limits::TOKENIZER_ENTRIES, pairs.len() as u64, place)?;
        let mut merges = BTreeMap::new();
        for (rank, pair) in (0u32..).zip(pairs) {
            let (left, right) = two(pair).ok_or_else(|| model.malformed(format!("has a merge that is not two tokens: {pair}")))?;
            let joined = [left, right].concat();
            let missing = |token: &str| model.malformed(format!("joins tokens by way of {token:?}, which is not in its vocabulary"));
            let id = |token: &str| of_token(token).ok_or_else(|| missing(token));
            merges.insert((id(left)?, id(right)?), (rank, id(&joined)?));
        }
        let (fuse_unknown, whole_words) = (model.flag("fuse_unk", false)?, model.flag("ignore_merges", false)?);
        Ok(Self { vocabulary, merges, unknown, end_of_word, fuse_unknown, whole_words })
    }

    pub(super) fn unknown(&self) -> Option<u32> {
        self.unknown
    }
    pub(super) fn id(&self, token: &str) -> Option<u32> {
        self.vocabulary.get(token).copied()
    }
    /// The entries of the vocabulary, and hence the first id that none of them has where ids have no gaps.
    pub(super) fn len(&self) -> usize {
        self.vocabulary.len()
    }

    /// Appends the tokens of a word.
    pub(super) fn encode(&self, word: &[Letter], tokens: &mut Vec<Token>) {
        if self.whole_words
            && let Some(id) = self.id(&word.iter().map(|letter| letter.sign).collect::<String>())
        {
            let (start, end) = span(word);
            tokens.push(Token { id, start, end });
            return;
        }
        let mut symbols = self.symbols(word);
        self.join(&mut symbols);
        let mut next = (!symbols.is_empty()).then_some(0);
        while let Some(at) = next {
            let Symbol { id, first, last, after, .. } = symbols[at];
            let (start, end) = span(&word[first..=last]);
            tokens.push(Token { id, start, end });
            next = after;
        }
    }

    /// A token for each character; without a sign for the unknown, those that are unknown vanish.
    fn symbols(&self, word: &[Letter]) -> Vec<Symbol> {
        let mut symbols: Vec<Symbol> = Vec::with_capacity(word.len());
        let mut text = String::new();
        let mut fusing = false;
        for (at, letter) in word.iter().enumerate() {
            text.clear();
            text.push(letter.sign);
            if at + 1 == word.len() {
                text.push_str(&self.end_of_word);
            }
            let known = self.id(&text);
            match (known.or(self.unknown), symbols.last_mut()) {
                (Some(_), Some(before)) if known.is_none() && fusing => before.last = at,
                (Some(id), _) => symbols.push(Symbol { id, first: at, last: at, before: None, after: None }),
                (None, _) => {}
            }
            fusing = known.is_none() && self.fuse_unknown;
        }
        let count = symbols.len();
        for (at, symbol) in symbols.iter_mut().enumerate() {
            symbol.before = at.checked_sub(1);
            symbol.after = Some(at + 1).filter(|&after| after < count);
        }
        symbols
    }

    /// Joins neighbours as long as there is a pair to join: of equally wanted ones the first. A symbol that was joined to the one before
    /// has no neighbours any more.
    fn join(&self, symbols: &mut [Symbol]) {
        let mut queue: BinaryHeap<Reverse<(u32, usize, u32)>> = BinaryHeap::new();
        let wanted = |left: u32, right: u32, at: usize| self.merges.get(&(left, right)).map(|&(rank, joined)| Reverse((rank, at, joined)));
        queue.extend(symbols.windows(2).enumerate().filter_map(|(at, pair)| wanted(pair[0].id, pair[1].id, at)));
        while let Some(Reverse((_, at, joined))) = queue.pop() {
            let Some(right) = symbols[at].after else { continue };
            // What was queued may be of the past.
            if self.merges.get(&(symbols[at].id, symbols[right].id)).is_none_or(|&(_, becomes)| becomes != joined) {
                continue;
            }
            let (last, after) = (symbols[right].last, symbols[right].after.take());
            symbols[right].before = None;
            symbols[at] = Symbol { id: joined, last, after, ..symbols[at] };
            if let Some(before) = symbols[at].before {
                queue.extend(wanted(symbols[before].id, joined, before));
            }
            if let Some(after) = after {
                symbols[after].before = Some(at);
                queue.extend(wanted(joined, symbols[after].id, at));
            }
        }
    }
}

/// A merge, as newer files write it and as older ones do.
fn two(json: &Json) -> Option<(&str, &str)> {
    match json {
        Json::Array(pair) if pair.len() == 2 => Some((pair[0].as_str()?, pair[1].as_str()?)),
        Json::String(text) => text.split_once(' ').filter(|(_, right)| !right.contains(' ')),
        _ => None,
    }
}
