//! Reads tokenizers in any published form and converts them to one form.
//!
//! A tokenizer's folder holds `tokenizer.json`, or `vocab.json` and `merges.txt` as published Stable Diffusion folders do, and may hold
//! `tokenizer_config.json`, `special_tokens_map.json` and `added_tokens.json`. [`open_folder`] makes one `tokenizer.json` of them, with padding and
//! truncation to a fixed length, that gives the ids which diffusers' pipelines give. The crate `onestep` encodes prompts by that file, in training as
//! well as in a browser; this module encodes nothing.

mod added_token;
mod fixed_tokenizer;
mod settings;
mod template;
mod tokenizer_contents;
mod tokenizer_json;
mod vocabulary;

pub use fixed_tokenizer::{Tokenizer, open_folder};
pub use tokenizer_contents::{FILES, TokenizerContents};

use crate::PipelineError;

/// An error about a file of a tokenizer.
fn refused(location: &str, message: impl std::fmt::Display) -> PipelineError {
    PipelineError::input(format!("{location}: {message}"))
}
