//! The manifest: what is in a bundle, and the hash of every chunk of every file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    error::{BundleError, Kind},
    limits::{self, CHUNK_BYTES},
};

/// The file name of the manifest.
pub const FILE_NAME: &str = "manifest.json";
/// What `format` says.
pub const FORMAT: &str = "onestep-bundle";
/// The version that this crate writes and reads.
pub const VERSION: u32 = 2;

/// What a bundle says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: String,
    /// [`VERSION`] when written.
    pub version: u32,
    /// The model's name for people.
    pub title: String,
    /// SPDX expression of the weights' licence.
    pub license: String,
    /// File name of the model card.
    pub card: String,
    /// How an image is made.
    pub generation: Generation,
    /// Program file of each component, by component.
    pub components: BTreeMap<String, String>,
    /// Weight files; together they hold every tensor that the programs name, and no other.
    pub weights: Vec<String>,
    /// File name of `tokenizer.json`.
    pub tokenizer: String,
    /// Every file but the manifest.
    pub files: Vec<FileEntry>,
}

/// The sizes that prompt, noise and image have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generation {
    /// Token ids per prompt, padding included.
    pub prompt_tokens: usize,
    /// Channels, rows, columns of the noise.
    pub latent: [usize; 3],
    /// Width, height in pixels.
    pub image: [usize; 2],
}

/// A file of the bundle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// One path segment of `a-z 0-9 . _ -` (capitals allowed for the card's customary name), no leading dot.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of each 16 MiB chunk in lower-case hexadecimal; the last chunk may be shorter, an empty file has none.
    pub chunks: Vec<String>,
}

/// What a file of a bundle is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileUse {
    /// A component's program.
    Program,
    /// Weights.
    Weights,
    /// `tokenizer.json`.
    Tokenizer,
    /// The model card.
    Card,
    /// A file that nothing needs to generate an image, such as a sample image.
    Extra,
}

/// SHA-256 in lower-case hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl FileEntry {
    /// Describes a file.
    pub fn of(name: &str, bytes: &[u8]) -> Self {
        Self { name: name.into(), size: bytes.len() as u64, chunks: bytes.chunks(CHUNK_BYTES.max as usize).map(sha256).collect() }
    }

    /// Compares size and every chunk.
    ///
    /// # Errors
    /// [`Kind::Integrity`], naming the file and the chunk.
    pub fn verify(&self, bytes: &[u8]) -> Result<(), BundleError> {
        if bytes.len() as u64 != self.size {
            return Err(BundleError::new(Kind::Integrity, &self.name, format!("{} bytes, the manifest says {}", bytes.len(), self.size)));
        }
        for (index, chunk) in bytes.chunks(CHUNK_BYTES.max as usize).enumerate() {
            let found = sha256(chunk);
            if self.chunks[index] != found {
                return Err(BundleError::new(
                    Kind::Integrity,
                    &self.name,
                    format!("chunk {index} has SHA-256 {found}, the manifest says {}; fetch the file again", self.chunks[index]),
                ));
            }
        }
        Ok(())
    }
}

impl Manifest {
    /// Reads and checks a manifest.
    ///
    /// # Errors
    /// Limits, versions, names outside the alphabet, files that are named but not listed.
    pub fn from_json(bytes: &[u8]) -> Result<Self, BundleError> {
        /// Read first, so that a future version is named as such and not as an unknown field.
        #[derive(Deserialize)]
        struct Head {
            format: String,
            version: u32,
        }
        let head: Head = limits::parse_json(bytes, limits::MANIFEST_BYTES, FILE_NAME)?;
        if head.format != FORMAT {
            return Err(BundleError::new(Kind::Malformed, FILE_NAME, format!("format is {:?}, expected {FORMAT:?}", head.format)));
        }
        if head.version != VERSION {
            return Err(BundleError::new(Kind::Unsupported, FILE_NAME, format!("bundle version {}, this release reads {VERSION}", head.version)));
        }
        let manifest: Manifest = limits::parse_json(bytes, limits::MANIFEST_BYTES, FILE_NAME)?;
        manifest.check()?;
        Ok(manifest)
    }

    /// As JSON, readable.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).unwrap_or_default()
    }

    /// The entry of a file.
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
                () if self.tokenizer == *name => FileUse::Tokenizer,
                () if self.card == *name => FileUse::Card,
                () => FileUse::Extra,
            };
            (file_use, file)
        })
    }

    /// Bytes of all files.
    pub fn total_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).fold(0, u64::saturating_add)
    }

    fn check(&self) -> Result<(), BundleError> {
        let malformed = |message: String| BundleError::new(Kind::Malformed, FILE_NAME, message);
        limits::check(limits::FILES, self.files.len() as u64, FILE_NAME)?;
        limits::check(limits::BUNDLE_BYTES, self.total_bytes(), FILE_NAME)?;
        for (index, file) in self.files.iter().enumerate() {
            check_name(&file.name)?;
            if file.name.eq_ignore_ascii_case(FILE_NAME) || self.files[..index].iter().any(|other| other.name.eq_ignore_ascii_case(&file.name)) {
                return Err(malformed(format!("{} is listed twice, or only by case apart", file.name)));
            }
            let chunks = file.size.div_ceil(CHUNK_BYTES.max);
            if file.chunks.len() as u64 != chunks {
                return Err(malformed(format!("{} has {} hashes for {chunks} chunks", file.name, file.chunks.len())));
            }
            if file.chunks.iter().any(|hash| hash.len() != 64 || !hash.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))) {
                return Err(malformed(format!("{} has a hash that is not 64 hexadecimal digits", file.name)));
            }
        }
        let named = self.components.values().chain(&self.weights).chain([&self.card, &self.tokenizer]);
        for name in named {
            if self.file(name).is_none() {
                return Err(BundleError::new(Kind::Missing, FILE_NAME, format!("{name} is named but not listed among the files")));
            }
        }
        if let Some(tokenizer) = self.file(&self.tokenizer) {
            limits::check(limits::TOKENIZER_BYTES, tokenizer.size, &self.tokenizer)?;
        }
        for side in self.generation.image {
            limits::check(limits::IMAGE_SIDE, side as u64, FILE_NAME)?;
        }
        limits::elements(&self.generation.latent, FILE_NAME)?;
        limits::check(limits::DIMENSION, self.generation.prompt_tokens as u64, FILE_NAME)
    }
}

/// One path segment of a small alphabet: nothing that any file system reads as a path.
fn check_name(name: &str) -> Result<(), BundleError> {
    limits::check(limits::NAME_CHARACTERS, name.chars().count() as u64, FILE_NAME)?;
    let fits = !name.is_empty() && !name.starts_with('.') && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if fits { Ok(()) } else { Err(BundleError::new(Kind::Malformed, FILE_NAME, format!("{name:?} is no file name that a bundle may use"))) }
}
