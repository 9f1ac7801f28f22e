//! Prompts: from text to the token ids that the text encoder reads, by the bundle's `tokenizer.json`.

use std::collections::BTreeSet;

use onestep_program::{
    BundleError,
    error::Kind,
    limits::{self, Limit},
};
use serde_json::Value as Json;

use crate::{
    error::{Error, ErrorKind, Result},
    tokenizer::{Nfc, Token, Tokenizer, letters},
};

/// Characters that have no shape of their own: joiners and variation selectors. Nobody typed them, so nobody is told of them.
const SHAPELESS: [char; 4] = ['\u{200c}', '\u{200d}', '\u{fe0e}', '\u{fe0f}'];

/// Opening brackets of the file, those in its texts included. An object of eight bytes takes 700 in memory, so that the size of the file alone
/// would allow most of a gigabyte; added tokens are objects.
const OBJECTS: Limit = Limit { what: "objects in the tokenizer", max: 50_000 };
/// A list takes less, and each merge may be one.
const LISTS: Limit = Limit { what: "lists in the tokenizer", max: 2 * limits::TOKENIZER_ENTRIES.max };

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

/// Checks a `tokenizer.json` as [`Model::open`](crate::Model::open) does, but for what depends on the model: the length of its prompts and the
/// ids that it knows. A file without padding passes for the same reason; one with padding must say how.
///
/// The file's size, its nesting and the number of its parts are compared with [`limits`] before anything is built from it, so this is
/// a check to make before another library reads a file of unknown origin. `place` is the file's name in errors.
///
/// # Errors
/// [`ErrorKind::InvalidBundle`]: a file above a limit, no tokenizer, or one of a kind that is not read here.
pub fn check_tokenizer(bytes: &[u8], place: &str) -> Result<()> {
    TokenizerFile::parse(bytes, place)?;
    Ok(())
}

/// Reads `text` for a model of `length` ids per prompt that knows the ids below `rows`.
///
/// # Errors
/// Those of opening a model and of reading a prompt.
#[cfg(fuzzing)]
pub fn read_prompt(tokenizer: &[u8], length: usize, rows: usize, text: &str) -> Result<Prompt> {
    PromptReader::new(tokenizer, "tokenizer.json", length, rows)?.read(text)
}

/// What a `tokenizer.json` says, whatever model it is for.
struct TokenizerFile {
    tokenizer: Tokenizer,
    padding: Option<u32>,
    at_start: Sides,
}

/// Reads prompts for one model.
#[derive(Clone, Debug)]
pub(crate) struct PromptReader {
    tokenizer: Tokenizer,
    /// What short prompts are filled up with.
    padding: u32,
    /// Whether the beginning is what is filled up, and what is cut off.
    at_start: Sides,
    /// Tokens per prompt.
    length: usize,
    /// Rows of the token embedding.
    rows: usize,
}

#[derive(Clone, Copy, Debug)]
struct Sides {
    padding: bool,
    truncation: bool,
}

impl TokenizerFile {
    fn parse(bytes: &[u8], place: &str) -> Result<Self, BundleError> {
        let malformed = |message: String| BundleError::new(Kind::Malformed, place, message);
        limits::check(limits::TOKENIZER_BYTES, bytes.len() as u64, place)?;
        for (limit, bracket) in [(OBJECTS, b'{'), (LISTS, b'[')] {
            limits::check(limit, bytes.iter().filter(|&&byte| byte == bracket).count() as u64, place)?;
        }
        let json: Json = limits::parse_json(bytes, limits::TOKENIZER_BYTES, place)?;
        let tokenizer = Tokenizer::new(&json, place)?;
        // Length, padding and cutting follow the program's shapes; only what is filled in, and where, is the file's to say.
        let padding = match &json["padding"] {
            Json::Null => None,
            padding => {
                // Prompts have one length, which another multiple would break.
                let multiple = &padding["pad_to_multiple_of"];
                let fixed = padding["strategy"]["Fixed"].as_u64();
                let divides = multiple.as_u64().zip(fixed).is_some_and(|(multiple, fixed)| multiple > 0 && fixed % multiple == 0);
                if !multiple.is_null() && !divides {
                    return Err(malformed(format!("has a padding with pad_to_multiple_of = {multiple}, expected null")));
                }
                let id = padding["pad_id"].as_u64().and_then(|id| u32::try_from(id).ok());
                Some(id.ok_or_else(|| malformed("has a padding without the id of its token (pad_id)".into()))?)
            }
        };
        let at_start = |key: &str| match json[key]["direction"].as_str() {
            None | Some("Right") => Ok(false),
            Some("Left") => Ok(true),
            Some(other) => Err(malformed(format!("has a {key} at the side {other:?}; there are Left and Right"))),
        };
        let at_start = Sides { padding: at_start("padding")?, truncation: at_start("truncation")? };
        Ok(Self { tokenizer, padding, at_start })
    }
}

impl PromptReader {
    /// `length` is the number of ids per prompt, `rows` the number of ids that the text encoder knows; `place` is the file's name in errors.
    pub(crate) fn new(bytes: &[u8], place: &str, length: usize, rows: usize) -> Result<Self> {
        let malformed = |message: String| BundleError::new(Kind::Malformed, place, message);
        let TokenizerFile { tokenizer, padding, at_start } = TokenizerFile::parse(bytes, place)?;
        let padding = padding.ok_or_else(|| malformed("says no padding token, so that short prompts cannot be filled up".into()))?;
        let added = tokenizer.template().len();
        if added >= length {
            return Err(malformed(format!("adds {added} tokens of its own, the model reads {length} in all")).into());
        }
        let reader = Self { tokenizer, padding, at_start, length, rows };
        // The template and the padding, which every prompt gets, must be ids that the model has.
        reader.ids(&[]).map_err(|error| malformed(error.to_string()))?;
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
            return Err(refuse("the prompt is empty; say in a few words what the image shall show".into()));
        }
        let whole = self.tokenizer.encode(text);
        let unknown = self.unknown_characters(text, &whole);
        let tokens = whole.iter().filter(|token| Some(token.id) != self.tokenizer.unknown() && !self.tokenizer.is_special(token.id)).count();
        if tokens == 0 {
            let signs: String = unknown.iter().take(16).collect();
            let message = match signs.is_empty() {
                true => format!("this model knows nothing of the prompt {text:?}"),
                false => format!("this model knows nothing of the prompt: it has never seen {signs}"),
            };
            return Err(refuse(message));
        }
        let truncated = whole.len() > self.room();
        Ok(Prompt { ids: self.ids(&whole)?, unknown, truncated, tokens })
    }

    /// Tokens of a prompt that fit between those of the template.
    fn room(&self) -> usize {
        self.length - self.tokenizer.template().len()
    }

    /// Cuts, wraps and fills up.
    fn ids(&self, tokens: &[Token]) -> Result<Vec<i32>> {
        let surplus = tokens.len().saturating_sub(self.room());
        let kept = if self.at_start.truncation { &tokens[surplus..] } else { &tokens[..tokens.len() - surplus] };
        let template = self.tokenizer.template();
        let mut ids: Vec<u32> =
            template.before.iter().copied().chain(kept.iter().map(|token| token.id)).chain(template.after.iter().copied()).collect();
        let missing = std::iter::repeat_n(self.padding, self.length - ids.len());
        if self.at_start.padding {
            ids.splice(0..0, missing);
        } else {
            ids.extend(missing);
        }
        match ids.iter().find(|&&id| id as usize >= self.rows) {
            Some(id) => Err(Error::new(ErrorKind::InvalidBundle, format!("the tokenizer says id {id}, the model knows ids below {}", self.rows))),
            None => Ok(ids.iter().map(|&id| id as i32).collect()),
        }
    }

    /// With a token for what is unknown: the characters that became it. Without one: the characters that became nothing.
    fn unknown_characters(&self, text: &str, tokens: &[Token]) -> Vec<char> {
        let found: Vec<char> = match self.tokenizer.unknown() {
            // Composed, since a letter and its accent are one sign to the tokenizer.
            Some(unknown) => {
                let nfc = Nfc::new();
                let spans = tokens.iter().filter(|token| token.id == unknown).filter_map(|token| text.get(token.start..token.end));
                spans.flat_map(|part| nfc.compose(letters(part))).map(|letter| letter.sign).collect()
            }
            None => {
                let mut read = vec![false; text.len()];
                for token in tokens {
                    if let Some(bytes) = read.get_mut(token.start..token.end) {
                        bytes.fill(true);
                    }
                }
                text.char_indices().filter(|(at, _)| !read[*at]).map(|(_, sign)| sign).collect()
            }
        };
        let mut seen = BTreeSet::new();
        found.into_iter().filter(|sign| !sign.is_whitespace() && !SHAPELESS.contains(sign) && seen.insert(*sign)).collect()
    }
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

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
    fn a_tokenizer_is_checked_without_a_model() {
        let check = |edit: fn(&mut Json)| {
            let mut json = json();
            edit(&mut json);
            check_tokenizer(&serde_json::to_vec(&json).unwrap(), "t.json").map_err(|error| (error.kind(), error.to_string()))
        };
        assert_eq!(check(|_| ()), Ok(()));
        assert_eq!(check(|json| json["padding"] = Json::Null), Ok(()));
        type Edit = fn(&mut Json);
        let refusals: [(Edit, &str); 6] = [
            (|json| json["padding"]["pad_id"] = (-1).into(), "pad_id"),
            (|json| json["padding"]["pad_to_multiple_of"] = 7.into(), "pad_to_multiple_of"),
            (|json| json["padding"]["pad_to_multiple_of"] = 0.into(), "pad_to_multiple_of"),
            (|json| json["truncation"] = serde_json::json!({ "direction": "Up" }), "\"Up\""),
            (|json| json["model"]["byte_fallback"] = true.into(), "byte_fallback"),
            (|json| json["decoder"] = serde_json::from_str(&format!("{}{}", "[".repeat(20), "]".repeat(20))).unwrap(), "nesting"),
        ];
        for (edit, says) in refusals {
            let (kind, message) = check(edit).unwrap_err();
            assert!(kind == ErrorKind::InvalidBundle && message.contains(says) && message.contains("t.json"), "{message}");
        }
    }

    #[test]
    fn a_file_of_objects_is_refused_before_it_is_parsed() {
        for (part, says) in [("{\"\":0},", "objects"), ("[0],", "lists")] {
            let file = format!("[{}0]", part.repeat((8 << 20) / part.len() - 1));
            let error = check_tokenizer(file.as_bytes(), "t.json").unwrap_err();
            assert!(error.kind() == ErrorKind::InvalidBundle && error.to_string().contains(says), "{error}");
        }
    }

    #[test]
    fn hostile_tokenizers_are_refused_with_a_sentence() {
        type Edit = fn(&mut Json);
        let cases: [(Edit, &str); 20] = [
            (
                |json| json["normalizer"] = serde_json::json!({ "type": "Sequence", "normalizers": vec![serde_json::json!({ "type": "NFC" }); 17] }),
                "17 steps",
            ),
            (
                |json| {
                    let step = serde_json::json!({ "type": "Punctuation" });
                    json["pre_tokenizer"] = serde_json::json!({ "type": "Sequence", "pretokenizers": vec![step; 17] })
                },
                "17 steps",
            ),
            (
                |json| {
                    let part = serde_json::json!({ "type": "ByteLevel" });
                    json["post_processor"] = serde_json::json!({ "type": "Sequence", "processors": vec![part; 16] })
                },
                "17 steps",
            ),
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

    /// Tries what is still a tokenizer on prompts; either there is an answer or a sentence. Returns whether it was one.
    fn read_if_valid(file: &[u8]) -> bool {
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
        let mut random = Rng::with_seed(1);
        let mut read = 0;
        for _ in 0..20_000 {
            let mut mutated = bytes.clone();
            for _ in 0..random.usize(1..=3) {
                let at = random.usize(..mutated.len());
                match random.usize(..3) {
                    0 => mutated[at] = random.u8(..),
                    1 => mutated[at] = b"0123456789\"{}[],:truefalsn"[random.usize(..26)],
                    _ => drop(mutated.remove(at)),
                }
            }
            read += usize::from(read_if_valid(&mutated));
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
            serde_json::json!({ "type": "Split", "pattern": { "Regex": r" ?\p{L}+|\s+(?!\S)|\|" }, "behavior": "Removed", "invert": true }),
            serde_json::json!({ "type": "Split", "pattern": { "Regex": "(?<=r)e|(a*)*b" }, "behavior": "Removed", "invert": true }),
            serde_json::json!({ "type": "Replace", "pattern": { "Regex": r"\s+" }, "content": " " }),
            serde_json::json!({ "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true }),
            serde_json::json!({ "type": "RobertaProcessing", "sep": ["r", 4], "cls": ["a", 3], "trim_offsets": true, "add_prefix_space": false }),
            serde_json::json!({ "type": "Sequence", "processors": [] }),
            serde_json::json!({ "type": "Punctuation", "behavior": "Isolated" }),
            serde_json::json!({ "type": "WhitespaceSplit" }),
            serde_json::json!({ "type": "NFC" }),
            serde_json::json!({ "type": "Lowercase" }),
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
        let mut random = Rng::with_seed(1);
        let mut places = 0;
        while place(&mut json(), &mut places.clone()).is_some() {
            places += 1;
        }
        let mut read = 0;
        for _ in 0..20_000 {
            let mut mutated = json();
            for _ in 0..random.usize(1..=3) {
                if let Some(value) = place(&mut mutated, &mut random.usize(..places)) {
                    *value = parts[random.usize(..parts.len())].clone();
                }
            }
            read += usize::from(read_if_valid(&serde_json::to_vec(&mutated).unwrap()));
        }
        assert!(read > 1_000, "only {read} files were still tokenizers, so the prompts were hardly tried");
    }
}
