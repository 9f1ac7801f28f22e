//! A tokenizer folder. An input is `vocab.json`, `merges.txt`, `tokenizer_config.json`, `special_tokens_map.json` and `added_tokens.json`, each behind
//! a NUL, which none of them can have; the last ones may be missing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use onestep::{ErrorKind, PromptReader};
use onestep_fuzz_support::{mutate_json, within};
use onestep_pipeline::tokenizer::TokenizerContents;

const NAMES: [&str; 5] = ["vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"];
/// Positions of the text encoder.
const POSITIONS: usize = 24;

mutate_json!();

fuzz_target!(|bytes: &[u8]| {
    let parts = bytes.split(|&byte| byte == 0);
    let files = NAMES.into_iter().zip(parts).filter(|(_, part)| !part.is_empty()).map(|(name, part)| (name, part.to_vec()));
    let files = TokenizerContents::new("folder", files);
    let tokenizer = match within(bytes.len(), 512, || files.open(Some(POSITIONS))) {
        Ok(tokenizer) => tokenizer,
        Err(error) => {
            let text = error.to_string();
            assert!(text.starts_with("folder") && text.len() < 64_000 && !text.contains(|sign: char| sign.is_control()), "{text}");
            return;
        }
    };
    let again = TokenizerContents::new("folder", tokenizer.files()).open(None).expect("what is written is read again");
    assert_eq!(again.files(), tokenizer.files());
    assert!([tokenizer.start_id(), tokenizer.end_id(), tokenizer.pad_id()].iter().all(|&id| (id as usize) < tokenizer.vocabulary_size()));
    match PromptReader::new(tokenizer.json().as_bytes(), tokenizer.location(), tokenizer.length(), tokenizer.vocabulary_size()) {
        Err(error) => assert_eq!(error.kind(), ErrorKind::InvalidBundle, "{error}"),
        Ok(reader) => {
            for text in ["", "A red 猫 <|endoftext|> don't!", "in the IN\u{301} 1234"] {
                assert_eq!(reader.encode(text).expect("ids of the vocabulary").ids.len(), tokenizer.length());
            }
        }
    }
});
