//! A bundle: manifest, programs, weights, tokenizer and model card, checked as a whole.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    error::{BundleError, BundleErrorKind},
    limits,
    manifest::{self, FileEntry, Generation, Manifest, sha256},
    program::Program,
    weights::{WeightFile, WeightHeader, WeightView},
};

/// A verified bundle without its weights: enough to inspect it, and to plan its programs while the weights are still being downloaded.
#[derive(Clone, Debug)]
pub struct Outline {
    id: String,
    manifest: Manifest,
    programs: BTreeMap<String, Program>,
    /// Headers of the weight files that have been read so far, in the order of the manifest.
    headers: Vec<WeightHeader>,
    tokenizer: Vec<u8>,
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
        let tokenizer = load(&manifest, &manifest.tokenizer, &mut fetch)?;
        let card = String::from_utf8_lossy(&load(&manifest, &manifest.card, &mut fetch)?).into_owned();
        let outline = Self { id: sha256(manifest_bytes), programs, headers: Vec::new(), tokenizer, card, manifest };
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
    /// The bytes of `tokenizer.json`.
    pub fn tokenizer(&self) -> &[u8] {
        &self.tokenizer
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
    let Some(entry) = manifest.file(name) else {
        return Err(BundleError::new(BundleErrorKind::Missing, name, "not listed in the manifest").into());
    };
    let bytes = fetch(entry)?;
    entry.verify(&bytes)?;
    Ok(bytes)
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
        let mut outline = Outline::open(manifest_bytes, &mut fetch)?;
        let mut weights = Vec::new();
        for name in outline.manifest.weights.clone() {
            let file = WeightFile::new(load(&outline.manifest, &name, &mut fetch)?, &name)?;
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
    /// The bytes of `tokenizer.json`.
    pub fn tokenizer(&self) -> &[u8] {
        self.outline.tokenizer()
    }
    /// The model card in Markdown.
    pub fn card(&self) -> &str {
        self.outline.card()
    }
}

/// The content of a bundle that is to be written.
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
    /// A safetensors file with every tensor that the programs name.
    pub weights: Vec<u8>,
    /// `tokenizer.json`.
    pub tokenizer: Vec<u8>,
    /// The model card in Markdown.
    pub card: String,
    /// Further files with their names, such as a sample image.
    pub extra: Vec<(String, Vec<u8>)>,
}

impl BundleWriter {
    /// Serialises the bundle: every file with its name, the manifest last.
    ///
    /// # Errors
    /// Content that [`Bundle::open`] would refuse.
    pub fn files(self) -> Result<Vec<(String, Vec<u8>)>, BundleError> {
        limits::check(limits::BUNDLE_BYTES, self.weights.len() as u64, "weights")?;
        let mut files: Vec<(String, Vec<u8>)> = Vec::new();
        let mut components = BTreeMap::new();
        for (component, program) in &self.programs {
            let name = format!("{}.json", component.replace('_', "-"));
            components.insert(component.clone(), name.clone());
            files.push((name, program.to_json()));
        }
        let (weights, tokenizer, card) = ("weights-00001.safetensors", "tokenizer.json", "README.md");
        files.push((weights.into(), self.weights));
        files.push((tokenizer.into(), self.tokenizer));
        files.push((card.into(), self.card.into_bytes()));
        files.extend(self.extra);
        let manifest = Manifest {
            format: manifest::FORMAT.into(),
            version: manifest::VERSION,
            title: self.title,
            license: self.license,
            card: card.into(),
            generation: self.generation,
            components,
            weights: vec![weights.into()],
            tokenizer: tokenizer.into(),
            files: files.iter().map(|(name, bytes)| FileEntry::of(name, bytes)).collect(),
        }
        .to_json();
        let written: BTreeMap<&str, &[u8]> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
        Bundle::open::<BundleError>(&manifest, |entry| Ok(written[entry.name.as_str()].to_vec()))?;
        files.push((manifest::FILE_NAME.into(), manifest));
        Ok(files)
    }
}
