//! A bundle: manifest, programs, weights, tokenizer and model card, checked as a whole.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    error::{BundleError, BundleErrorKind},
    manifest::{self, FileEntry, Generation, Manifest, sha256},
    program::Program,
    weights::{ReadAt, WeightFile, WeightHeader, WeightView},
};

/// A verified bundle without its weights: enough to inspect it, and to plan its programs while the weights are still being downloaded.
#[derive(Clone, Debug)]
pub struct Outline {
    id: String,
    manifest: Manifest,
    programs: BTreeMap<String, Program>,
    /// Headers of the weight files that have been read so far, in the order of the manifest.
    headers: Vec<WeightHeader>,
    /// In the order of the text encoders.
    tokenizers: Vec<Vec<u8>>,
    card: String,
}

impl Outline {
    /// Opens a bundle without its weights. `fetch` returns the bytes of a listed file; see [`Bundle::open`].
    ///
    /// # Errors
    /// Errors of `fetch`; a file that does not have its listed hash or is refused by its format, naming the file.
    pub fn open<E: From<BundleError>>(manifest_bytes: &[u8], mut fetch: impl FnMut(&FileEntry) -> Result<Vec<u8>, E>) -> Result<Self, E> {
        let manifest = Manifest::from_json(manifest_bytes)?;
        let mut programs = BTreeMap::new();
        for (component, file) in &manifest.components {
            programs.insert(component.clone(), Program::from_json(&load(&manifest, file, &mut fetch)?, file)?);
        }
        let tokenizers = manifest.tokenizers().map(|name| load(&manifest, name, &mut fetch)).collect::<Result<_, E>>()?;
        let card = String::from_utf8_lossy(&load(&manifest, &manifest.card, &mut fetch)?).into_owned();
        let outline = Self { id: sha256(manifest_bytes), programs, headers: Vec::new(), tokenizers, card, manifest };
        if outline.manifest.weights.is_empty() {
            outline.check()?;
        }
        Ok(outline)
    }

    /// Reads the header of weight file `number` of the manifest from its first bytes, and returns it.
    ///
    /// Call this for the files in order; the last one may be read again. After the last file, the programs are compared with the tensors of
    /// all files.
    ///
    /// # Errors
    /// Those of [`WeightHeader::new`]; a tensor that is missing, unused, stored twice, or of another shape or type than the program states.
    pub fn header(&mut self, number: usize, beginning: &[u8]) -> Result<&WeightHeader, BundleError> {
        let file = self.manifest.weights.get(number).and_then(|name| self.manifest.file(name)).filter(|_| number <= self.headers.len());
        let file =
            file.ok_or_else(|| BundleError::new(BundleErrorKind::Malformed, manifest::FILE_NAME, format!("weight file {number} is not the next")))?;
        let header = WeightHeader::new(beginning, file.size, &file.name)?;
        self.headers.truncate(number);
        self.add(header)
    }

    fn add(&mut self, header: WeightHeader) -> Result<&WeightHeader, BundleError> {
        self.headers.push(header);
        if self.headers.len() == self.manifest.weights.len() {
            self.check()?;
        }
        // Just pushed.
        Ok(&self.headers[self.headers.len() - 1])
    }

    /// The SHA-256 of the manifest in hexadecimal; it identifies the bundle, because the manifest lists the hashes of all other files.
    pub fn id(&self) -> &str {
        &self.id
    }
    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }
    /// The programs by component: `text_encoder`, `generator`, `decoder`.
    pub fn programs(&self) -> &BTreeMap<String, Program> {
        &self.programs
    }
    /// One component's program.
    ///
    /// # Errors
    /// [`BundleErrorKind::Missing`], listing the bundle's components.
    pub fn program(&self, component: &str) -> Result<&Program, BundleError> {
        self.programs.get(component).ok_or_else(|| {
            let there: Vec<_> = self.programs.keys().map(String::as_str).collect();
            BundleError::new(BundleErrorKind::Missing, manifest::FILE_NAME, format!("this bundle has no {component}, only {}", there.join(", ")))
        })
    }
    /// The bytes of each tokenizer, in the order of [`Manifest::tokenizers`].
    pub fn tokenizers(&self) -> &[Vec<u8>] {
        &self.tokenizers
    }
    /// The model card in Markdown.
    pub fn card(&self) -> &str {
        &self.card
    }

    /// Checks that every tensor that a program names is stored exactly once, with the stated shape and type, and that no tensor is unused.
    fn check(&self) -> Result<(), BundleError> {
        let mut unused = BTreeSet::new();
        for (file, location) in self.headers.iter().zip(&self.manifest.weights) {
            for name in file.names() {
                if !unused.insert(name) {
                    return Err(BundleError::new(BundleErrorKind::Malformed, location, format!("tensor {name} is in two weight files")));
                }
            }
        }
        for (component, program) in &self.programs {
            for value in program.weights() {
                let name = value.weight.as_deref().unwrap_or_default();
                let location = || format!("{component}, tensor {name}");
                let Some(found) = self.headers.iter().find_map(|file| file.get(name)) else {
                    return Err(BundleError::new(BundleErrorKind::Missing, location(), "in no weight file"));
                };
                if found.shape != value.shape || found.dtype != value.dtype {
                    let message =
                        format!("the weight file has {:?} {:?}, the program wants {:?} {:?}", found.dtype, found.shape, value.dtype, value.shape);
                    return Err(BundleError::new(BundleErrorKind::Malformed, location(), message));
                }
                unused.remove(name);
            }
        }
        match unused.first() {
            Some(name) => Err(BundleError::new(BundleErrorKind::Malformed, manifest::FILE_NAME, format!("tensor {name} is used by no program"))),
            None => Ok(()),
        }
    }
}

/// Fetches a listed file and compares it with its hashes.
fn load<E: From<BundleError>>(manifest: &Manifest, name: &str, fetch: &mut impl FnMut(&FileEntry) -> Result<Vec<u8>, E>) -> Result<Vec<u8>, E> {
    let entry = listed(manifest, name)?;
    let bytes = fetch(entry)?;
    entry.verify(&bytes)?;
    Ok(bytes)
}

fn listed<'a>(manifest: &'a Manifest, name: &str) -> Result<&'a FileEntry, BundleError> {
    manifest.file(name).ok_or_else(|| BundleError::new(BundleErrorKind::Missing, name, "not listed in the manifest"))
}

/// A verified bundle: everything that is needed to generate images.
#[derive(Clone, Debug)]
pub struct Bundle {
    outline: Outline,
    weights: Vec<WeightFile>,
}

impl Bundle {
    /// Opens a bundle from the bytes of its manifest. `fetch` returns the bytes of a listed file.
    ///
    /// Every file is compared with its hashes before it is parsed. The programs are compared with the tensors that they name, and every
    /// weight must be finite.
    ///
    /// # Errors
    /// Errors of `fetch`; a file that does not have its listed hash or is refused by its format, naming the file.
    pub fn open<E: From<BundleError>>(manifest_bytes: &[u8], mut fetch: impl FnMut(&FileEntry) -> Result<Vec<u8>, E>) -> Result<Self, E> {
        let outline = Outline::open(manifest_bytes, &mut fetch)?;
        Self::with_weights(outline, |outline, name| Ok(WeightFile::new(load(&outline.manifest, name, &mut fetch)?, name)?))
    }

    /// Like [`open`](Self::open), but the weights stay in their files: `stored` opens a listed weight file, and its tensors are read when they are
    /// needed.
    ///
    /// # Errors
    /// Those of [`open`](Self::open); errors of `stored`.
    pub fn open_stored<E: From<BundleError>>(
        manifest_bytes: &[u8],
        fetch: impl FnMut(&FileEntry) -> Result<Vec<u8>, E>,
        mut stored: impl FnMut(&FileEntry) -> Result<Arc<dyn ReadAt>, E>,
    ) -> Result<Self, E> {
        Self::with_weights(Outline::open(manifest_bytes, fetch)?, |outline, name| {
            let entry = listed(&outline.manifest, name)?;
            Ok(WeightFile::stored(stored(entry)?, entry)?)
        })
    }

    fn with_weights<E: From<BundleError>>(mut outline: Outline, mut open: impl FnMut(&Outline, &str) -> Result<WeightFile, E>) -> Result<Self, E> {
        let mut weights = Vec::new();
        for name in outline.manifest.weights.clone() {
            let file = open(&outline, &name)?;
            file.check_finite(&name)?;
            outline.add(file.header().clone())?;
            weights.push(file);
        }
        Ok(Self { outline, weights })
    }

    /// The bundle without its weights.
    pub fn outline(&self) -> &Outline {
        &self.outline
    }
    /// The weight files, in the order of the manifest.
    pub fn weight_files(&self) -> &[WeightFile] {
        &self.weights
    }
    /// The SHA-256 of the manifest in hexadecimal; it identifies the bundle, because the manifest lists the hashes of all other files.
    pub fn id(&self) -> &str {
        self.outline.id()
    }
    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        self.outline.manifest()
    }
    /// The programs by component: `text_encoder`, `generator`, `decoder`.
    pub fn programs(&self) -> &BTreeMap<String, Program> {
        self.outline.programs()
    }
    /// One component's program.
    ///
    /// # Errors
    /// [`BundleErrorKind::Missing`], listing the bundle's components.
    pub fn program(&self, component: &str) -> Result<&Program, BundleError> {
        self.outline.program(component)
    }
    /// The tensor of this name, as programs name it.
    pub fn weight(&self, name: &str) -> Option<WeightView<'_>> {
        self.weights.iter().find_map(|file| file.get(name))
    }
    /// The bytes of each tokenizer, in the order of [`Manifest::tokenizers`].
    pub fn tokenizers(&self) -> &[Vec<u8>] {
        self.outline.tokenizers()
    }
    /// The model card in Markdown.
    pub fn card(&self) -> &str {
        self.outline.card()
    }
}

/// The content of a bundle that is to be written, except its weights.
#[derive(Clone, Debug)]
pub struct BundleWriter {
    /// The model's name for people.
    pub title: String,
    /// SPDX expression of the weights' licence.
    pub license: String,
    /// Sizes of prompt, noise and image.
    pub generation: Generation,
    /// The programs by component.
    pub programs: BTreeMap<String, Program>,
    /// `tokenizer.json`.
    pub tokenizer: Vec<u8>,
    /// The tokenizer of the second text encoder, if there are two.
    pub tokenizer_2: Option<Vec<u8>>,
    /// The model card in Markdown.
    pub card: String,
    /// Further files with their names, such as a sample image.
    pub extra: Vec<(String, Vec<u8>)>,
}

/// The name of the model card.
const CARD: &str = "README.md";
/// The names of the tokenizers.
const TOKENIZERS: [&str; 2] = ["tokenizer.json", "tokenizer-2.json"];

impl BundleWriter {
    /// The name of weight file `number`, counted from 0.
    pub fn weight_file(number: usize) -> String {
        format!("weights-{:05}.safetensors", number + 1)
    }

    /// The files that are neither weights nor the manifest: name and content.
    pub fn small_files(&self) -> Vec<(String, Vec<u8>)> {
        let mut files: Vec<(String, Vec<u8>)> =
            self.programs.iter().map(|(component, program)| (program_file(component), program.to_json())).collect();
        for (name, bytes) in TOKENIZERS.into_iter().zip(std::iter::once(&self.tokenizer).chain(&self.tokenizer_2)) {
            files.push((name.into(), bytes.clone()));
        }
        files.push((CARD.into(), self.card.clone().into_bytes()));
        files.extend(self.extra.iter().cloned());
        files
    }

    /// The manifest of the bundle with these weight files, which together hold every tensor that the programs name. Whether they do is checked
    /// when the bundle is opened.
    ///
    /// # Errors
    /// A bundle above a limit; a file name that is invalid or occurs twice.
    pub fn manifest(self, weights: Vec<FileEntry>) -> Result<Vec<u8>, BundleError> {
        let names = weights.iter().map(|file| file.name.clone()).collect();
        let mut files: Vec<FileEntry> = self.small_files().iter().map(|(name, bytes)| FileEntry::of(name, bytes)).collect();
        files.splice(self.programs.len()..self.programs.len(), weights);
        let manifest = Manifest {
            format: manifest::FORMAT.into(),
            version: manifest::VERSION,
            title: self.title,
            license: self.license,
            card: CARD.into(),
            generation: self.generation,
            components: self.programs.into_keys().map(|component| (component.clone(), program_file(&component))).collect(),
            weights: names,
            tokenizer: TOKENIZERS[0].into(),
            tokenizer_2: self.tokenizer_2.map(|_| TOKENIZERS[1].into()),
            files,
        };
        let json = manifest.to_json();
        Manifest::from_json(&json)?;
        Ok(json)
    }

    /// Serialises a small bundle with one weight file, given its bytes: every file with its name, the manifest last.
    ///
    /// # Errors
    /// Content that [`Bundle::open`] would refuse.
    pub fn files(self, weights: Vec<u8>) -> Result<Vec<(String, Vec<u8>)>, BundleError> {
        let mut files = self.small_files();
        let name = Self::weight_file(0);
        let manifest = self.manifest(vec![FileEntry::of(&name, &weights)])?;
        files.push((name, weights));
        let written: BTreeMap<&str, &[u8]> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
        Bundle::open::<BundleError>(&manifest, |entry| Ok(written[entry.name.as_str()].to_vec()))?;
        files.push((manifest::FILE_NAME.into(), manifest));
        Ok(files)
    }
}

fn program_file(component: &str) -> String {
    format!("{}.json", component.replace('_', "-"))
}
