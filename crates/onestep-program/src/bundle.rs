//! A bundle: manifest, programs, weights, tokenizer and card, checked as a whole.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    error::{BundleError, Kind},
    limits,
    manifest::{self, FileEntry, Generation, Manifest, sha256},
    program::Program,
    weights::{WeightFile, WeightHeader, WeightView},
};

/// Everything of a bundle but the weights themselves, verified: what can be looked at and prepared while they are on their way.
#[derive(Clone, Debug)]
pub struct Outline {
    id: String,
    manifest: Manifest,
    programs: BTreeMap<String, Program>,
    /// Of the first weight files of the manifest.
    headers: Vec<WeightHeader>,
    tokenizer: Vec<u8>,
    card: String,
}

impl Outline {
    /// Reads everything but the weights; as [`Bundle::open`].
    ///
    /// # Errors
    /// What `fetch` reports, and everything that the formats refuse, with the file's name.
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

    /// Takes the beginning of weight file `number` of the manifest, at least its header, and gives what lies where in it; the file that came
    /// last may come again. With the last file it is known whether the programs and the tensors of all files fit.
    ///
    /// # Errors
    /// Those of [`WeightHeader::new`]; tensors that are missing, left over, there twice or of another shape or type.
    pub fn header(&mut self, number: usize, beginning: &[u8]) -> Result<&WeightHeader, BundleError> {
        let file = self.manifest.weights.get(number).and_then(|name| self.manifest.file(name)).filter(|_| number <= self.headers.len());
        let file = file.ok_or_else(|| BundleError::new(Kind::Malformed, manifest::FILE_NAME, format!("weight file {number} is not the next")))?;
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

    /// The SHA-256 of the manifest, which names the hash of every other file.
    pub fn id(&self) -> &str {
        &self.id
    }
    /// What the bundle says of itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }
    /// The programs by component.
    pub fn programs(&self) -> &BTreeMap<String, Program> {
        &self.programs
    }
    /// One component's program.
    ///
    /// # Errors
    /// [`Kind::Missing`], naming the components that are there.
    pub fn program(&self, component: &str) -> Result<&Program, BundleError> {
        self.programs.get(component).ok_or_else(|| {
            let there: Vec<_> = self.programs.keys().map(String::as_str).collect();
            BundleError::new(Kind::Missing, manifest::FILE_NAME, format!("this bundle has no {component}, only {}", there.join(", ")))
        })
    }
    /// The bytes of `tokenizer.json`.
    pub fn tokenizer(&self) -> &[u8] {
        &self.tokenizer
    }
    /// The model card, Markdown.
    pub fn card(&self) -> &str {
        &self.card
    }

    /// Each tensor once, each named tensor there with the stated shape and type, nothing left over.
    fn check(&self) -> Result<(), BundleError> {
        let mut left = BTreeSet::new();
        for (file, place) in self.headers.iter().zip(&self.manifest.weights) {
            for name in file.names() {
                if !left.insert(name) {
                    return Err(BundleError::new(Kind::Malformed, place, format!("tensor {name} is in two weight files")));
                }
            }
        }
        for (component, program) in &self.programs {
            for value in program.weights() {
                let name = value.weight.as_deref().unwrap_or_default();
                let place = || format!("{component}, tensor {name}");
                let Some(found) = self.headers.iter().find_map(|file| file.get(name)) else {
                    return Err(BundleError::new(Kind::Missing, place(), "in no weight file"));
                };
                if found.shape != value.shape || found.dtype != value.dtype {
                    let message =
                        format!("the weight file has {:?} {:?}, the program wants {:?} {:?}", found.dtype, found.shape, value.dtype, value.shape);
                    return Err(BundleError::new(Kind::Malformed, place(), message));
                }
                left.remove(name);
            }
        }
        match left.first() {
            Some(name) => Err(BundleError::new(Kind::Malformed, manifest::FILE_NAME, format!("tensor {name} is used by no program"))),
            None => Ok(()),
        }
    }
}

/// A listed file, compared with its hashes.
fn load<E: From<BundleError>>(manifest: &Manifest, name: &str, fetch: &mut impl FnMut(&FileEntry) -> Result<Vec<u8>, E>) -> Result<Vec<u8>, E> {
    let Some(entry) = manifest.file(name) else {
        return Err(BundleError::new(Kind::Missing, name, "not listed in the manifest").into());
    };
    let bytes = fetch(entry)?;
    entry.verify(&bytes)?;
    Ok(bytes)
}

/// Everything that a model needs to run, verified.
#[derive(Clone, Debug)]
pub struct Bundle {
    outline: Outline,
    weights: Vec<WeightFile>,
}

impl Bundle {
    /// Opens a bundle from its manifest's bytes; `fetch` gives the bytes of a listed file.
    /// Every file is compared with its hashes before it is read, and the programs with the tensors they name; every weight is finite.
    ///
    /// # Errors
    /// What `fetch` reports, and everything that the formats refuse, with the file's name.
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

    /// Everything but the weights.
    pub fn outline(&self) -> &Outline {
        &self.outline
    }
    /// The weight files, in the order of the manifest.
    pub fn weight_files(&self) -> &[WeightFile] {
        &self.weights
    }
    /// The SHA-256 of the manifest, which names the hash of every other file.
    pub fn id(&self) -> &str {
        self.outline.id()
    }
    /// What the bundle says of itself.
    pub fn manifest(&self) -> &Manifest {
        self.outline.manifest()
    }
    /// The programs by component.
    pub fn programs(&self) -> &BTreeMap<String, Program> {
        self.outline.programs()
    }
    /// One component's program.
    ///
    /// # Errors
    /// [`Kind::Missing`], naming the components that are there.
    pub fn program(&self, component: &str) -> Result<&Program, BundleError> {
        self.outline.program(component)
    }
    /// A tensor by its name in the programs.
    pub fn weight(&self, name: &str) -> Option<WeightView<'_>> {
        self.weights.iter().find_map(|file| file.get(name))
    }
    /// The bytes of `tokenizer.json`.
    pub fn tokenizer(&self) -> &[u8] {
        self.outline.tokenizer()
    }
    /// The model card, Markdown.
    pub fn card(&self) -> &str {
        self.outline.card()
    }
}

/// Collects the files of a bundle and writes their manifest.
#[derive(Clone, Debug)]
pub struct BundleWriter {
    /// The model's name for people.
    pub title: String,
    /// SPDX expression of the weights' licence.
    pub license: String,
    /// How an image is made.
    pub generation: Generation,
    /// By component.
    pub programs: BTreeMap<String, Program>,
    /// A safetensors file with every tensor that the programs name.
    pub weights: Vec<u8>,
    /// `tokenizer.json`.
    pub tokenizer: Vec<u8>,
    /// The model card, Markdown.
    pub card: String,
    /// Files beside these: a sample image.
    pub extra: Vec<(String, Vec<u8>)>,
}

impl BundleWriter {
    /// All files with their names, the manifest last. The result is opened once, so that what is written can be read.
    ///
    /// # Errors
    /// What [`Bundle::open`] would refuse.
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
