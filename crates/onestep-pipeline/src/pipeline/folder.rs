//! The files of a model, to copy and to compare them.

use std::path::PathBuf;

use onestep_store::FolderDestination;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{Pipeline, index::Named, open::SCHEDULER_CONFIG};
use crate::{Part, error::PipelineError, weights::WeightMap};

/// The content of a file that is to be written into a model's folder.
#[derive(Clone, Debug)]
pub enum Source {
    /// Bytes in memory.
    Bytes(Vec<u8>),
    /// A copy of a file.
    File(PathBuf),
    /// Weights, written as safetensors one tensor after the other.
    Weights(Box<WeightMap>),
}

impl Source {
    /// Writes the file `name` into a folder.
    ///
    /// # Errors
    /// The source cannot be read; storage.
    pub fn write(&self, name: &str, destination: &mut FolderDestination) -> Result<(), PipelineError> {
        match self {
            Self::Bytes(bytes) => destination.write(name, bytes)?,
            Self::File(path) => destination.copy(name, path)?,
            Self::Weights(weights) => {
                let mut file = std::io::BufWriter::new(destination.create(name)?);
                weights.write(&mut file)?.map_err(|error| onestep_store::StoreError::storage("writing", name.as_ref(), &error))?;
            }
        }
        Ok(())
    }
}

impl Pipeline {
    /// The files of a component, by their names in a pipeline's folder. Weights that are a part of a larger file, or that an
    /// overlay changes, become a separate file.
    ///
    /// # Errors
    /// The component is missing, or cannot be used.
    pub fn component_files(&self, part: Part) -> Result<Vec<(String, Source)>, PipelineError> {
        let component = self.component(part)?;
        let weights = component.weights()?;
        let name = |file: &str| format!("{}/{file}", part.name());
        match &component.files {
            Some(files) if !weights.is_changed() => Ok(files.iter().map(|(file, path)| (name(file), Source::File(path.clone()))).collect()),
            Some(files) => {
                let config = files.iter().find(|(file, _)| file == "config.json");
                let config = config.map_or_else(|| Source::Bytes(component.config().to_json().into_bytes()), |(_, path)| Source::File(path.clone()));
                Ok(vec![(name("config.json"), config), (part.weights_name(), Source::Weights(Box::new(weights.clone())))])
            }
            None => Ok(vec![
                (name("config.json"), Source::Bytes(component.config().to_json().into_bytes())),
                (part.weights_name(), Source::Weights(Box::new(weights.clone()))),
            ]),
        }
    }

    /// The files of the tokenizer of a text encoder in its one form, by their names in a pipeline's folder.
    ///
    /// # Errors
    /// There are none, or they cannot be read.
    pub fn tokenizer_files(&self, part: Part) -> Result<Vec<(String, Source)>, PipelineError> {
        let folder = if part == Part::TextEncoder2 { "tokenizer_2" } else { "tokenizer" };
        let files = self.open_tokenizer(part)?.files();
        Ok(files.into_iter().map(|(file, bytes)| (format!("{folder}/{file}"), Source::Bytes(bytes))).collect())
    }

    /// `model_index.json` of a folder with this model's components.
    ///
    /// # Errors
    /// A component is missing, or cannot be used.
    pub fn model_index(&self) -> Result<(String, Vec<u8>), PipelineError> {
        let is_xl = self.is_xl.clone()?;
        let class = if is_xl { "StableDiffusionXLPipeline" } else { "StableDiffusionPipeline" };
        let missing = json!([null, null]);
        let mut index = json!({ "_class_name": class, "_diffusers_version": "0.30.0", "feature_extractor": missing });
        if is_xl {
            index["image_encoder"] = missing;
            index["force_zeros_for_empty_prompt"] = json!(self.force_zeros_for_empty_prompt());
        } else {
            index["safety_checker"] = missing;
            index["requires_safety_checker"] = json!(false);
        }
        for part in self.parts() {
            let class = self.component(*part)?.config().class();
            index[part.name()] = json!([class.library(), class.name()]);
        }
        let mut others = vec![("scheduler", "diffusers", "DDIMScheduler"), ("tokenizer", "transformers", "PreTrainedTokenizerFast")];
        if is_xl {
            others.push(("tokenizer_2", "transformers", "PreTrainedTokenizerFast"));
        }
        for (name, library, class) in others {
            index[name] = match self.index.named(name) {
                Some(Ok(Named::Class(library, class))) => json!([library, class]),
                _ => json!([library, class]),
            };
        }
        Ok(("model_index.json".into(), serde_json::to_vec_pretty(&index).unwrap_or_default()))
    }

    /// The scheduler's file, by its name in a pipeline's folder.
    ///
    /// # Errors
    /// There is none.
    pub fn scheduler_file(&self) -> Result<(String, Source), PipelineError> {
        Ok((SCHEDULER_CONFIG.to_owned(), Source::Bytes(self.scheduler_text()?.as_bytes().to_vec())))
    }

    /// The SHA-256 of a component in lower-case hexadecimal: its configuration and its tensors, however they are stored.
    /// `progress` is called with the bytes that were read since its last call.
    ///
    /// # Errors
    /// The component is missing; a tensor cannot be read, or is not finite.
    pub fn component_hash(&self, part: Part, progress: impl FnMut(u64)) -> Result<String, PipelineError> {
        let component = self.component(part)?;
        let lines = format!("{}\n{}\n", component.config().to_json(), component.weights()?.hash(progress)?);
        Ok(hexadecimal(&Sha256::digest(lines.as_bytes())))
    }

    /// The SHA-256 of all components, of the tokenizers and of the scheduler that there are.
    ///
    /// # Errors
    /// A component that cannot be read; a tensor that is not finite.
    pub fn hash(&self, mut progress: impl FnMut(u64)) -> Result<String, PipelineError> {
        let mut lines = String::new();
        for (part, opened) in &self.components {
            if opened.is_ok() {
                lines += &format!("{} {}\n", part.name(), self.component_hash(*part, &mut progress)?);
            }
        }
        for (part, tokenizer) in &self.tokenizers {
            for file in &tokenizer.files {
                let bytes = onestep_store::read(&tokenizer.folder.join(file))?;
                lines += &format!("tokenizer of {} {file} {}\n", part.name(), hexadecimal(&Sha256::digest(&bytes)));
            }
        }
        if let Some(Ok(text)) = &self.scheduler {
            lines += &format!("scheduler {}\n", hexadecimal(&Sha256::digest(text.as_bytes())));
        }
        Ok(hexadecimal(&Sha256::digest(lines.as_bytes())))
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
