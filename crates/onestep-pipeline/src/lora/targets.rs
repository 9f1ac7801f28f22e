//! The layers that a LoRA can change, by all names that files have for them.

use std::collections::{BTreeMap, HashMap};

use super::LoraError;
use crate::{Part, single_file::UNetBlocks};

/// The tensors of a pipeline: diffusers' names and shapes for each of its networks.
#[derive(Debug, Clone, Default)]
pub struct Targets {
    networks: BTreeMap<Part, BTreeMap<String, Vec<usize>>>,
    /// The tensor of each module's weight, by the names of the module: dotted or with underscores, diffusers' or original.
    modules: HashMap<(Part, String), String>,
}

impl Targets {
    /// The layers of a pipeline with these networks.
    pub fn new(networks: BTreeMap<Part, BTreeMap<String, Vec<usize>>>) -> Self {
        let mut modules = HashMap::new();
        for (&component, tensors) in &networks {
            let blocks = (component == Part::Unet).then(|| UNetBlocks::of(|name| tensors.contains_key(name)));
            for (name, shape) in tensors {
                let Some(module) = name.strip_suffix(".weight").filter(|_| shape.len() >= 2) else { continue };
                let original = blocks.as_ref().and_then(|blocks| blocks.original(module));
                for module in original.as_deref().into_iter().chain([module]) {
                    let module = plain(module);
                    modules.insert((component, module.replace('.', "_")), name.clone());
                    modules.insert((component, module.to_owned()), name.clone());
                }
            }
        }
        Self { networks, modules }
    }

    /// The shape of a tensor.
    pub(super) fn shape(&self, component: Part, tensor: &str) -> &[usize] {
        self.networks.get(&component).and_then(|tensors| tensors.get(tensor)).map_or(&[], Vec::as_slice)
    }

    /// The network and the tensor that the module of a LoRA file changes; `key` is the tensor of that file.
    pub(super) fn find(&self, key: &str, module: &str) -> Result<(Part, String), LoraError> {
        let (component, module) = split(key, module)?;
        let no_target = |wanted: String| LoraError::NoTarget { key: key.to_owned(), wanted };
        if !self.networks.contains_key(&component) {
            return Err(no_target(component.to_string()));
        }
        match self.modules.get(&(component, plain(module).to_owned())) {
            Some(tensor) => Ok((component, tensor.clone())),
            None => Err(no_target(format!("the layer {module:?} of {component}"))),
        }
    }
}

/// A module of a text encoder without the prefix that transformers writes or not, by version.
fn plain(module: &str) -> &str {
    module.strip_prefix("text_model.").or_else(|| module.strip_prefix("text_model_")).unwrap_or(module)
}

/// The network of a module, and its name there.
fn split<'a>(key: &str, module: &'a str) -> Result<(Part, &'a str), LoraError> {
    const PREFIXES: [(&str, Part); 9] = [
        // kohya
        ("lora_unet_", Part::Unet),
        ("lora_te1_", Part::TextEncoder),
        ("lora_te2_", Part::TextEncoder2),
        ("lora_te_", Part::TextEncoder),
        // diffusers and peft
        ("unet.", Part::Unet),
        ("text_encoder.", Part::TextEncoder),
        ("text_encoder_2.", Part::TextEncoder2),
        // ComfyUI
        ("diffusion_model.", Part::Unet),
        ("text_model.", Part::TextEncoder),
    ];
    for (prefix, other) in [
        ("transformer.", "a transformer (Stable Diffusion 3, FLUX and the like)"),
        ("lora_transformer_", "a transformer (Stable Diffusion 3, FLUX and the like)"),
        ("lora_te3_", "a third text encoder (Stable Diffusion 3)"),
        ("lora_prior_", "a prior (Stable Cascade)"),
    ] {
        if module.starts_with(prefix) {
            return Err(LoraError::NoTarget { key: key.to_owned(), wanted: other.to_owned() });
        }
    }
    if module.starts_with("base_model.model.") {
        let kind = "an adapter as peft alone saves it, with its scale in another file (save it with diffusers' save_lora_weights)";
        return Err(LoraError::OtherKind { key: key.to_owned(), kind });
    }
    let found = PREFIXES.iter().find_map(|(prefix, component)| Some((*component, module.strip_prefix(prefix)?)));
    // A U-Net alone is saved without a prefix.
    Ok(found.unwrap_or((Part::Unet, module)))
}
