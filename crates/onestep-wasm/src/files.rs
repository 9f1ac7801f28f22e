//! Files of a bundle as JavaScript hands them over: the manifest first, then each file that it lists.

use std::collections::BTreeMap;

use onestep::program::{BundleError, FileEntry, Manifest, error::BundleErrorKind};
use serde_json::json;
use wasm_bindgen::prelude::*;

use crate::js;

/// Checks a manifest and summarises what loading reads, which excludes sample images: `{ id, title, license, promptTokens, width, height, bytes, files: [{ name, size, chunks }], weights: [name] }`.
#[wasm_bindgen(js_name = checkManifest)]
pub fn check_manifest(manifest: &[u8]) -> Result<JsValue, JsValue> {
    let checked = Manifest::from_json(manifest).map_err(js::error)?;
    let [width, height] = checked.generation.image;
    js::object(&json!({
        "id": onestep::program::manifest::sha256(manifest),
        "title": checked.title,
        "license": checked.license,
        "promptTokens": checked.generation.prompt_tokens,
        "width": width,
        "height": height,
        "bytes": checked.needed_files().map(|file| file.size).sum::<u64>(),
        "files": checked.needed_files().collect::<Vec<_>>(),
        "weights": checked.weights,
    }))
}

/// The files that JavaScript has downloaded.
#[wasm_bindgen]
pub struct BundleFiles {
    manifest: Vec<u8>,
    bytes: BTreeMap<String, Vec<u8>>,
}

#[wasm_bindgen]
impl BundleFiles {
    /// Starts with the bytes of the manifest.
    #[wasm_bindgen(constructor)]
    pub fn new(manifest: Vec<u8>) -> Self {
        Self { manifest, bytes: BTreeMap::new() }
    }
    /// Adds a file's bytes.
    pub fn add(&mut self, name: String, bytes: Vec<u8>) {
        self.bytes.insert(name, bytes);
    }
}

impl BundleFiles {
    /// Compares all files with their hashes and reads them.
    #[cfg(not(feature = "webgpu"))]
    pub(crate) fn bundle(mut self) -> Result<onestep::program::Bundle, BundleError> {
        onestep::program::Bundle::open(&std::mem::take(&mut self.manifest), |entry| self.take(entry))
    }
    /// The same without the weights, which go to the GPU chunk by chunk.
    #[cfg(feature = "webgpu")]
    pub(crate) fn outline(mut self) -> Result<onestep::program::Outline, BundleError> {
        onestep::program::Outline::open(&std::mem::take(&mut self.manifest), |entry| self.take(entry))
    }

    fn take(&mut self, entry: &FileEntry) -> Result<Vec<u8>, BundleError> {
        self.bytes.remove(&entry.name).ok_or_else(|| BundleError::new(BundleErrorKind::Missing, &entry.name, "was never handed over"))
    }
}
