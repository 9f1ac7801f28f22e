//! `model_index.json`: the components of a pipeline and their classes.

use serde_json::{Map, Value, json};

use super::ComponentClass;
use crate::{Part, config::SchedulerConfig};

/// Components that a pipeline may have and that are ignored, because they do not influence a latent.
const UNUSED: [&str; 3] = ["safety_checker", "feature_extractor", "image_encoder"];
/// Classes of tokenizers that are read.
const TOKENIZERS: [&str; 4] = ["CLIPTokenizer", "CLIPTokenizerFast", "PreTrainedTokenizerFast", "TokenizersBackend"];

/// What an index says of a component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// A library and a class.
    Class(String, String),
    /// `[null, null]`: the pipeline works without it.
    Missing,
}

/// An index that was read.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    /// The class of the pipeline.
    pub(super) class: Option<String>,
    keys: Map<String, Value>,
}

impl Index {
    pub(super) fn new(keys: Map<String, Value>) -> Self {
        Self { class: keys.get("_class_name").and_then(Value::as_str).map(str::to_owned), keys }
    }

    /// A boolean option of the pipeline.
    pub(super) fn flag(&self, key: &str) -> Option<bool> {
        self.keys.get(key).and_then(Value::as_bool)
    }

    /// What it says of `component`; `None` if it does not name it.
    pub(super) fn named(&self, component: &str) -> Option<Result<Named, String>> {
        let value = self.keys.get(component)?;
        Some(match value {
            Value::Array(pair) => match pair.as_slice() {
                [Value::Null, Value::Null] => Ok(Named::Missing),
                [Value::String(library), Value::String(class)] => Ok(Named::Class(library.clone(), class.clone())),
                _ => Err(malformed(component, value)),
            },
            _ => Err(malformed(component, value)),
        })
    }

    fn missing(&self, component: &str) -> String {
        format!("the class is {}, and it does not name the component {component}", self.class.as_deref().unwrap_or("not given"))
    }

    /// The class of a part.
    pub(super) fn class_of(&self, part: Part) -> Result<ComponentClass, String> {
        let name = part.name();
        match self.named(name) {
            None | Some(Ok(Named::Missing)) => Err(self.missing(name)),
            Some(Err(error)) => Err(error),
            Some(Ok(Named::Class(library, class))) => ComponentClass::of_name(&class)
                .filter(|known| known.library() == library && known.fits(part))
                .ok_or_else(|| format!("the component {name} is a {class} of {library}, which is not implemented")),
        }
    }

    /// Refuses components that would change the result and are not implemented. `parts` are the parts of the family.
    pub(super) fn check(&self, parts: &[Part]) -> Result<(), String> {
        for part in parts {
            self.class_of(*part)?;
        }
        for (component, value) in self.keys.iter().filter(|(component, _)| !component.starts_with('_')) {
            // Options of the pipeline, such as requires_safety_checker.
            if matches!(value, Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Null) && !is_known(component) {
                continue;
            }
            let (library, class) = match self.named(component) {
                Some(Ok(Named::Class(library, class))) => (library, class),
                Some(Err(error)) => return Err(error),
                None | Some(Ok(Named::Missing)) => continue,
            };
            let is_implemented = match component.as_str() {
                "tokenizer" | "tokenizer_2" => library == "transformers" && TOKENIZERS.contains(&class.as_str()),
                "scheduler" => library == "diffusers" && SchedulerConfig::knows(&class),
                other => UNUSED.contains(&other) || parts.iter().any(|part| part.name() == other),
            };
            if !is_implemented {
                return Err(format!("the component {component} is a {class} of {library}, which is not implemented"));
            }
        }
        let encoders = parts.iter().filter(|part| matches!(part, Part::TextEncoder | Part::TextEncoder2)).count();
        let others = ["scheduler", "tokenizer", "tokenizer_2"];
        match others[..1 + encoders.min(2)].iter().find(|name| !matches!(self.named(name), Some(Ok(Named::Class(..))))) {
            Some(name) => Err(self.missing(name)),
            None => Ok(()),
        }
    }
}

fn is_known(component: &str) -> bool {
    Part::ALL.iter().any(|part| part.name() == component) || ["scheduler", "tokenizer", "tokenizer_2"].contains(&component)
}

fn malformed(component: &str, value: &Value) -> String {
    format!("{component} is {value}; expected a library and a class, such as [\"diffusers\", \"AutoencoderKL\"]")
}

/// `model_index.json` for these components of Stable Diffusion, by their names in it.
pub fn model_index(components: &[&str]) -> (String, Vec<u8>) {
    let mut index = json!({
        "_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.30.0", "safety_checker": [null, null], "feature_extractor": [null, null],
        "requires_safety_checker": false,
    });
    let classes = [
        ("vae", "diffusers", "AutoencoderKL"),
        ("unet", "diffusers", "UNet2DConditionModel"),
        ("scheduler", "diffusers", "DDIMScheduler"),
        ("text_encoder", "transformers", "CLIPTextModel"),
        ("tokenizer", "transformers", "PreTrainedTokenizerFast"),
    ];
    for (name, library, class) in classes {
        if components.contains(&name) {
            index[name] = json!([library, class]);
        }
    }
    ("model_index.json".into(), serde_json::to_vec_pretty(&index).unwrap_or_default())
}
