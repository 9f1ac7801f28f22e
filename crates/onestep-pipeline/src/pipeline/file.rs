//! Opens a single file: a whole model, or a part of one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Component, ComponentConfig, Layout, OpenOptions, Pipeline, index::Index};
use crate::{
    Family, Part,
    error::PipelineError,
    single_file::{self, Known, SingleFile, StoredTensor, Transform, Undecided},
    weights::{TensorSource, View, WeightMap},
};

impl Pipeline {
    /// Opens a single file in the original key layout, or with diffusers' names of one network.
    pub(super) fn open_file(path: &Path, options: &OpenOptions) -> Result<Self, PipelineError> {
        let refuse = |reason: String| PipelineError::input(format!("{}: {reason}", path.display()));
        let map = WeightMap::open(&[path.to_owned()])?;
        let shapes: BTreeMap<String, Vec<usize>> = map.iter().map(|(name, info)| (name.to_owned(), info.shape.clone())).collect();
        let metadata = map.files().next().map(|file| file.metadata().clone()).unwrap_or_default();
        let known = Known { family: None, prediction_type: options.prediction_type.or_else(|| prediction_type_of_yaml(path)) };
        let file = SingleFile::read(&shapes, &metadata, known).map_err(|error| refuse(error.to_string()))?;
        let mut components: BTreeMap<Part, Result<Component, PipelineError>> = BTreeMap::new();
        if let Some(network) = file.unet {
            components.insert(Part::Unet, component(Part::Unet, ComponentConfig::Unet(Box::new(network.config)), &map, network.tensors));
        }
        if let Some(network) = file.vae {
            // The factor is that of the family; an autoencoder alone does not say it.
            let opened = if file.undecided.contains(&Undecided::ScalingFactor) {
                Err(refuse(Undecided::ScalingFactor.to_string()))
            } else {
                component(Part::Vae, ComponentConfig::Autoencoder(network.config), &map, network.tensors)
            };
            components.insert(Part::Vae, opened);
        }
        for (part, network) in [(Part::TextEncoder, file.text_encoder), (Part::TextEncoder2, file.text_encoder_2)] {
            if let Some(network) = network {
                components.insert(part, component(part, ComponentConfig::Text(network.config), &map, network.tensors));
            }
        }
        let scheduler = match file.scheduler {
            Some(keys) => Some(Ok(format!("{:#}\n", Value::Object(keys)))),
            None if file.undecided.contains(&Undecided::PredictionType) => {
                Some(Err(refuse(format!("{}; say it with --prediction-type", Undecided::PredictionType))))
            }
            None => None,
        };
        let is_xl = match file.family {
            Some(family) => Ok(family == Family::StableDiffusionXl),
            None => Err(refuse("the file holds a part of a model and not its denoiser; expected a whole model".into())),
        };
        Ok(Self {
            path: path.to_owned(),
            layout: Layout::SingleFile,
            index: Index::default(),
            is_xl,
            components,
            scheduler,
            tokenizers: BTreeMap::new(),
        })
    }
}

/// The prediction type that a model's original configuration file states: `NAME.yaml` in the model's folder.
fn prediction_type_of_yaml(path: &Path) -> Option<single_file::PredictionType> {
    let yaml: PathBuf = path.with_extension("yaml");
    let bytes = onestep_store::read_at_most(&yaml, onestep_program::limits::CONFIG_BYTES.max).ok()?;
    single_file::PredictionType::from_original_config(&String::from_utf8(bytes).ok()?)
}

fn component(part: Part, config: ComponentConfig, file: &WeightMap, tensors: BTreeMap<String, StoredTensor>) -> Result<Component, PipelineError> {
    Component::of_table(part, config, file, tensors.into_iter().map(|(name, tensor)| (name, source(tensor))))
}

fn source(tensor: StoredTensor) -> TensorSource {
    let views = match tensor.transform {
        Transform::None => None,
        Transform::Rows(rows) => Some(View::Rows(rows)),
        Transform::Transpose => Some(View::Transposed),
        Transform::DropTrailingOnes => Some(View::Reshaped(tensor.shape)),
    };
    TensorSource::viewed(tensor.key, views)
}
