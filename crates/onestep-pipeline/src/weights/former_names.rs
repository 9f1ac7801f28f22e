//! Names in older files, and buffers that are ignored.

/// The autoencoder's attention was named differently in diffusers before 0.18: names now and then.
const ATTENTION: &[(&str, &str)] = &[(".to_q.", ".query."), (".to_k.", ".key."), (".to_v.", ".value."), (".to_out.0.", ".proj_attn.")];

/// Where the autoencoder has that attention.
const MIDDLE: &str = "mid_block.attentions.";

/// The prefix that files of text encoders have or omit.
const TEXT_PREFIX: &str = "text_model.";

/// Buffers that old versions of transformers saved: the numbers 0, 1, 2, ….
const IGNORED: &[&str] = &["text_model.embeddings.position_ids", "vision_model.embeddings.position_ids", "embeddings.position_ids"];

/// The parameters of a text encoder that has no prefix in its files begin so.
const UNPREFIXED: &[&str] = &["embeddings.", "encoder.", "final_layer_norm."];

/// The naming of a component's parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// One name for each parameter.
    Plain,
    /// A text encoder of CLIP: the prefix `text_model.` may be missing.
    ClipText,
    /// An autoencoder: attention may have the names and the shape `[C, C, 1, 1]` of old files.
    Autoencoder,
}

impl Naming {
    /// The present name of the tensor that a file calls `name`.
    pub fn present(self, name: &str) -> String {
        match self {
            Self::ClipText if UNPREFIXED.iter().any(|part| name.starts_with(part)) => format!("{TEXT_PREFIX}{name}"),
            Self::Autoencoder if name.contains(MIDDLE) => {
                ATTENTION.iter().find(|(_, old)| name.contains(old)).map_or_else(|| name.to_owned(), |(new, old)| name.replace(old, new))
            }
            _ => name.to_owned(),
        }
    }

    /// The present shape of a tensor under its present name: attention of old autoencoders was a convolution of 1x1.
    pub fn shape(self, name: &str, shape: &[usize]) -> Vec<usize> {
        match shape {
            [rows, columns, 1, 1] if self == Self::Autoencoder && name.contains(MIDDLE) && ATTENTION.iter().any(|(new, _)| name.contains(new)) => {
                vec![*rows, *columns]
            }
            _ => shape.to_vec(),
        }
    }
}

/// Other names under which the parameter `name` may be found.
pub fn former_names(name: &str) -> Vec<String> {
    let mut names = Vec::new();
    if name.contains(MIDDLE) {
        names.extend(ATTENTION.iter().filter(|(new, _)| name.contains(new)).map(|(new, old)| name.replace(new, old)));
    }
    names.extend(name.strip_prefix(TEXT_PREFIX).map(str::to_owned));
    names
}

/// True for tensors that may be surplus in the file of any module.
pub fn is_ignored(name: &str) -> bool {
    IGNORED.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_all_versions_become_the_present_ones() {
        let attention = "decoder.mid_block.attentions.0.to_out.0.weight";
        for old in former_names(attention) {
            assert_eq!(Naming::Autoencoder.present(&old), attention, "{old}");
        }
        assert_eq!(Naming::Autoencoder.shape(attention, &[8, 8, 1, 1]), [8, 8]);
        assert_eq!(Naming::Autoencoder.shape("quant_conv.weight", &[8, 8, 1, 1]), [8, 8, 1, 1]);
        let embedding = "text_model.embeddings.token_embedding.weight";
        for name in former_names(embedding).iter().map(String::as_str).chain([embedding]) {
            assert_eq!(Naming::ClipText.present(name), embedding);
        }
        assert_eq!(Naming::ClipText.present("text_projection.weight"), "text_projection.weight");
        // The encoder of another network has a part of that name too.
        assert_eq!(Naming::Plain.present("encoder.layers.0.weight"), "encoder.layers.0.weight");
    }
}
