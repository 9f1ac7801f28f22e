//! A reader of `tokenizer.json` files with the features that bundles use: those of onestep's training and of CLIP.
//!
//! It is our own because the `tokenizers` crate would be more than half of the browser's WebAssembly build; a test compares the ids of both
//! on 100,000 texts. The steps are those of that crate: find added tokens, normalize the rest, split it into words, and encode each word by
//! byte-pair encoding. Files are untrusted: unknown features are refused by name, and tokenizing takes O(n log n) time.

mod added;
mod bpe;
mod fields;
mod nfc;
mod normalizer;
mod pattern;
mod spanned_char;
mod template;
mod unicode;
mod words;

#[cfg(test)]
mod equality;
#[cfg(test)]
mod equality_texts;

use onestep_program::BundleError;
use serde_json::Value as Json;

use added::{Added, Part};
use bpe::Bpe;
use fields::Fields;
use normalizer::Normalizer;
use words::Splitter;

pub(crate) use nfc::Nfc;
pub(crate) use spanned_char::{Token, spanned_chars};
pub(crate) use template::Template;

/// Text to tokens.
#[derive(Clone, Debug)]
pub(crate) struct Tokenizer {
    added: Added,
    normalizer: Normalizer,
    splitter: Splitter,
    model: Bpe,
    template: Template,
}

impl Tokenizer {
    /// Reads the file, except for truncation and padding, which the caller handles. `location` is the file's name in errors.
    pub(crate) fn new(json: &Json, location: &str) -> Result<Self, BundleError> {
        let file = Fields::new(
            json,
            "tokenizer",
            &["version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "post_processor", "decoder", "model"],
            location,
        )?;
        if file.text("version")? != "1.0" {
            return Err(file.unsupported(format!("has the version {}; supported is 1.0", file.get("version"))));
        }
        let model = Bpe::new(file.get("model"), location)?;
        let normalizer = Normalizer::new(file.get("normalizer"), location)?;
        let added = Added::new(file.list("added_tokens")?, &model, &normalizer, location)?;
        let splitter = Splitter::new(file.get("pre_tokenizer"), location)?;
        let template = Template::new(file.get("post_processor"), location)?;
        Ok(Self { added, normalizer, splitter, model, template })
    }

    /// The tokens of a text, without special tokens of the template.
    pub(crate) fn encode(&self, text: &str) -> Vec<Token> {
        let mut tokens = Vec::new();
        for part in self.added.cut(spanned_chars(text), false) {
            match part {
                Part::Token(token) => tokens.push(token),
                Part::Text(text) => self.encode_text(text, &mut tokens),
            }
        }
        tokens
    }

    fn encode_text(&self, text: Vec<spanned_char::SpannedChar>, tokens: &mut Vec<Token>) {
        for part in self.added.cut(self.normalizer.apply(text), true) {
            match part {
                Part::Token(token) => tokens.push(token),
                Part::Text(text) => {
                    for word in self.splitter.split(text) {
                        self.model.encode(&word, tokens);
                    }
                }
            }
        }
    }

    /// The special tokens at the beginning and the end of every prompt.
    pub(crate) fn template(&self) -> &Template {
        &self.template
    }
    /// The id of the unknown token, if there is one.
    pub(crate) fn unknown(&self) -> Option<u32> {
        self.model.unknown()
    }
    /// True for the ids of special tokens.
    pub(crate) fn is_special(&self, id: u32) -> bool {
        self.added.is_special(id)
    }
}
