//! Byte-pair encoding: merges adjacent symbols of a word, the pair of lowest rank first.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use onestep_program::{BundleError, error::BundleErrorKind, limits};
use serde_json::Value as Json;

use super::{
    fields::Fields,
    spanned_char::{SpannedChar, Token, span},
};

#[derive(Clone, Debug)]
pub(super) struct Bpe {
    vocabulary: BTreeMap<String, u32>,
    /// By pair of ids: the rank of their merge (lower merges first), and the id of the result.
    merges: BTreeMap<(u32, u32), (u32, u32)>,
    unknown: Option<u32>,
    /// The suffix of a word's last character.
    end_of_word: String,
    /// True if adjacent unknown characters become one token.
    fuse_unknown: bool,
    /// True if a word in the vocabulary is one token without merges.
    whole_words: bool,
}

/// One token of a word during merging; a linked list.
struct Symbol {
    id: u32,
    /// Its first and last character in the word.
    first: usize,
    last: usize,
    before: Option<usize>,
    after: Option<usize>,
}

impl Bpe {
    pub(super) fn new(json: &Json, location: &str) -> Result<Self, BundleError> {
        if json["type"].as_str() != Some("BPE") {
            return Err(BundleError::new(
                BundleErrorKind::Unsupported,
                location,
                format!("has a model of the type {}; supported is BPE", json["type"]),
            ));
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
        let model = Fields::new(json, "model", &known, location)?;
        if !model.get("dropout").is_null() && model.get("dropout").as_f64() != Some(0.0) {
            return Err(model.unsupported("uses dropout, which makes token ids random".into()));
        }
        let optional = |key: &str| if model.get(key).is_null() { Ok("") } else { model.text(key) };
        if !optional("continuing_subword_prefix")?.is_empty() {
            return Err(model.unsupported("uses continuing_subword_prefix".into()));
        }
        if model.flag("byte_fallback", false)? {
            return Err(model.unsupported("uses byte_fallback".into()));
        }
        let end_of_word = optional("end_of_word_suffix")?.to_owned();
        limits::check(limits::TOKENIZER_ENTRY_BYTES, end_of_word.len() as u64, location)?;

        let entries = model.get("vocab").as_object().ok_or_else(|| model.malformed("has no vocabulary".into()))?;
        limits::check(limits::TOKENIZER_ENTRIES, entries.len() as u64, location)?;
        let mut vocabulary = BTreeMap::new();
        for (token, id) in entries {
            limits::check(limits::TOKENIZER_ENTRY_BYTES, token.len() as u64, location)?;
            let id = id.as_u64().and_then(|id| u32::try_from(id).ok());
            vocabulary.insert(token.clone(), id.ok_or_else(|| model.malformed(format!("gives the token {token:?} no id")))?);
        }
        let of_token = |token: &str| vocabulary.get(token).copied();
        let unknown = match model.get("unk_token") {
            Json::Null => None,
            _ => {
                let token = model.text("unk_token")?;
                let missing = || model.malformed(format!("names {token:?} as unk_token, which is not in its vocabulary"));
                Some(of_token(token).ok_or_else(missing)?)
            }
        };
        let pairs = model.get("merges").as_array().ok_or_else(|| model.malformed("has no merges".into()))?;
        limits::check(limits::TOKENIZER_ENTRIES, pairs.len() as u64, location)?;
        let mut merges = BTreeMap::new();
        for (rank, pair) in (0u32..).zip(pairs) {
            let (left, right) = two(pair).ok_or_else(|| model.malformed(format!("has a merge that is not two tokens: {pair}")))?;
            let joined = [left, right].concat();
            let missing = |token: &str| model.malformed(format!("has a merge with {token:?}, which is not in its vocabulary"));
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
    /// The number of vocabulary entries.
    pub(super) fn len(&self) -> usize {
        self.vocabulary.len()
    }

    /// Appends the tokens of a word.
    pub(super) fn encode(&self, word: &[SpannedChar], tokens: &mut Vec<Token>) {
        if self.whole_words
            && let Some(id) = self.id(&word.iter().map(|spanned| spanned.character).collect::<String>())
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

    /// One token per character. Without an unknown token, unknown characters are dropped.
    fn symbols(&self, word: &[SpannedChar]) -> Vec<Symbol> {
        let mut symbols: Vec<Symbol> = Vec::with_capacity(word.len());
        let mut text = String::new();
        let mut fusing = false;
        for (at, spanned) in word.iter().enumerate() {
            text.clear();
            text.push(spanned.character);
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

    /// Merges adjacent symbols until no pair can be merged; of pairs with equal rank, the first. A symbol that was merged into the one before
    /// is unlinked.
    fn join(&self, symbols: &mut [Symbol]) {
        let mut queue: BinaryHeap<Reverse<(u32, usize, u32)>> = BinaryHeap::new();
        let candidate = |left: u32, right: u32, at: usize| self.merges.get(&(left, right)).map(|&(rank, joined)| Reverse((rank, at, joined)));
        queue.extend(symbols.windows(2).enumerate().filter_map(|(at, pair)| candidate(pair[0].id, pair[1].id, at)));
        while let Some(Reverse((_, at, joined))) = queue.pop() {
            let Some(right) = symbols[at].after else { continue };
            // Skip entries that a later merge made stale.
            if self.merges.get(&(symbols[at].id, symbols[right].id)).is_none_or(|&(_, becomes)| becomes != joined) {
                continue;
            }
            let (last, after) = (symbols[right].last, symbols[right].after.take());
            symbols[right].before = None;
            symbols[at] = Symbol { id: joined, last, after, ..symbols[at] };
            if let Some(before) = symbols[at].before {
                queue.extend(candidate(symbols[before].id, joined, before));
            }
            if let Some(after) = after {
                symbols[after].before = Some(at);
                queue.extend(candidate(joined, symbols[after].id, at));
            }
        }
    }
}

/// The two tokens of a merge, in the format of newer and of older files.
fn two(json: &Json) -> Option<(&str, &str)> {
    match json {
        Json::Array(pair) if pair.len() == 2 => Some((pair[0].as_str()?, pair[1].as_str()?)),
        Json::String(text) => text.split_once(' ').filter(|(_, right)| !right.contains(' ')),
        _ => None,
    }
}
