//! The files of a tokenizer.

use std::path::{Path, PathBuf};

use crate::tokenizer::FILES;

/// The folder of a tokenizer and the files of [`FILES`] that it has.
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
        let files: Vec<&str> = FILES.into_iter().filter(|name| folder.join(name).is_file()).collect();
        (!files.is_empty()).then(|| Self { folder: folder.to_owned(), files })
    }
}
