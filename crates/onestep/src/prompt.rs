//! Prompts: from text to the token ids that the text encoder reads, by the bundle's `tokenizer.json`.
//!
//! The file belongs to the bundle and hence to whoever made it. The `tokenizers` crate reads it, after [`audit`] has refused what could
//! make that crate panic or a short prompt take gigabytes.

use std::collections::BTreeSet;

use onestep_program::{
    BundleError,
    error::Kind,
    limits::{self, Limit},
};
use serde_json::Value as Json;
use tokenizers::{Encoding, PaddingDirection, Tokenizer, TruncationDirection};

use crate::error::{Error, ErrorKind, Result};

/// Characters that have no shape of their own: joiners and variation selectors. Nobody typed them, so nobody is told of them.
const SHAPELESS: [char; 4] = ['\u{200c}', '\u{200d}', '\u{fe0e}', '\u{fe0f}'];

const PATTERN_BYTES: Limit = Limit { what: "bytes of a pattern in the tokenizer", max: 1_024 };

/// A prompt as the model reads it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prompt {
    /// As many as the text encoder wants, padding included.
    pub ids: Vec<i32>,
    /// Characters that the model has never seen, each once, in the order of the prompt. It reads them all as the same sign.
    pub unknown: Vec<char>,
    /// Whether the prompt was longer than the model reads.
    pub truncated: bool,
    /// Tokens of the whole prompt that the model knows, without start, end and padding.
    pub tokens: usize,
}

/// Reads prompts for one model.
#[derive(Clone, Debug)]
pub(crate) struct PromptReader {
    tokenizer: Tokenizer,
    unknown: Option<u32>,
    special: BTreeSet<u32>,
    padding: Padding,
    truncation: TruncationDirection,
    /// Tokens per prompt.
    length: usize,
    /// Tokens that the template adds.
    added: usize,
    /// Rows of the token embedding.
    rows: usize,
}

#[derive(Clone, Debug)]
struct Padding {
    id: u32,
    type_id: u32,
    token: String,
    direction: PaddingDirection,
}

impl PromptReader {
    /// `length` is the number of ids per prompt, `rows` the number of ids that the text encoder knows; `place` is the file's name in errors.
    pub(crate) fn new(bytes: &[u8], place: &str, length: usize, rows: usize) -> Result<Self> {
        let malformed = |message: String| BundleError::new(Kind::Malformed, place, message);
        let mut json: Json = limits::parse_json(bytes, limits::TOKENIZER_BYTES, place)?;
        audit(&json, place)?;
        let padding =
            padding(&json["padding"]).ok_or_else(|| malformed("says no padding token, so that short prompts cannot be filled up".into()))?;
        let truncation = match json["truncation"]["direction"].as_str() {
            Some("Left") => TruncationDirection::Left,
            _ => TruncationDirection::Right,
        };
        let unknown = json["model"]["unk_token"].as_str().map(str::to_owned);
        // Length, padding and cutting follow the program's shapes, and nothing is ever decoded.
        for key in ["padding", "truncation", "decoder"] {
            json[key] = Json::Null;
        }
        let bytes = serde_json::to_vec(&json).map_err(|error| malformed(format!("is not JSON: {error}")))?;
        let tokenizer = Tokenizer::from_bytes(bytes).map_err(|error| malformed(format!("is no tokenizer that can be used: {error}")))?;
        let unknown = unknown
            .map(|token| {
                tokenizer.token_to_id(&token).ok_or_else(|| malformed(format!("names {token:?} for what is unknown, which is not in its vocabulary")))
            })
            .transpose()?;
        let special = tokenizer.get_added_tokens_decoder().iter().filter(|(_, token)| token.special).map(|(id, _)| *id).collect();
        let added = tokenizer.get_post_processor().map_or(0, |processor| tokenizers::PostProcessor::added_tokens(processor, false));
        if added >= length {
            return Err(malformed(format!("adds {added} tokens of its own, the model reads {length} in all")).into());
        }
        let reader = Self { tokenizer, unknown, special, padding, truncation, length, added, rows };
        // The template and the padding, which every prompt gets, must be ids that the model has.
        reader.ids(Encoding::default()).map_err(|error| malformed(error.to_string()))?;
        Ok(reader)
    }

    /// Reads a prompt, whatever it says.
    ///
    /// # Errors
    /// A prompt above the limit of its bytes, and one of which the model knows nothing.
    pub(crate) fn read(&self, text: &str) -> Result<Prompt> {
        let refuse = |message: String| Error::new(ErrorKind::InvalidOption, message);
        limits::check(limits::PROMPT_BYTES, text.len() as u64, "the prompt").map_err(|error| refuse(error.to_string()))?;
        if text.trim().is_empty() {
            return Err(refuse("the prompt is empty; say in a few words what the picture shall show".into()));
        }
        let whole = self.tokenizer.encode(text, false).map_err(|error| refuse(format!("the prompt cannot be read: {error}")))?;
        let unknown = self.unknown_characters(text, &whole);
        let tokens = whole.get_ids().iter().filter(|&id| Some(*id) != self.unknown && !self.special.contains(id)).count();
        if tokens == 0 {
            let signs: String = unknown.iter().take(16).collect();
            let message = match signs.is_empty() {
                true => format!("this model knows nothing of the prompt {text:?}"),
                false => format!("this model knows nothing of the prompt: it has never seen {signs}"),
            };
            return Err(refuse(message));
        }
        let truncated = whole.len() > self.length - self.added;
        Ok(Prompt { ids: self.ids(whole)?, unknown, truncated, tokens })
    }

    /// Cuts, wraps and fills up.
    fn ids(&self, mut encoding: Encoding) -> Result<Vec<i32>> {
        let internal = |message: String| Error::new(ErrorKind::InvalidBundle, message);
        encoding.truncate(self.length - self.added, 0, self.truncation);
        let mut encoding =
            self.tokenizer.post_process(encoding, None, true).map_err(|error| internal(format!("the tokenizer's template fails: {error}")))?;
        encoding.pad(self.length, self.padding.id, self.padding.type_id, &self.padding.token, self.padding.direction);
        let ids = encoding.get_ids();
        if ids.len() != self.length {
            return Err(internal(format!("the tokenizer makes {} ids, the model reads {}", ids.len(), self.length)));
        }
        match ids.iter().find(|&&id| id as usize >= self.rows) {
            Some(id) => Err(internal(format!("the tokenizer says id {id}, the model knows ids below {}", self.rows))),
            None => Ok(ids.iter().map(|&id| id as i32).collect()),
        }
    }

    /// With a token for what is unknown: the characters that became it. Without one: the characters that became nothing.
    fn unknown_characters(&self, text: &str, encoding: &Encoding) -> Vec<char> {
        let spans = |is_unknown: bool| {
            let ids = encoding.get_ids().iter().zip(encoding.get_offsets());
            ids.filter(move |(id, _)| (Some(**id) == self.unknown) == is_unknown).map(|(_, span)| *span)
        };
        let mut seen = BTreeSet::new();
        let found: Vec<char> = match self.unknown {
            Some(_) => spans(true).filter_map(|(start, end)| text.get(start..end)).flat_map(str::chars).collect(),
            None => {
                let mut read = vec![false; text.len()];
                for (start, end) in spans(false) {
                    if let Some(bytes) = read.get_mut(start..end) {
                        bytes.fill(true);
                    }
                }
                text.char_indices().filter(|(at, _)| !read[*at]).map(|(_, sign)| sign).collect()
            }
        };
        found.into_iter().filter(|sign| !sign.is_whitespace() && !SHAPELESS.contains(sign) && seen.insert(*sign)).collect()
    }
}

fn padding(json: &Json) -> Option<Padding> {
    let number = |key: &str| json[key].as_u64().and_then(|number| u32::try_from(number).ok());
    let direction = match json["direction"].as_str() {
        Some("Left") => PaddingDirection::Left,
        _ => PaddingDirection::Right,
    };
    Some(Padding { id: number("pad_id")?, type_id: number("pad_type_id").unwrap_or(0), token: json["pad_token"].as_str()?.to_owned(), direction })
}

/// Refuses kinds of tokenizer that have not been looked at, and numbers with which a known kind would panic or run away.
fn audit(json: &Json, place: &str) -> Result<(), BundleError> {
    let unsupported = |message: String| BundleError::new(Kind::Unsupported, place, message);
    let malformed = |message: &str| BundleError::new(Kind::Malformed, place, message);
    let model = &json["model"];
    if model["type"].as_str() != Some("BPE") {
        return Err(unsupported(format!("holds a tokenizer of the type {}; BPE is read", model["type"])));
    }
    if model["dropout"].as_f64().is_some_and(|dropout| dropout != 0.0) {
        return Err(unsupported("wants dropout, with which a prompt reads differently every time".into()));
    }
    for key in ["continuing_subword_prefix", "end_of_word_suffix"] {
        let affix = model[key].as_str().unwrap_or_default();
        limits::check(limits::TOKENIZER_ENTRY_BYTES, affix.len() as u64, place)?;
        // The crate slices off this prefix from every second half of a merge, also from shorter ones.
        if key.starts_with("continuing") && !affix.is_empty() {
            return Err(unsupported("marks the inner parts of words with a prefix".into()));
        }
    }
    let vocabulary = model["vocab"].as_object().ok_or_else(|| malformed("has no vocabulary"))?;
    let merges = model["merges"].as_array().ok_or_else(|| malformed("has no merges"))?;
    let added = json["added_tokens"].as_array().map_or(&[][..], Vec::as_slice);
    limits::check(limits::TOKENIZER_ENTRIES, (vocabulary.len() + added.len()) as u64, place)?;
    limits::check(limits::TOKENIZER_ENTRIES, merges.len() as u64, place)?;
    let contents = added.iter().map(|token| token["content"].as_str().unwrap_or_default());
    for entry in vocabulary.keys().map(String::as_str).chain(contents) {
        limits::check(limits::TOKENIZER_ENTRY_BYTES, entry.len() as u64, place)?;
    }
    if added.iter().any(|token| token["content"].as_str().is_none_or(str::is_empty)) {
        return Err(malformed("has an added token without text"));
    }
    const NORMALIZERS: &[&str] = &["Sequence", "NFC", "NFD", "NFKC", "NFKD", "Lowercase", "Strip", "StripAccents", "BertNormalizer", "Replace"];
    const PRE_TOKENIZERS: &[&str] = &[
        "Sequence",
        "ByteLevel",
        "Whitespace",
        "WhitespaceSplit",
        "Punctuation",
        "Digits",
        "BertPreTokenizer",
        "Split",
        "Metaspace",
        "CharDelimiterSplit",
        "UnicodeScripts",
    ];
    const POST_PROCESSORS: &[&str] = &["Sequence", "TemplateProcessing", "ByteLevel", "BertProcessing", "RobertaProcessing"];
    for (key, known) in [("normalizer", NORMALIZERS), ("pre_tokenizer", PRE_TOKENIZERS), ("post_processor", POST_PROCESSORS)] {
        let mut parts = vec![&json[key]];
        while let Some(part) = parts.pop() {
            if part.is_null() {
                continue;
            }
            let kind = part["type"].as_str().unwrap_or_default();
            if !known.contains(&kind) {
                return Err(unsupported(format!("uses {kind:?} as {key}; these are read: {}", known.join(", "))));
            }
            // Other replacements can make the crate lose count of its bytes, and repeated ones a short prompt take gigabytes.
            if kind == "Replace" && (part["pattern"]["Regex"].as_str(), part["content"].as_str()) != (Some(r"\s+"), Some(" ")) {
                return Err(unsupported("replaces something else than white space by a blank".into()));
            }
            for pattern in part["pattern"].as_object().into_iter().flat_map(|pattern| pattern.values()) {
                limits::check(PATTERN_BYTES, pattern.as_str().map_or(0, str::len) as u64, place)?;
            }
            if kind == "TemplateProcessing" && !is_template(part) {
                return Err(malformed("has a template that is not its own signs around one text"));
            }
            for list in ["normalizers", "pretokenizers", "processors"] {
                parts.extend(part[list].as_array().into_iter().flatten());
            }
        }
    }
    Ok(())
}

/// The crate looks the signs up without asking whether they are there.
fn is_template(json: &Json) -> bool {
    let signs = &json["special_tokens"];
    let known = |sign: &Json| {
        let lengths = [&sign["ids"], &sign["tokens"]].map(|list| list.as_array().map(Vec::len));
        lengths[0].is_some() && lengths[0] == lengths[1]
    };
    let pieces = json["single"].as_array().map_or(&[][..], Vec::as_slice);
    let texts = pieces.iter().filter(|piece| piece["Sequence"]["id"].as_str() == Some("A")).count();
    let own = pieces.iter().filter_map(|piece| piece["SpecialToken"]["id"].as_str()).filter(|id| known(&signs[*id])).count();
    texts == 1 && own + 1 == pieces.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tokenizer in the shape that training writes: pieces of words, a template, `<|unk|>`.
    pub(crate) fn json() -> Json {
        serde_json::from_str(include_str!("../tests/tokenizer.json")).unwrap()
    }

    fn reader(json: &Json) -> Result<PromptReader> {
        PromptReader::new(&serde_json::to_vec(json).unwrap(), "tokenizer.json", 8, 9)
    }

    #[test]
    fn a_prompt_is_wrapped_filled_up_and_cut() {
        let reader = reader(&json()).unwrap();
        assert_eq!(reader.read("A Red").unwrap(), Prompt { ids: vec![0, 3, 8, 1, 1, 1, 1, 1], unknown: vec![], truncated: false, tokens: 2 });
        assert_eq!(reader.read("aa aaaa").unwrap().ids, [0, 3, 3, 3, 3, 3, 3, 1]);
        assert!(!reader.read("aa aaaa").unwrap().truncated);
        let long = reader.read("aaa red red red red").unwrap();
        assert!(long.truncated);
        assert_eq!((long.ids, long.tokens), (vec![0, 3, 3, 3, 8, 8, 8, 1], 7));
    }

    #[test]
    fn unknown_signs_are_named_once_and_a_prompt_of_nothing_else_is_refused() {
        let reader = reader(&json()).unwrap();
        let prompt = reader.read("red 猫 ★ 猫\u{fe0f} q").unwrap();
        assert_eq!((prompt.unknown, prompt.tokens), (vec!['猫', '★', 'q'], 1));
        for (text, says) in [("猫★", "猫★"), (" \n ", "empty"), ("", "empty"), ("<|endoftext|>", "nothing")] {
            let error = reader.read(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidOption);
            assert!(error.to_string().contains(says), "{error}");
        }
    }

    #[test]
    fn without_a_sign_for_the_unknown_what_became_nothing_is_unknown() {
        let mut json = json();
        json["model"]["unk_token"] = Json::Null;
        let prompt = reader(&json).unwrap().read("red x").unwrap();
        assert_eq!(prompt.unknown, ['x']);
    }

    #[test]
    fn a_prompt_may_have_64_kib_and_not_a_byte_more() {
        let reader = reader(&json()).unwrap();
        assert!(reader.read(&"a".repeat(65_536)).unwrap().truncated);
        assert_eq!(reader.read(&"a".repeat(65_537)).unwrap_err().kind(), ErrorKind::InvalidOption);
    }

    #[test]
    fn hostile_tokenizers_are_refused_with_a_sentence() {
        type Edit = fn(&mut Json);
        let cases: [(Edit, &str); 17] = [
            (|json| json["model"]["type"] = "Unigram".into(), "BPE is read"),
            (|json| json["model"]["dropout"] = 0.5.into(), "dropout"),
            (|json| json["model"]["continuing_subword_prefix"] = "##".into(), "prefix"),
            (|json| json["model"]["vocab"] = Json::Null, "no vocabulary"),
            (|json| json["model"]["vocab"]["x".repeat(257)] = 3.into(), "257 bytes of one vocabulary entry"),
            (|json| json["model"]["unk_token"] = "nowhere".into(), "nowhere"),
            (|json| json["padding"] = Json::Null, "padding"),
            (|json| json["padding"]["pad_id"] = 9.into(), "id 9"),
            (|json| json["post_processor"]["special_tokens"]["<|endoftext|>"]["ids"] = vec![4_000_000_000u32].into(), "id 4000000000"),
            (
                |json| {
                    json["post_processor"]["special_tokens"]["<|endoftext|>"] =
                        serde_json::json!({ "id": "<|endoftext|>", "ids": [1, 1, 1, 1, 1, 1, 1], "tokens": ["", "", "", "", "", "", ""] })
                },
                "adds",
            ),
            (|json| json["post_processor"]["special_tokens"]["<|endoftext|>"] = Json::Null, "template"),
            (|json| json["post_processor"]["special_tokens"]["<|endoftext|>"]["ids"] = vec![1; 2].into(), "template"),
            (|json| json["post_processor"]["single"][1]["Sequence"]["id"] = "B".into(), "template"),
            (|json| json["normalizer"] = serde_json::json!({ "type": "Replace", "pattern": { "String": "a" }, "content": "aa" }), "white space"),
            (|json| json["normalizer"] = serde_json::json!({ "type": "Precompiled", "precompiled_charsmap": "" }), "Precompiled"),
            (
                |json| {
                    json["pre_tokenizer"] =
                        serde_json::json!({ "type": "Split", "pattern": { "Regex": "a".repeat(1_025) }, "behavior": "Isolated", "invert": false })
                },
                "1025 bytes of a pattern",
            ),
            (|json| json["added_tokens"][0]["content"] = "".into(), "without text"),
        ];
        for (edit, says) in cases {
            let mut hostile = json();
            edit(&mut hostile);
            let error = reader(&hostile).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidBundle, "{error}");
            assert!(error.to_string().contains(says), "{error}");
        }
    }

    /// A generator of small numbers: the tests draw the same ones everywhere.
    fn draws() -> impl FnMut(usize) -> usize {
        let mut state = 1u64;
        move |below| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        }
    }

    /// Tries what is still a tokenizer on prompts; either there is an answer or a sentence. Returns whether it was one.
    fn try_out(file: &[u8]) -> bool {
        let reader = PromptReader::new(file, "tokenizer.json", 8, 9);
        if let Ok(reader) = &reader {
            for prompt in ["A red 猫 <|unk|> red", "\u{fe0f}e\u{301}\0", "\u{2581}re d<|endoftext|>"] {
                let _ = reader.read(prompt);
            }
        }
        reader.is_ok()
    }

    #[test]
    fn no_change_of_bytes_panics() {
        let bytes = serde_json::to_vec(&json()).unwrap();
        let mut draw = draws();
        let mut read = 0;
        for _ in 0..20_000 {
            let mut mutated = bytes.clone();
            for _ in 0..=draw(3) {
                let at = draw(mutated.len());
                match draw(3) {
                    0 => mutated[at] = draw(256) as u8,
                    1 => mutated[at] = b"0123456789\"{}[],:truefalsn"[draw(26)],
                    _ => drop(mutated.remove(at)),
                }
            }
            read += usize::from(try_out(&mutated));
        }
        assert!(read > 1_000, "only {read} files were still tokenizers, so the prompts were hardly tried");
    }

    /// The value at a place, the places being numbered from the root down.
    fn place<'a>(json: &'a mut Json, left: &mut usize) -> Option<&'a mut Json> {
        if *left == 0 {
            return Some(json);
        }
        *left -= 1;
        match json {
            Json::Array(items) => items.iter_mut().find_map(|item| place(item, left)),
            Json::Object(entries) => entries.values_mut().find_map(|item| place(item, left)),
            _ => None,
        }
    }

    #[test]
    fn no_change_of_structure_panics() {
        let parts = [
            serde_json::json!({ "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true }),
            serde_json::json!({ "type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "always", "split": true }),
            serde_json::json!({ "type": "Split", "pattern": { "Regex": "(?<=r)e|(a*)*b" }, "behavior": "Removed", "invert": true }),
            serde_json::json!({ "type": "Replace", "pattern": { "Regex": r"\s+" }, "content": " " }),
            serde_json::json!({ "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true }),
            serde_json::json!({ "type": "RobertaProcessing", "sep": ["r", 4], "cls": ["a", 3], "trim_offsets": true, "add_prefix_space": false }),
            serde_json::json!({ "type": "Sequence", "processors": [], "normalizers": [], "pretokenizers": [] }),
            serde_json::json!({ "type": "StripAccents" }),
            serde_json::json!({ "type": "Digits", "individual_digits": true }),
            serde_json::json!({ "type": "Strip", "strip_left": true, "strip_right": true }),
            Json::Null,
            true.into(),
            0.into(),
            8.into(),
            (-1).into(),
            1.5.into(),
            u64::MAX.into(),
            "".into(),
            "red".into(),
            "<|unk|>".into(),
            "Left".into(),
            serde_json::json!([]),
            serde_json::json!({}),
        ];
        let mut draw = draws();
        let mut places = 0;
        while place(&mut json(), &mut places.clone()).is_some() {
            places += 1;
        }
        let mut read = 0;
        for _ in 0..20_000 {
            let mut mutated = json();
            for _ in 0..=draw(3) {
                if let Some(value) = place(&mut mutated, &mut draw(places)) {
                    *value = parts[draw(parts.len())].clone();
                }
            }
            read += usize::from(try_out(&serde_json::to_vec(&mutated).unwrap()));
        }
        assert!(read > 1_000, "only {read} files were still tokenizers, so the prompts were hardly tried");
    }
}
