//! Compares our ids with those of the `tokenizers` crate.

use std::collections::BTreeSet;

use fastrand::Rng;
use serde_json::{Value as Json, json};
use tokenizers::Tokenizer as Library;

use super::{
    Tokenizer,
    equality_texts::{WORDS, text},
    words::byte_character,
};

/// Texts for each kind of file that bundles carry, and for those that are made up here.
const TEXTS: usize = 100_000;
const FEWER: usize = 10_000;

fn equal(file: &Json, texts: usize) {
    let bytes = serde_json::to_vec(file).unwrap();
    let theirs = Library::from_bytes(bytes).unwrap();
    let ours = Tokenizer::new(file, "tokenizer.json").unwrap();
    let mut random = Rng::with_seed(1);
    let mut used = BTreeSet::new();
    for _ in 0..texts {
        let text = text(&mut random);
        let expected = theirs.encode(text.as_str(), false).unwrap().get_ids().to_vec();
        let found: Vec<u32> = ours.encode(&text).iter().map(|token| token.id).collect();
        assert_eq!(found, expected, "{text:?}");
        used.extend(found);
    }
    assert!(used.len() > 200, "only {} different tokens occurred", used.len());
    let (first, all) = ("red apple", theirs.encode("red apple", true).unwrap().get_ids().to_vec());
    let middle = ours.encode(first).into_iter().map(|token| token.id);
    let template = ours.template();
    let whole: Vec<u32> = template.before.iter().copied().chain(middle).chain(template.after.iter().copied()).collect();
    assert_eq!(all[..whole.len()], whole);
}

/// Read when the test runs, in the crate's folder, because the crate's package has no file from outside it.
fn shipped() -> Json {
    serde_json::from_slice(&std::fs::read("../../models/emoji/tokenizer.json").unwrap()).unwrap()
}

#[test]
fn the_shipped_models_ids_are_those_of_the_library() {
    let mut file = shipped();
    file["truncation"] = Json::Null;
    file["padding"] = Json::Null;
    equal(&file, TEXTS);
}

/// The kinds of CLIP's file with a small vocabulary: all bytes, and parts of the words above.
fn clip() -> Json {
    let alphabet: Vec<String> = (0..=255).map(|byte| byte_character(byte).to_string()).collect();
    let mut vocabulary: Vec<String> = alphabet.iter().cloned().chain(alphabet.iter().map(|character| format!("{character}</w>"))).collect();
    let mut seen: BTreeSet<String> = vocabulary.iter().cloned().collect();
    let mut merges = Vec::new();
    let mut add = |left: &str, right: &str| {
        let joined = format!("{left}{right}");
        merges.push(json!([left, right]));
        if seen.insert(joined.clone()) {
            vocabulary.push(joined.clone());
        }
        joined
    };
    for word in WORDS.iter().chain(&["th", "in", "an", "'s", "'re"]).map(|word| word.to_lowercase()) {
        let mut characters: Vec<String> = word.bytes().map(|byte| byte_character(byte).to_string()).collect();
        if let Some(last) = characters.last_mut() {
            last.push_str("</w>");
        }
        // From the right for words of even length, so that not all merges grow in one direction.
        while characters.len() > 1 {
            let at = if word.len() % 2 == 0 { characters.len() - 2 } else { 0 };
            let joined = add(&characters[at], &characters[at + 1]);
            characters.splice(at..at + 2, [joined]);
        }
    }
    let (start, end) = (vocabulary.len(), vocabulary.len() + 1);
    vocabulary.extend(["<|startoftext|>".into(), "<|endoftext|>".into()]);
    let ids: serde_json::Map<String, Json> = vocabulary.into_iter().enumerate().map(|(id, token)| (token, id.into())).collect();
    let special = |id: usize, content: &str, normalized: bool| json!({ "id": id, "special": true, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": normalized });
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [special(start, "<|startoftext|>", true), special(end, "<|endoftext|>", false)],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [{ "type": "NFC" }, { "type": "Replace", "pattern": { "Regex": r"\s+" }, "content": " " }, { "type": "Lowercase" }]
        },
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {
                    "type": "Split",
                    "pattern": { "Regex": r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+" },
                    "behavior": "Removed",
                    "invert": true
                },
                { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true }
            ]
        },
        "post_processor": {
            "type": "RobertaProcessing", "sep": ["<|endoftext|>", end], "cls": ["<|startoftext|>", start],
            "trim_offsets": false, "add_prefix_space": false
        },
        "decoder": { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true },
        "model": {
            "type": "BPE", "dropout": null, "unk_token": "<|endoftext|>", "continuing_subword_prefix": "", "end_of_word_suffix": "</w>",
            "fuse_unk": false, "vocab": ids, "merges": merges
        }
    })
}

#[test]
fn clips_ids_are_those_of_the_library() {
    equal(&clip(), TEXTS);
    // As files of before 2024 have it.
    let mut older = clip();
    for merge in older["model"]["merges"].as_array_mut().unwrap() {
        *merge = format!("{} {}", merge[0].as_str().unwrap(), merge[1].as_str().unwrap()).into();
    }
    let ids = |file: &Json| Tokenizer::new(file, "tokenizer.json").unwrap().encode("a firefighter's straße").len();
    assert_eq!(ids(&older), ids(&clip()));
}

#[test]
fn the_rarer_kinds_are_read_as_the_library_reads_them() {
    let mut file = clip();
    // GPT-2's way of splitting, with blanks kept.
    file["normalizer"] = Json::Null;
    file["pre_tokenizer"] = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true });
    file["model"]["ignore_merges"] = true.into();
    equal(&file, FEWER);
    file["pre_tokenizer"] = json!({ "type": "Sequence", "pretokenizers": [
        { "type": "Split", "pattern": { "String": "a" }, "behavior": "Removed", "invert": false },
        { "type": "Split", "pattern": { "Regex": r"\s+|<\|" }, "behavior": "Isolated", "invert": false },
        { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": false },
    ] });
    equal(&file, FEWER);
    // Added tokens that take white space with them, unknown characters that become one.
    let mut file = shipped();
    file["padding"] = Json::Null;
    file["truncation"] = Json::Null;
    file["model"]["fuse_unk"] = true.into();
    for (token, (left, right)) in file["added_tokens"].as_array_mut().unwrap().iter_mut().zip([(true, false), (false, true), (true, true)]) {
        token["lstrip"] = left.into();
        token["rstrip"] = right.into();
        token["normalized"] = left.into();
    }
    let id = file["model"]["vocab"].as_object().unwrap().len();
    let added = json!({ "id": id, "special": false, "content": "Red A", "single_word": false, "lstrip": false, "rstrip": false, "normalized": true });
    file["added_tokens"].as_array_mut().unwrap().push(added);
    equal(&file, FEWER);
}
