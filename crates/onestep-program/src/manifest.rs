//! The manifest of a bundle: its files with the hash of every chunk, and the sizes of prompt, noise and image.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    error::{BundleError, BundleErrorKind},
    limits::{self, CHUNK_BYTES},
};

/// The file name of the manifest.
pub const FILE_NAME: &str = "manifest.json";
/// The value of [`Manifest::format`].
pub const FORMAT: &str = "onestep-bundle";
/// The bundle version that this release writes and reads.
pub const VERSION: u32 = 2;

/// The content of `manifest.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Always [`FORMAT`].
    pub format: String,
    /// Always [`VERSION`].
    pub version: u32,
    /// The model's display name.
    pub title: String,
    /// SPDX expression of the weights' licence.
    pub license: String,
    /// File name of the model card.
    pub card: String,
    /// Sizes of prompt, noise and image.
    pub generation: Generation,
    /// File name of each component's program, by component.
    pub components: BTreeMap<String, String>,
    /// File names of the weight files. Together they hold exactly the tensors that the programs name.
    pub weights: Vec<String>,
    /// File name of `tokenizer.json`.
    pub tokenizer: String,
    /// File name of the tokenizer of the second text encoder, for models with two, such as Stable Diffusion XL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer_2: Option<String>,
    /// Every file except the manifest.
    pub files: Vec<FileEntry>,
}

/// The sizes of prompt, noise and image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generation {
    /// Token ids per prompt and text encoder, including padding.
    pub prompt_tokens: usize,
    /// The second text encoder reads the pooled state of a prompt at the first position of this id; `None` for the largest id of the prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_of_text: Option<u32>,
    /// Channels, height and width of the noise and of the latent image.
    pub latent: [usize; 3],
    /// Width and height of the image in pixels.
    pub image: [usize; 2],
}

/// A file of the bundle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// One path segment of ASCII letters, digits, `.`, `_` and `-`, with no leading dot.
    pub name: String,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 of each 16 MiB chunk in lower-case hexadecimal. The last chunk may be shorter; an empty file has none.
    pub chunks: Vec<String>,
}

/// What a file of a bundle is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileUse {
    /// A component's program.
    Program,
    /// Weights.
    Weights,
    /// The tokenizer of a text encoder.
    Tokenizer,
    /// The model card.
    Card,
    /// A file that nothing needs to generate an image, such as a sample image.
    Extra,
}

/// SHA-256 in lower-case hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

fn hexadecimal(hash: &[u8]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The entry of a file that is written part by part.
#[derive(Debug)]
pub struct FileHasher {
    entry: FileEntry,
    /// The hash of the chunk so far.
    chunk: Sha256,
}

impl FileHasher {
    /// An empty file of this name.
    pub fn new(name: &str) -> Self {
        Self { entry: FileEntry { name: name.into(), size: 0, chunks: Vec::new() }, chunk: Sha256::new() }
    }

    /// Appends bytes to the file.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = CHUNK_BYTES.max - self.entry.size % CHUNK_BYTES.max;
            let (part, rest) = bytes.split_at(bytes.len().min(room as usize));
            self.chunk.update(part);
            self.entry.size += part.len() as u64;
            if part.len() as u64 == room {
                self.end_chunk();
            }
            bytes = rest;
        }
    }

    /// The entry of the whole file.
    pub fn finish(mut self) -> FileEntry {
        if !self.entry.size.is_multiple_of(CHUNK_BYTES.max) {
            self.end_chunk();
        }
        self.entry
    }

    fn end_chunk(&mut self) {
        self.entry.chunks.push(hexadecimal(&self.chunk.finalize_reset()));
    }
}

impl FileEntry {
    /// The entry of a file with this name and content.
    pub fn of(name: &str, bytes: &[u8]) -> Self {
        let mut hasher = FileHasher::new(name);
        hasher.update(bytes);
        hasher.finish()
    }

    /// Compares a file's size and the hash of every chunk with the entry.
    ///
    /// # Errors
    /// [`BundleErrorKind::Integrity`], naming the file and the chunk.
    pub fn verify(&self, bytes: &[u8]) -> Result<(), BundleError> {
        self.verify_size(bytes.len() as u64)?;
        for (index, chunk) in bytes.chunks(CHUNK_BYTES.max as usize).enumerate() {
            self.verify_chunk(index, chunk)?;
        }
        Ok(())
    }

    /// Compares a file's size with the entry.
    ///
    /// # Errors
    /// [`BundleErrorKind::Integrity`], naming the file.
    pub fn verify_size(&self, size: u64) -> Result<(), BundleError> {
        if size == self.size {
            return Ok(());
        }
        Err(BundleError::new(BundleErrorKind::Integrity, &self.name, format!("{size} bytes, the manifest says {}", self.size)))
    }

    /// Compares one chunk with its hash.
    pub(crate) fn verify_chunk(&self, index: usize, chunk: &[u8]) -> Result<(), BundleError> {
        let (found, listed) = (sha256(chunk), self.chunks.get(index).map(String::as_str).unwrap_or_default());
        if listed == found {
            return Ok(());
        }
        Err(BundleError::new(
            BundleErrorKind::Integrity,
            &self.name,
            format!("chunk {index} has SHA-256 {found}, the manifest says {listed}; fetch the file again"),
        ))
    }
}

impl Manifest {
    /// Reads and checks a manifest.
    ///
    /// # Errors
    /// A value above its limit, another version, an invalid file name, a file that is named but not listed.
    pub fn from_json(bytes: &[u8]) -> Result<Self, BundleError> {
        /// Read first, so that a future version is named as such and not as an unknown field.
        #[derive(Deserialize)]
        struct Head {
            format: String,
            version: u32,
        }
        let head: Head = limits::parse_json(bytes, limits::MANIFEST_BYTES, FILE_NAME)?;
        if head.format != FORMAT {
            return Err(BundleError::new(BundleErrorKind::Malformed, FILE_NAME, format!("format is {:?}, expected {FORMAT:?}", head.format)));
        }
        if head.version != VERSION {
            return Err(BundleError::new(
                BundleErrorKind::Unsupported,
                FILE_NAME,
                format!("bundle version {}, this release reads {VERSION}", head.version),
            ));
        }
        let manifest: Manifest = limits::parse_json(bytes, limits::MANIFEST_BYTES, FILE_NAME)?;
        manifest.check()?;
        Ok(manifest)
    }

    /// The manifest as indented JSON.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).unwrap_or_default()
    }

    /// The entry of the file with this name.
    pub fn file(&self, name: &str) -> Option<&FileEntry> {
        self.files.iter().find(|file| file.name == name)
    }

    /// Every listed file with its use; a file with two uses counts as the first of them, in the order of [`FileUse`].
    pub fn files_by_use(&self) -> impl Iterator<Item = (FileUse, &FileEntry)> {
        self.files.iter().map(|file| {
            let name = &file.name;
            let file_use = match () {
                () if self.components.values().any(|program| program == name) => FileUse::Program,
                () if self.weights.contains(name) => FileUse::Weights,
                () if self.tokenizers().any(|tokenizer| tokenizer == name) => FileUse::Tokenizer,
                () if self.card == *name => FileUse::Card,
                () => FileUse::Extra,
            };
            (file_use, file)
        })
    }

    /// The file names of the tokenizers, in the order of the text encoders.
    pub fn tokenizers(&self) -> impl Iterator<Item = &String> {
        std::iter::once(&self.tokenizer).chain(&self.tokenizer_2)
    }

    /// The files that generating images reads: all but [`FileUse::Extra`].
    pub fn needed_files(&self) -> impl Iterator<Item = &FileEntry> {
        self.files_by_use().filter(|(file_use, _)| *file_use != FileUse::Extra).map(|(_, file)| file)
    }

    /// The size of all listed files in bytes.
    pub fn total_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).fold(0, u64::saturating_add)
    }

    fn check(&self) -> Result<(), BundleError> {
        let malformed = |message: String| BundleError::new(BundleErrorKind::Malformed, FILE_NAME, message);
        limits::check(limits::FILES, self.files.len() as u64, FILE_NAME)?;
        if let Err(error) = limits::check(limits::BUNDLE_BYTES, self.total_bytes(), FILE_NAME) {
            let hint = if cfg!(target_arch = "wasm32") { "; a browser cannot load it, `onestep generate` on a computer can" } else { "" };
            return Err(BundleError::new(error.kind(), FILE_NAME, format!("{}{hint}", error.message())));
        }
        for (index, file) in self.files.iter().enumerate() {
            check_name(&file.name)?;
            if file.name.eq_ignore_ascii_case(FILE_NAME) || self.files[..index].iter().any(|other| other.name.eq_ignore_ascii_case(&file.name)) {
                return Err(malformed(format!("{} is listed twice, or differs from another file by case alone", file.name)));
            }
            let chunks = file.size.div_ceil(CHUNK_BYTES.max);
            if file.chunks.len() as u64 != chunks {
                return Err(malformed(format!("{} has {} hashes for {chunks} chunks", file.name, file.chunks.len())));
            }
            if file.chunks.iter().any(|hash| hash.len() != 64 || !hash.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))) {
                return Err(malformed(format!("{} has a hash that is not 64 hexadecimal digits", file.name)));
            }
        }
        let named = self.components.values().chain(&self.weights).chain([&self.card]).chain(self.tokenizers());
        for name in named {
            if self.file(name).is_none() {
                return Err(BundleError::new(BundleErrorKind::Missing, FILE_NAME, format!("{name} is named but not listed among the files")));
            }
        }
        for tokenizer in self.tokenizers().filter_map(|name| self.file(name)) {
            limits::check(limits::TOKENIZER_BYTES, tokenizer.size, &tokenizer.name)?;
        }
        for side in self.generation.image {
            limits::check(limits::IMAGE_SIDE, side as u64, FILE_NAME)?;
        }
        limits::elements(&self.generation.latent, FILE_NAME)?;
        limits::check(limits::DIMENSION, self.generation.prompt_tokens as u64, FILE_NAME)
    }
}

/// Accepts one path segment of a small alphabet, which no file system interprets as a path.
fn check_name(name: &str) -> Result<(), BundleError> {
    limits::check(limits::NAME_CHARACTERS, name.chars().count() as u64, FILE_NAME)?;
    let fits = !name.is_empty() && !name.starts_with('.') && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if fits {
        Ok(())
    } else {
        Err(BundleError::new(BundleErrorKind::Malformed, FILE_NAME, format!("{name:?} is no file name that a bundle may use")))
    }
}
