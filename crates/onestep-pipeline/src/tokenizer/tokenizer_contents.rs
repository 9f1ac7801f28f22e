//! The files of a tokenizer's folder.

use std::collections::BTreeMap;
use std::path::Path;

use onestep_program::limits;
use serde_json::{Map, Value};

use crate::PipelineError;

/// The tokenizer as one file.
pub(super) const TOKENIZER: &str = "tokenizer.json";
/// Tokens and their ids.
pub(super) const VOCABULARY: &str = "vocab.json";
/// Pairs of tokens to join, the first ones first.
pub(super) const MERGES: &str = "merges.txt";
/// Class, length and special tokens.
pub(super) const CONFIG: &str = "tokenizer_config.json";
/// Special tokens, in folders that transformers 4 and older versions wrote.
pub(super) const SPECIAL_TOKENS: &str = "special_tokens_map.json";
/// Tokens that were added after training, in folders that older versions of transformers wrote.
pub(super) const ADDED_TOKENS: &str = "added_tokens.json";

/// Names of the files that are read; a folder need not have all, and others are ignored.
pub const FILES: [&str; 6] = [TOKENIZER, VOCABULARY, MERGES, CONFIG, SPECIAL_TOKENS, ADDED_TOKENS];

/// The files of one tokenizer, in memory.
#[derive(Clone, Debug)]
pub struct TokenizerContents {
    location: String,
    files: BTreeMap<&'static str, Vec<u8>>,
}

impl TokenizerContents {
    /// Reads the files of a folder that are there.
    ///
    /// # Errors
    /// A file that is unreadable or above [`limits::TOKENIZER_BYTES`].
    pub fn read(folder: &Path) -> Result<Self, PipelineError> {
        let mut files = BTreeMap::new();
        for name in FILES {
            let path = folder.join(name);
            // A link that leads nowhere counts as there, so that it is named.
            if path.symlink_metadata().is_ok() {
                files.insert(name, onestep_store::read_at_most(&path, limits::TOKENIZER_BYTES.max)?);
            }
        }
        Ok(Self { location: folder.display().to_string(), files })
    }

    /// Files in memory, contents by name. `location` is the folder's name in errors; names outside [`FILES`] are ignored.
    pub fn new<'a>(location: impl Into<String>, files: impl IntoIterator<Item = (&'a str, Vec<u8>)>) -> Self {
        let known = |name: &str| FILES.into_iter().find(|known| *known == name);
        Self { location: location.into(), files: files.into_iter().filter_map(|(name, bytes)| Some((known(name)?, bytes))).collect() }
    }

    pub(super) fn get(&self, name: &str) -> Option<&[u8]> {
        self.files.get(name).map(Vec::as_slice)
    }

    /// The name of a file in errors.
    pub(super) fn location_of(&self, name: &str) -> String {
        format!("{}/{name}", self.location)
    }

    /// The name of the folder in errors.
    pub(super) fn location(&self) -> &str {
        &self.location
    }

    /// The object in a JSON file, if the file is there.
    pub(super) fn json(&self, name: &str) -> Result<Option<Map<String, Value>>, PipelineError> {
        let parse = |bytes: &[u8]| limits::parse_tokenizer(without_mark(bytes), &self.location_of(name));
        Ok(self.get(name).map(parse).transpose()?)
    }
}

/// The bytes without a byte order mark of UTF-8.
pub(super) fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}
