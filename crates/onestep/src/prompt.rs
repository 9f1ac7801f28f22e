//! Converts prompts to the token ids of the text encoder, by the bundle's `tokenizer.json`.

use std::collections::BTreeSet;

use onestep_program::{BundleError, error::BundleErrorKind, limits};
use serde_json::Value as Json;

use crate::{
    error::{Error, ErrorKind, Result},
    tokenizer::{Nfc, Token, Tokenizer, spanned_chars},
};

/// Joiners and variation selectors, which are invisible and therefore not reported as unknown.
const INVISIBLE: [char; 4] = ['\u{200c}', '\u{200d}', '\u{fe0e}', '\u{fe0f}'];

/// A tokenized prompt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prompt {
    /// Token ids, including special tokens and padding; as many as the text encoder expects.
    pub ids: Vec<i32>,
    /// Token ids for the second text encoder; empty if the model has one.
    pub ids_2: Vec<i32>,
    /// Characters that the vocabulary lacks, each once, in the order of the prompt. The model does not distinguish them.
    pub unknown: Vec<char>,
    /// True if the prompt was longer than the text encoder reads.
    pub truncated: bool,
    /// Number of known tokens in the whole prompt, without special tokens and padding.
    pub tokens: usize,
}

/// Checks that a `tokenizer.json` is supported, independent of a model: the prompt length, the vocabulary size and missing padding are not
/// checked. `location` is the file's name in errors.
///
/// The file's size, nesting and number of objects are compared with [`limits`] first, so call this before another library reads a file of
/// unknown origin.
///
/// # Errors
/// [`ErrorKind::InvalidBundle`] for a file above a limit, one that is no tokenizer, and one with unsupported features.
pub fn check_tokenizer(bytes: &[u8], location: &str) -> Result<()> {
    TokenizerFile::parse(bytes, location)?;
    Ok(())
}

/// A `tokenizer.json`, independent of a model.
struct TokenizerFile {
    tokenizer: Tokenizer,
    padding: Option<u32>,
    at_start: Sides,
}

/// Reads prompts for one model.
#[derive(Clone, Debug)]
pub struct PromptReader {
    tokenizer: Tokenizer,
    /// The padding id.
    padding: u32,
    /// True if padding, or truncation, applies to the beginning of prompts.
    at_start: Sides,
    /// Token ids per prompt.
    length: usize,
    /// Rows of the token embedding: the vocabulary size.
    rows: usize,
}

#[derive(Clone, Copy, Debug)]
struct Sides {
    padding: bool,
    truncation: bool,
}

impl TokenizerFile {
    fn parse(bytes: &[u8], location: &str) -> Result<Self, BundleError> {
        let malformed = |message: String| BundleError::new(BundleErrorKind::Malformed, location, message);
        let json = Json::Object(limits::parse_tokenizer(bytes, location)?);
        let tokenizer = Tokenizer::new(&json, location)?;
        // The prompt length follows from the program's shapes; only the padding id and the sides are read from the file.
        let padding = match &json["padding"] {
            Json::Null => None,
            padding => {
                // Prompts have one length, which must be a multiple.
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
    /// Reads a `tokenizer.json`. `length` is the number of ids per prompt, `rows` the vocabulary size of the text encoder; `location` is the
    /// file's name in errors.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidBundle`]: those of [`check_tokenizer`]; a file without padding, or with special tokens that the text encoder has no room
    /// or no embedding for.
    pub fn new(bytes: &[u8], location: &str, length: usize, rows: usize) -> Result<Self> {
        let malformed = |message: String| BundleError::new(BundleErrorKind::Malformed, location, message);
        let TokenizerFile { tokenizer, padding, at_start } = TokenizerFile::parse(bytes, location)?;
        let padding = padding.ok_or_else(|| malformed("has no padding token, which short prompts need".into()))?;
        let added = tokenizer.template().len();
        if added >= length {
            return Err(malformed(format!("adds {added} special tokens, the model reads {length} tokens in all")).into());
        }
        let reader = Self { tokenizer, padding, at_start, length, rows };
        // The ids of template and padding must be in the model's vocabulary.
        reader.ids(&[]).map_err(|error| malformed(error.to_string()))?;
        Ok(reader)
    }

    /// Tokenizes a prompt from which an image is to be generated.
    ///
    /// # Errors
    /// Those of [`encode`](Self::encode); [`ErrorKind::InvalidOption`] for a prompt that is empty or without any known token.
    pub fn read(&self, text: &str) -> Result<Prompt> {
        let refuse = |message: String| Err(Error::new(ErrorKind::InvalidOption, message));
        if text.trim().is_empty() {
            return refuse("the prompt is empty; describe the image in a few words".into());
        }
        let prompt = self.encode(text)?;
        if prompt.tokens == 0 {
            let characters: String = prompt.unknown.iter().take(16).collect();
            return refuse(match characters.is_empty() {
                true => format!("this model knows nothing of the prompt {text:?}"),
                false => format!("this model knows nothing of the prompt: it has never seen {characters}"),
            });
        }
        Ok(prompt)
    }

    /// Tokenizes any text, also an empty one.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] for a text above the limit, [`ErrorKind::InvalidBundle`] for an id that the text encoder has no embedding for.
    pub fn encode(&self, text: &str) -> Result<Prompt> {
        limits::check(limits::PROMPT_BYTES, text.len() as u64, "the prompt")
            .map_err(|error| Error::new(ErrorKind::InvalidOption, error.to_string()))?;
        let whole = self.tokenizer.encode(text);
        let tokens = whole.iter().filter(|token| Some(token.id) != self.tokenizer.unknown() && !self.tokenizer.is_special(token.id)).count();
        let (unknown, truncated) = (self.unknown_characters(text, &whole), whole.len() > self.room());
        Ok(Prompt { ids: self.ids(&whole)?, ids_2: Vec::new(), unknown, truncated, tokens })
    }

    /// The number of tokens that fit between those of the template.
    fn room(&self) -> usize {
        self.length - self.tokenizer.template().len()
    }

    /// Truncates the tokens, adds the special tokens and pads.
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

    /// The characters that became the unknown token or, without such a token, those that were dropped.
    fn unknown_characters(&self, text: &str, tokens: &[Token]) -> Vec<char> {
        let found: Vec<char> = match self.tokenizer.unknown() {
            // Composed, because the tokenizer sees a letter and its accent as one character.
            Some(unknown) => {
                let nfc = Nfc::new();
                let spans = tokens.iter().filter(|token| token.id == unknown).filter_map(|token| text.get(token.start..token.end));
                spans.flat_map(|part| nfc.compose(spanned_chars(part))).map(|spanned| spanned.character).collect()
            }
            None => {
                let mut read = vec![false; text.len()];
                for token in tokens {
                    if let Some(bytes) = read.get_mut(token.start..token.end) {
                        bytes.fill(true);
                    }
                }
                text.char_indices().filter(|(at, _)| !read[*at]).map(|(_, character)| character).collect()
            }
        };
        let mut seen = BTreeSet::new();
        found.into_iter().filter(|character| !character.is_whitespace() && !INVISIBLE.contains(character) && seen.insert(*character)).collect()
    }
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::*;

    /// A tokenizer as training writes it: parts of words, a template, `<|unk|>`.
    pub(crate) fn json() -> Json {
        serde_json::from_str(include_str!("../tests/tokenizer.json")).unwrap()
    }

    fn reader(json: &Json) -> Result<PromptReader> {
        PromptReader::new(&serde_json::to_vec(json).unwrap(), "tokenizer.json", 8, 9)
    }

    #[test]
    fn a_prompt_gets_special_tokens_and_padding_and_is_truncated() {
        let reader = reader(&json()).unwrap();
        assert_eq!(reader.read("A Red").unwrap(), Prompt { ids: vec![0, 3, 8, 1, 1, 1, 1, 1], tokens: 2, ..Prompt::default() });
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
            (|json| json["model"]["type"] = "Unigram".into(), "supported is BPE"),
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

    /// Tokenizes prompts if the file is still valid, and returns whether it is.
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
    fn mutated_bytes_never_panic() {
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

    /// The value of this number, counted from the root in depth-first order.
    fn nth_value<'a>(json: &'a mut Json, left: &mut usize) -> Option<&'a mut Json> {
        if *left == 0 {
            return Some(json);
        }
        *left -= 1;
        match json {
            Json::Array(items) => items.iter_mut().find_map(|item| nth_value(item, left)),
            Json::Object(entries) => entries.values_mut().find_map(|item| nth_value(item, left)),
            _ => None,
        }
    }

    #[test]
    fn mutated_structure_never_panics() {
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
        let mut values = 0;
        while nth_value(&mut json(), &mut values.clone()).is_some() {
            values += 1;
        }
        let mut read = 0;
        for _ in 0..20_000 {
            let mut mutated = json();
            for _ in 0..random.usize(1..=3) {
                if let Some(value) = nth_value(&mut mutated, &mut random.usize(..values)) {
                    *value = parts[random.usize(..parts.len())].clone();
                }
            }
            read += usize::from(read_if_valid(&serde_json::to_vec(&mutated).unwrap()));
        }
        assert!(read > 1_000, "only {read} files were still tokenizers, so the prompts were hardly tried");
    }
}
