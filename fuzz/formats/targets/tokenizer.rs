//! `tokenizer.json`, and prompts read by it. An input is the file, and behind a NUL, which JSON cannot have, a prompt.
#![no_main]

use libfuzzer_sys::fuzz_target;
use onestep::{Error, ErrorKind, Prompt, PromptReader, check_tokenizer};
use onestep_fuzz_support::{mutate_json, within};

/// Token ids per prompt, and ids that the model knows.
const LENGTH: usize = 24;
/// See [`LENGTH`].
const ROWS: usize = 300;

mutate_json!();

fuzz_target!(|bytes: &[u8]| {
    let (file, text) = bytes.split_at(bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len()));
    let checked = within(file.len(), 160, || check_tokenizer(file, "tokenizer.json"));
    let text = String::from_utf8_lossy(text.get(1..).unwrap_or_default());
    for prompt in [text.as_ref(), "A red 猫 <|unk|> don't, e\u{301}\u{fe0f} 1234\t\u{2581}re\0d", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"] {
        let read = within(bytes.len(), 512, || PromptReader::new(file, "tokenizer.json", LENGTH, ROWS)?.read(prompt));
        match (&checked, &read) {
            (_, Ok(prompt)) => check(prompt),
            (Ok(()), Err(_)) => {}
            (Err(_), Err(error)) => assert_eq!(error.kind(), ErrorKind::InvalidBundle, "a file that was refused is refused again: {error}"),
        }
        assert!(checked.is_ok() || read.is_err(), "a model opens no file that the check refuses");
    }
    assert!(checked.as_ref().err().is_none_or(is_a_sentence));
});

fn check(prompt: &Prompt) {
    assert_eq!(prompt.ids.len(), LENGTH);
    assert!(prompt.ids.iter().all(|&id| (0..ROWS as i32).contains(&id)), "{:?}", prompt.ids);
}

fn is_a_sentence(error: &Error) -> bool {
    let text = error.to_string();
    text.starts_with("tokenizer.json") && text.len() < 64_000 && !text.contains(|sign: char| sign.is_control() && sign != '\n' && sign != '\t')
}
