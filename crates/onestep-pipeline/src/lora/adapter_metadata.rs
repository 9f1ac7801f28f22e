//! The configuration of peft in the header of a LoRA file.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::LoraError;
use crate::{Part, config};

/// The key of the header's metadata, which diffusers writes.
const KEY: &str = "lora_adapter_metadata";

/// The configuration of each network's LoRA: the keys of peft's `LoraConfig` behind the name of the network and a dot.
#[derive(Debug, Clone, Default)]
pub(super) struct AdapterMetadata {
    keys: Map<String, Value>,
}

impl AdapterMetadata {
    /// Reads it from a header's metadata; empty if there is none.
    pub(super) fn read(metadata: &BTreeMap<String, String>) -> Result<Self, LoraError> {
        let Some(text) = metadata.get(KEY) else { return Ok(Self::default()) };
        let keys = config::object("a LoRA (lora_adapter_metadata)", text)
            .map_err(|error| LoraError::Metadata { key: KEY.to_owned(), reason: error.to_string() })?;
        let metadata = Self { keys };
        for (key, value) in &metadata.keys {
            let name = key.rsplit('.').next().unwrap_or(key);
            let other = |reason: &str| Err(LoraError::Metadata { key: key.clone(), reason: reason.to_owned() });
            match (name, value) {
                ("use_dora", Value::Bool(true)) => return other("DoRA is not supported"),
                ("lora_bias", Value::Bool(true)) => return other("biases are not supported"),
                ("fan_in_fan_out", Value::Bool(true)) => return other("transposed layers are not supported"),
                ("use_qalora", Value::Bool(true)) => return other("QA-LoRA is not supported"),
                ("bias", Value::String(bias)) if bias != "none" => return other("biases are not supported"),
                _ => {}
            }
        }
        Ok(metadata)
    }

    /// The scale of a module (diffusers' name, without the network's) with this rank, if the metadata say it.
    ///
    /// # Errors
    /// A rank that is not that of the tensors, an alpha that is no finite number.
    pub(super) fn scale(&self, component: Part, module: &str, rank: usize) -> Result<Option<f64>, LoraError> {
        let key = |name: &str| {
            let key = format!("{}.{name}", component.name());
            // What a single model saves has no prefix.
            if self.keys.contains_key(&key) || component != Part::Unet { key } else { name.to_owned() }
        };
        let refuse = |key: &str, reason: String| LoraError::Metadata { key: key.to_owned(), reason };
        let of_module = |pattern: &str, all: &str| -> Result<Option<(String, f64)>, LoraError> {
            let (pattern_key, all_key) = (key(pattern), key(all));
            let found = match self.keys.get(&pattern_key) {
                Some(Value::Object(patterns)) => {
                    let mut found = None;
                    for (pattern, value) in patterns {
                        // peft takes a regular expression; diffusers writes names, of which only the dots are special.
                        if pattern.contains(['*', '+', '?', '[', '(', '|', '\\', '^', '$', '{']) {
                            return Err(refuse(&pattern_key, format!("the pattern {pattern:?} is a regular expression, which is not supported")));
                        }
                        let matches = module == pattern || module.strip_suffix(pattern.as_str()).is_some_and(|rest| rest.ends_with('.'));
                        if matches && found.is_none() {
                            found = Some((format!("{pattern_key}.{pattern}"), value));
                        }
                    }
                    found
                }
                _ => None,
            };
            let Some((key, value)) = found.or_else(|| self.keys.get(&all_key).map(|value| (all_key, value))) else { return Ok(None) };
            match value.as_f64() {
                Some(number) if number.is_finite() => Ok(Some((key, number))),
                _ => Err(refuse(&key, format!("{value} is not a finite number"))),
            }
        };
        if let Some((key, said)) = of_module("rank_pattern", "r")?
            && said != rank as f64
        {
            return Err(refuse(&key, format!("the rank of {module} is {said} there and {rank} in the tensors")));
        }
        let Some((_, alpha)) = of_module("alpha_pattern", "lora_alpha")? else { return Ok(None) };
        let stabilised = self.keys.get(&key("use_rslora")) == Some(&Value::Bool(true));
        let rank = rank as f64;
        Ok(Some(alpha / if stabilised { rank.sqrt() } else { rank }))
    }
}
