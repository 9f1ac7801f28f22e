//! A reader of `tokenizer.json` for the kinds that bundles carry: those that our training writes, and CLIP's.
//!
//! It gives the ids that the `tokenizers` crate gives, which a test holds it to on 100,000 texts, at a hundredth of that crate's size
//! in the page. Text passes through it as in that crate: added tokens are cut out, the rest is normalized, split into words, and each
//! word becomes tokens by byte-pair encoding. The file belongs to whoever made the bundle, so whatever is not known here is refused by
//! name, and no text takes more than time proportional to its length and its logarithm.

mod added;
mod bpe;
mod fields;
mod letter;
mod nfc;
mod normalizer;
mod pattern;
mod template;
mod unicode;
mod words;

#[cfg(test)]
mod equality;

use onestep_program::BundleError;
use serde_json::Value as Json;

use added::{Added, Part};
use bpe::Bpe;
use fields::Fields;
use normalizer::Normalizer;
use words::Splitter;

pub(crate) use letter::{Token, letters};
pub(crate) use nfc::Nfc;
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
    /// Reads the file; how prompts are cut and filled up is the caller's matter. `place` is the file's name in errors.
    pub(crate) fn new(json: &Json, place: &str) -> Result<Self, BundleError> {
        let file = Fields::new(
            json,
            "tokenizer",
            &["version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "post_processor", "decoder", "model"],
            place,
        )?;
        if file.text("version")? != "1.0" {
            return Err(file.unsupported(format!("is of the version {}; 1.0 is read", file.get("version"))));
        }
        let model = Bpe::new(file.get("model"), place)?;
        let normalizer = Normalizer::new(file.get("normalizer"), place)?;
        let added = Added::new(file.list("added_tokens")?, &model, &normalizer, place)?;
        let splitter = Splitter::new(file.get("pre_tokenizer"), place)?;
        let template = Template::new(file.get("post_processor"), place)?;
        Ok(Self { added, normalizer, splitter, model, template })
    }

    /// The tokens of a text, without those of the template.
    pub(crate) fn encode(&self, text: &str) -> Vec<Token> {
        let mut tokens = Vec::new();
        for part in self.added.cut(letters(text), false) {
            match part {
                Part::Token(token) => tokens.push(token),
                Part::Text(text) => self.encode_text(text, &mut tokens),
            }
        }
        tokens
    }

    fn encode_text(&self, text: Vec<letter::Letter>, tokens: &mut Vec<Token>) {
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

    /// What every prompt begins and ends with.
    pub(crate) fn template(&self) -> &Template {
        &self.template
    }
    /// The id that stands for what the vocabulary lacks, if there is one.
    pub(crate) fn unknown(&self) -> Option<u32> {
        self.model.unknown()
    }
    /// Whether the id is a sign of the tokenizer's own and no word.
    pub(crate) fn is_special(&self, id: u32) -> bool {
        self.added.is_special(id)
    }
}
