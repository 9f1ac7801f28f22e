//! Where a tokenizer lies.

use std::path::{Path, PathBuf};

/// The files of a tokenizer, in all forms that libraries write.
pub const TOKENIZER_FILES: [&str; 5] = ["tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json"];

/// The folder of a tokenizer and the files of [`TOKENIZER_FILES`] that it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenizerFiles {
    /// The folder.
    pub folder: PathBuf,
    /// The names of its files.
    pub files: Vec<&'static str>,
}

impl TokenizerFiles {
    /// The tokenizer in `folder`; `None` if there is no file of one.
    pub fn of(folder: &Path) -> Option<Self> {
        let files: Vec<&str> = TOKENIZER_FILES.into_iter().filter(|name| folder.join(name).is_file()).collect();
        (!files.is_empty()).then(|| Self { folder: folder.to_owned(), files })
    }

    /// The path of a file, if there is one of that name.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.files.contains(&name).then(|| self.folder.join(name))
    }
}
