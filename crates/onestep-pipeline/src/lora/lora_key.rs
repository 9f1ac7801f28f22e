//! The names of tensors in LoRA files.

use super::LoraError;

/// The part that a tensor plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// From the layer's input to the rank.
    Down,
    /// From the rank to the layer's output.
    Up,
    /// Between the two: the kernel of a convolution (LoCon).
    Mid,
    /// What the change is multiplied by, times the rank.
    Alpha,
}

impl Role {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Down => "the down matrix",
            Self::Up => "the up matrix",
            Self::Mid => "the middle kernel",
            Self::Alpha => "alpha",
        }
    }
}

/// Parts of names of other adapters.
const OTHER_KINDS: &[(&str, &str)] = &[
    ("hada_", "a LoHa"),
    ("lokr_", "a LoKr"),
    ("dora_scale", "a DoRA"),
    ("lora_magnitude_vector", "a DoRA"),
    ("oft_", "an OFT"),
    ("oft_blocks", "an OFT"),
    (".a1.weight", "a GLoRA"),
    (".b1.weight", "a GLoRA"),
    (".on_input", "an IA3"),
    (".w_norm", "trained norms (LyCORIS)"),
    (".b_norm", "trained norms (LyCORIS)"),
    ("bundle_emb.", "a bundled embedding of textual inversion"),
    ("lora_embedding_", "a LoRA of an embedding"),
    ("lora_A.bias", "a LoRA with biases"),
    ("lora_B.bias", "a LoRA with biases"),
];

/// Ends of names, with the part that they say. What stands before is the module.
const ENDS: &[(&str, Role)] = &[
    (".lora_down.weight", Role::Down),
    (".lora_up.weight", Role::Up),
    (".lora_mid.weight", Role::Mid),
    (".lora_A.weight", Role::Down),
    (".lora_B.weight", Role::Up),
    (".lora_A.default.weight", Role::Down),
    (".lora_B.default.weight", Role::Up),
    (".lora.down.weight", Role::Down),
    (".lora.up.weight", Role::Up),
    (".lora_linear_layer.down.weight", Role::Down),
    (".lora_linear_layer.up.weight", Role::Up),
    (".alpha", Role::Alpha),
];

/// Names of attention in diffusers before 0.18, such as `attn1.processor.to_q_lora`.
const ATTENTION_NAMES: &[(&str, &str, &str)] = &[
    // The U-Net's, the text encoder's.
    ("to_q_lora", "to_q", "q_proj"),
    ("to_k_lora", "to_k", "k_proj"),
    ("to_v_lora", "to_v", "v_proj"),
    ("to_out_lora", "to_out.0", "out_proj"),
];

/// The module and the part of the tensor `key`. The module is as the file names it, but for the names of attention that
/// diffusers has no more.
pub(super) fn parse(key: &str) -> Result<(String, Role), LoraError> {
    let difference = [".diff", ".diff_b"].iter().any(|end| key.ends_with(end)).then_some("full differences (LyCORIS)");
    let other = OTHER_KINDS.iter().find(|(part, _)| key.contains(part)).map(|(_, kind)| *kind);
    if let Some(kind) = difference.or(other) {
        return Err(LoraError::OtherKind { key: key.to_owned(), kind });
    }
    if let Some((module, role)) = ENDS.iter().find_map(|(end, role)| Some((key.strip_suffix(end)?, *role))) {
        return Ok((module.to_owned(), role));
    }
    for (old, unet, text_encoder) in ATTENTION_NAMES {
        for (end, role) in [("down.weight", Role::Down), ("up.weight", Role::Up)] {
            let Some(module) = key.strip_suffix(&format!(".{old}.{end}")) else { continue };
            let new = if module.ends_with(".self_attn") { text_encoder } else { unet };
            let module = module.strip_suffix(".processor").unwrap_or(module);
            return Ok((format!("{module}.{new}"), role));
        }
    }
    Err(LoraError::UnknownName { key: key.to_owned() })
}
