//! Names in older files, and buffers that are ignored.

/// The autoencoder's attention was named differently in diffusers before 0.18.
const ATTENTION: &[(&str, &str)] = &[(".to_q.", ".query."), (".to_k.", ".key."), (".to_v.", ".value."), (".to_out.0.", ".proj_attn.")];

/// Buffers that old versions of transformers saved: the numbers 0, 1, 2, ….
const IGNORED: &[&str] = &["text_model.embeddings.position_ids", "vision_model.embeddings.position_ids", "embeddings.position_ids"];

/// Other names under which the parameter `name` may be found.
pub(super) fn former_names(name: &str) -> Vec<String> {
    let mut names = Vec::new();
    if name.contains("mid_block.attentions.") {
        names.extend(ATTENTION.iter().filter(|(new, _)| name.contains(new)).map(|(new, old)| name.replace(new, old)));
    }
    names.extend(name.strip_prefix("text_model.").map(str::to_owned));
    names
}

/// The name of PyTorch's batch counter of the batch normalisation that has the statistics `name`.
pub(super) fn batch_counter(name: &str) -> Option<String> {
    name.strip_suffix("running_mean").map(|module| format!("{module}num_batches_tracked"))
}

/// True for tensors that may be surplus in the file of any module.
pub(super) fn is_ignored(name: &str) -> bool {
    IGNORED.contains(&name)
}
