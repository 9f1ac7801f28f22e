//! Merges LoRA files into the weights of a pipeline while these are read.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Pipeline;
use crate::{
    Part,
    error::PipelineError,
    lora::{Lora, LoraOption, Targets},
    weights::{Overlay, WeightMap},
};

/// A LoRA file for one component.
#[derive(Debug)]
struct LoraOverlay {
    part: Part,
    lora: Arc<Lora>,
    strength: f64,
    file: Arc<WeightMap>,
    location: String,
}

impl Overlay for LoraOverlay {
    fn changes(&self, name: &str) -> bool {
        self.lora.has(self.part, name)
    }

    fn apply(&self, name: &str, _shape: &[usize], values: &mut [f32]) -> Result<(), PipelineError> {
        let merged = self.lora.merge(self.part, name, values, self.strength, &mut |key| read(&self.file, key));
        merged.map(|_| ()).map_err(|error| refuse(&self.location, error))
    }
}

impl Pipeline {
    /// Merges a LoRA file into the weights, which are changed when they are read.
    pub(super) fn add_lora(&mut self, option: &LoraOption) -> Result<(), PipelineError> {
        let location = option.path.display().to_string();
        let file = Arc::new(WeightMap::open(std::slice::from_ref(&option.path))?);
        let shapes = |map: &WeightMap| map.iter().map(|(name, info)| (name.to_owned(), info.shape.clone())).collect::<BTreeMap<_, _>>();
        let networks: BTreeMap<Part, _> = [Part::Unet, Part::TextEncoder, Part::TextEncoder2]
            .into_iter()
            .filter_map(|part| Some((part, shapes(self.component(part).ok()?.weights().ok()?))))
            .collect();
        let metadata = file.files().next().map(|file| file.metadata().clone()).unwrap_or_default();
        let lora = Lora::read(&shapes(&file), &metadata, &Targets::new(networks), &mut |key| read(&file, key));
        let lora = Arc::new(lora.map_err(|error| refuse(&location, error))?);
        for part in [Part::Unet, Part::TextEncoder, Part::TextEncoder2] {
            if !lora.changes().any(|(changed, ..)| changed == part) {
                continue;
            }
            let overlay = LoraOverlay { part, lora: lora.clone(), strength: option.weight, file: file.clone(), location: location.clone() };
            self.component_mut(part)?.weights_mut()?.add_overlay(Arc::new(overlay));
        }
        Ok(())
    }
}

fn read(file: &WeightMap, key: &str) -> Result<Vec<f32>, String> {
    let tensor = file.read_finite(key).map_err(|error| error.to_string())?;
    tensor.to_f32().ok_or_else(|| format!("its elements are {}, expected floats", tensor.element.name()))
}

fn refuse(location: &str, error: impl std::fmt::Display) -> PipelineError {
    PipelineError::input(format!("merging the LoRA {location}: {error}"))
}
