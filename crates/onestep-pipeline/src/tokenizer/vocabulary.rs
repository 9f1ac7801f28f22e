//! `vocab.json` and `merges.txt` of CLIP, as a `tokenizer.json`.

use std::collections::HashMap;

use onestep_program::limits;
use serde_json::{Map, Value, json};

use super::{
    TokenizerContents, refused,
    settings::Settings,
    tokenizer_contents::{CONFIG, MERGES, VOCABULARY, without_mark},
};
use crate::PipelineError;

/// The classes that have these rules. Others have the same two files and split texts in other ways.
const CLASSES: [&str; 2] = ["CLIPTokenizer", "CLIPTokenizerFast"];
const START: &str = "<|startoftext|>";
/// Ends, pads and stands for what is unknown, unless the settings say something else.
pub(super) const END: &str = "<|endoftext|>";
/// As transformers 5 writes it.
const WORDS: &str = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

/// Whether a class of transformers splits texts as CLIP does; a tokenizer without a class does.
pub(super) fn is_clip(class: Option<&str>) -> bool {
    class.is_none_or(|class| CLASSES.contains(&class))
}

/// The content of `tokenizer.json`, but for added tokens and the template around prompts; the settings get CLIP's special tokens by default.
pub(super) fn convert(files: &TokenizerContents, settings: &mut Settings) -> Result<Map<String, Value>, PipelineError> {
    let (vocabulary_location, merges_location) = (files.location_of(VOCABULARY), files.location_of(MERGES));
    let (Some(vocabulary), Some(merges)) = (files.json(VOCABULARY)?, files.get(MERGES)) else {
        let (found, missing, location) = match (files.get(VOCABULARY), files.get(MERGES)) {
            (Some(_), _) => (format!("only {VOCABULARY}"), MERGES, files.location_of(MERGES)),
            (_, Some(_)) => (format!("only {MERGES}"), VOCABULARY, files.location_of(VOCABULARY)),
            _ => ("neither".to_owned(), "the files", files.location().to_owned()),
        };
        let message = format!("expected tokenizer.json, or {VOCABULARY} with {MERGES}, found {found}; fetch {missing} of the same model too");
        return Err(refused(&location, message));
    };
    if let Some(class) = settings.class.as_deref().filter(|class| !is_clip(Some(class))) {
        let message = format!(
            "tokenizer_class is {class:?}; {VOCABULARY} with {MERGES} is read for {} only; save the tokenizer as tokenizer.json",
            CLASSES.join(" and ")
        );
        return Err(refused(&files.location_of(CONFIG), message));
    }
    for (role, content) in [("bos_token", START), ("eos_token", END), ("unk_token", END), ("pad_token", END)] {
        settings.default_role(role, content);
    }
    limits::check(limits::TOKENIZER_ENTRIES, vocabulary.len() as u64, &vocabulary_location)?;
    if let Some((token, id)) = vocabulary.iter().find(|(_, id)| id.as_u64().is_none_or(|id| u32::try_from(id).is_err())) {
        let message = format!("gives the token {token:?} the id {id}, expected a number below 2^32");
        return Err(refused(&vocabulary_location, message));
    }
    let mut tokens = HashMap::new();
    if let Some((token, id, other)) = vocabulary.iter().find_map(|(token, id)| Some((token, id, tokens.insert(id.as_u64(), token)?))) {
        return Err(refused(&vocabulary_location, format!("gives the tokens {other:?} and {token:?} the same id {id}")));
    }
    let merges = read_merges(merges, &vocabulary, &merges_location)?;
    let unknown = settings.role("unk_token").map_or(END, |token| &token.content);
    if !vocabulary.contains_key(unknown) {
        let message = format!("has no {unknown:?}, the token for what is unknown (unk_token)");
        return Err(refused(&vocabulary_location, message));
    }
    let file = json!({
        "version": "1.0",
        "added_tokens": [],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [{ "type": "NFC" }, { "type": "Replace", "pattern": { "Regex": r"\s+" }, "content": " " }, { "type": "Lowercase" }],
        },
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                { "type": "Split", "pattern": { "Regex": WORDS }, "behavior": "Removed", "invert": true },
                { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true },
            ],
        },
        "post_processor": null,
        "decoder": { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true },
        "model": {
            "type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": "", "end_of_word_suffix": "</w>",
            "fuse_unk": false, "byte_fallback": false, "ignore_merges": false, "vocab": vocabulary, "merges": merges,
        },
    });
    match file {
        Value::Object(file) => Ok(file),
        _ => Ok(Map::new()),
    }
}

/// The template around prompts.
pub(super) fn template(start: u32, end: u32, settings: &Settings) -> Value {
    let name = |role, default: &str| settings.role(role).map_or(default.to_owned(), |token| token.content.clone());
    json!({
        "type": "RobertaProcessing", "sep": [name("eos_token", END), end], "cls": [name("bos_token", START), start],
        "trim_offsets": false, "add_prefix_space": false,
    })
}

/// The pairs of `merges.txt`: a line each, perhaps behind a line with a version.
fn read_merges(bytes: &[u8], vocabulary: &Map<String, Value>, location: &str) -> Result<Vec<[String; 2]>, PipelineError> {
    limits::check(limits::TOKENIZER_BYTES, bytes.len() as u64, location)?;
    let refuse = |line: usize, message: String| Err(refused(location, format!("line {line} {message}")));
    let text = std::str::from_utf8(without_mark(bytes))
        .map_err(|_| refused(location, "is not UTF-8; expected two tokens in each line, with a space between them"))?;
    let mut merges = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.is_empty() || line.starts_with("#version") {
            continue;
        }
        limits::check(limits::TOKENIZER_ENTRIES, merges.len() as u64 + 1, location)?;
        let Some((left, right)) = line.split_once(' ').filter(|(left, right)| !left.is_empty() && !right.is_empty() && !right.contains(' ')) else {
            let start: String = line.chars().take(40).collect();
            return refuse(number, format!("is {start:?}, expected two tokens with a space between them"));
        };
        for token in [left, right, &format!("{left}{right}")] {
            if !vocabulary.contains_key(token) {
                return refuse(number, format!("joins {left:?} and {right:?}, but {VOCABULARY} has no {token:?}; both must be of the same model"));
            }
        }
        merges.push([left.to_owned(), right.to_owned()]);
    }
    Ok(merges)
}
