//! The tensors that a configuration implies: diffusers' and transformers' names with their shapes.
//!
//! Each function calls `visit` with every name and shape, in the order in which the network is computed, and stops at
//! the first error. Nothing is collected, so that a configuration which asks for a million tensors costs no memory.

use crate::config::{AutoencoderKlConfig, ClipTextConfig, DownBlockType, UNet2DConditionConfig, UpBlockType};

/// Takes the name and the shape of a tensor.
pub type Visit<'a, E> = dyn FnMut(&str, &[usize]) -> Result<(), E> + 'a;

/// The tensors of a U-Net.
///
/// # Errors
/// The first error of `visit`.
pub fn unet_tensors<E>(config: &UNet2DConditionConfig, visit: &mut Visit<'_, E>) -> Result<(), E> {
    let channels = &config.block_out_channels;
    let (levels, first) = (channels.len(), channels.first().copied().unwrap_or(0));
    let last = levels.saturating_sub(1);
    let time = config.time_embedding_dim.unwrap_or(4 * first);
    let layers = |level: usize| config.layers_per_block.get(level).unwrap_or(0);
    let mut tensors = Tensors { visit };
    tensors.convolution("conv_in", config.conv_in_kernel, config.in_channels, first)?;
    tensors.linear("time_embedding.linear_1", first, time)?;
    if let Some(guidance) = config.time_cond_proj_dim {
        tensors.one("time_embedding.cond_proj.weight", &[first, guidance])?;
    }
    tensors.linear("time_embedding.linear_2", time, time)?;
    if let (Some(_), Some(all)) = (&config.addition_embed_type, config.projection_class_embeddings_input_dim) {
        tensors.linear("add_embedding.linear_1", all, time)?;
        tensors.linear("add_embedding.linear_2", time, time)?;
    }
    let mut input = first;
    for (level, &width) in channels.iter().enumerate() {
        let block = format!("down_blocks.{level}");
        for layer in 0..layers(level) {
            tensors.resnet(&format!("{block}.resnets.{layer}"), input, width, Some(time))?;
            if config.down_block_types.get(level) == Some(&DownBlockType::CrossAttn) {
                tensors.transformer(&format!("{block}.attentions.{layer}"), config, level)?;
            }
            input = width;
        }
        if level != last {
            tensors.convolution(&format!("{block}.downsamplers.0.conv"), 3, width, width)?;
        }
    }
    tensors.resnet("mid_block.resnets.0", input, input, Some(time))?;
    tensors.transformer("mid_block.attentions.0", config, last)?;
    tensors.resnet("mid_block.resnets.1", input, input, Some(time))?;
    for index in 0..levels {
        let block = format!("up_blocks.{index}");
        let level = last - index;
        let width = channels[level];
        for layer in 0..=layers(level) {
            // The skips of a level come in reverse: the last of them is what entered the level.
            let skip = if layer == layers(level) { channels[level.saturating_sub(1)] } else { width };
            tensors.resnet(&format!("{block}.resnets.{layer}"), input + skip, width, Some(time))?;
            if config.up_block_types.get(index) == Some(&UpBlockType::CrossAttn) {
                tensors.transformer(&format!("{block}.attentions.{layer}"), config, level)?;
            }
            input = width;
        }
        if index != last {
            tensors.convolution(&format!("{block}.upsamplers.0.conv"), 3, width, width)?;
        }
    }
    tensors.norm("conv_norm_out", first)?;
    tensors.convolution("conv_out", config.conv_out_kernel, first, config.out_channels)
}

/// The tensors of an autoencoder.
///
/// # Errors
/// The first error of `visit`.
pub fn autoencoder_tensors<E>(config: &AutoencoderKlConfig, visit: &mut Visit<'_, E>) -> Result<(), E> {
    let channels = &config.block_out_channels;
    let (first, deepest, latent) = (channels.first().copied().unwrap_or(0), channels.last().copied().unwrap_or(0), config.latent_channels);
    let last = channels.len().saturating_sub(1);
    let mut tensors = Tensors { visit };
    tensors.convolution("encoder.conv_in", 3, config.in_channels, first)?;
    let mut input = first;
    for (level, &width) in channels.iter().enumerate() {
        let block = format!("encoder.down_blocks.{level}");
        for layer in 0..config.layers_per_block {
            tensors.resnet(&format!("{block}.resnets.{layer}"), input, width, None)?;
            input = width;
        }
        if level != last {
            tensors.convolution(&format!("{block}.downsamplers.0.conv"), 3, width, width)?;
        }
    }
    tensors.autoencoder_middle("encoder", deepest, config.mid_block_add_attention)?;
    tensors.norm("encoder.conv_norm_out", deepest)?;
    tensors.convolution("encoder.conv_out", 3, deepest, 2 * latent)?;
    if config.use_quant_conv {
        tensors.convolution("quant_conv", 1, 2 * latent, 2 * latent)?;
    }
    if config.use_post_quant_conv {
        tensors.convolution("post_quant_conv", 1, latent, latent)?;
    }
    tensors.convolution("decoder.conv_in", 3, latent, deepest)?;
    tensors.autoencoder_middle("decoder", deepest, config.mid_block_add_attention)?;
    let mut input = deepest;
    for (index, &width) in channels.iter().rev().enumerate() {
        let block = format!("decoder.up_blocks.{index}");
        for layer in 0..=config.layers_per_block {
            tensors.resnet(&format!("{block}.resnets.{layer}"), input, width, None)?;
            input = width;
        }
        if index != last {
            tensors.convolution(&format!("{block}.upsamplers.0.conv"), 3, width, width)?;
        }
    }
    tensors.norm("decoder.conv_norm_out", first)?;
    tensors.convolution("decoder.conv_out", 3, first, config.out_channels)
}

/// The tensors of a text encoder, with the prefix `text_model.`.
///
/// # Errors
/// The first error of `visit`.
pub fn text_encoder_tensors<E>(config: &ClipTextConfig, visit: &mut Visit<'_, E>) -> Result<(), E> {
    let (width, inner) = (config.hidden_size, config.intermediate_size);
    let mut tensors = Tensors { visit };
    tensors.one("text_model.embeddings.token_embedding.weight", &[config.vocab_size, width])?;
    tensors.one("text_model.embeddings.position_embedding.weight", &[config.max_position_embeddings, width])?;
    for layer in 0..config.num_hidden_layers {
        let layer = format!("text_model.encoder.layers.{layer}");
        tensors.norm(&format!("{layer}.layer_norm1"), width)?;
        for projection in ["q_proj", "k_proj", "v_proj", "out_proj"] {
            tensors.linear(&format!("{layer}.self_attn.{projection}"), width, width)?;
        }
        tensors.norm(&format!("{layer}.layer_norm2"), width)?;
        tensors.linear(&format!("{layer}.mlp.fc1"), width, inner)?;
        tensors.linear(&format!("{layer}.mlp.fc2"), inner, width)?;
    }
    tensors.norm("text_model.final_layer_norm", width)?;
    if config.with_projection {
        tensors.one("text_projection.weight", &[config.projection_dim, width])?;
    }
    Ok(())
}

/// Calls `visit` for the tensors of layers and blocks.
struct Tensors<'a, 'b, E> {
    visit: &'a mut Visit<'b, E>,
}

impl<E> Tensors<'_, '_, E> {
    fn one(&mut self, name: &str, shape: &[usize]) -> Result<(), E> {
        (self.visit)(name, shape)
    }

    fn with_bias(&mut self, name: &str, shape: &[usize]) -> Result<(), E> {
        self.one(&format!("{name}.weight"), shape)?;
        self.one(&format!("{name}.bias"), &shape[..1])
    }

    fn norm(&mut self, name: &str, channels: usize) -> Result<(), E> {
        self.with_bias(name, &[channels])
    }

    fn linear(&mut self, name: &str, input: usize, output: usize) -> Result<(), E> {
        self.with_bias(name, &[output, input])
    }

    fn convolution(&mut self, name: &str, kernel: usize, input: usize, output: usize) -> Result<(), E> {
        self.with_bias(name, &[output, input, kernel, kernel])
    }

    fn resnet(&mut self, name: &str, input: usize, output: usize, time: Option<usize>) -> Result<(), E> {
        self.norm(&format!("{name}.norm1"), input)?;
        self.convolution(&format!("{name}.conv1"), 3, input, output)?;
        if let Some(time) = time {
            self.linear(&format!("{name}.time_emb_proj"), time, output)?;
        }
        self.norm(&format!("{name}.norm2"), output)?;
        self.convolution(&format!("{name}.conv2"), 3, output, output)?;
        if input != output {
            self.convolution(&format!("{name}.conv_shortcut"), 1, input, output)?;
        }
        Ok(())
    }

    /// The transformer of a level of the U-Net.
    fn transformer(&mut self, name: &str, config: &UNet2DConditionConfig, level: usize) -> Result<(), E> {
        let width = config.block_out_channels[level];
        let text = config.cross_attention_dim.get(level).unwrap_or(0);
        let around = |tensors: &mut Self, name: String| match config.use_linear_projection {
            true => tensors.linear(&name, width, width),
            false => tensors.convolution(&name, 1, width, width),
        };
        self.norm(&format!("{name}.norm"), width)?;
        around(self, format!("{name}.proj_in"))?;
        for block in 0..config.transformer_layers_per_block.get(level).unwrap_or(0) {
            let block = format!("{name}.transformer_blocks.{block}");
            for (attention, source) in [("attn1", width), ("attn2", text)] {
                self.one(&format!("{block}.{attention}.to_q.weight"), &[width, width])?;
                self.one(&format!("{block}.{attention}.to_k.weight"), &[width, source])?;
                self.one(&format!("{block}.{attention}.to_v.weight"), &[width, source])?;
                self.linear(&format!("{block}.{attention}.to_out.0"), width, width)?;
            }
            self.linear(&format!("{block}.ff.net.0.proj"), width, 8 * width)?;
            self.linear(&format!("{block}.ff.net.2"), 4 * width, width)?;
            for norm in ["norm1", "norm2", "norm3"] {
                self.norm(&format!("{block}.{norm}"), width)?;
            }
        }
        around(self, format!("{name}.proj_out"))
    }

    /// The middle of the autoencoder's encoder or decoder.
    fn autoencoder_middle(&mut self, half: &str, width: usize, attention: bool) -> Result<(), E> {
        self.resnet(&format!("{half}.mid_block.resnets.0"), width, width, None)?;
        if attention {
            let name = format!("{half}.mid_block.attentions.0");
            self.norm(&format!("{name}.group_norm"), width)?;
            for projection in ["to_q", "to_k", "to_v", "to_out.0"] {
                self.linear(&format!("{name}.{projection}"), width, width)?;
            }
        }
        self.resnet(&format!("{half}.mid_block.resnets.1"), width, width, None)
    }
}
