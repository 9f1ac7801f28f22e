//! diffusers' names of tensors in the original layout, that of the first release of Stable Diffusion.

/// One more level than any U-Net has that is accepted: more are not counted, because work grows with their square.
const MAX_LEVELS: usize = 17;

/// The blocks of a U-Net, which say the position of each of its layers in the original layout.
///
/// There the blocks are numbered through: `input_blocks.0` is the first convolution, and then each residual block (with
/// its transformer) and each downsampling has the next number; `output_blocks` likewise, where upsampling belongs to the
/// last block of its level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UNetBlocks {
    /// Residual blocks of each level of the contracting half, highest resolution first. The expanding half has one more.
    pub layers: Vec<usize>,
    /// Whether the residual blocks of each level of the expanding half have transformers, lowest resolution first.
    pub attention: Vec<bool>,
}

impl UNetBlocks {
    /// The blocks of a U-Net with these diffusers' names of tensors (or modules).
    pub fn of(has: impl Fn(&str) -> bool) -> Self {
        // Every count ends at the first name that is missing, so that no more names are asked for than there are.
        let count = |prefix: &str, suffix: &str| (0..).take_while(|index| has(&format!("{prefix}{index}{suffix}"))).count();
        let levels = count("down_blocks.", ".resnets.0.conv1.weight").min(MAX_LEVELS);
        Self {
            layers: (0..levels).map(|level| count(&format!("down_blocks.{level}.resnets."), ".conv1.weight")).collect(),
            attention: (0..levels).map(|index| has(&format!("up_blocks.{index}.attentions.0.norm.weight"))).collect(),
        }
    }

    /// The blocks of a U-Net in the original layout.
    pub fn of_original(has: impl Fn(&str) -> bool) -> Self {
        let mut layers = vec![0];
        for block in 1.. {
            if has(&format!("input_blocks.{block}.0.op.weight")) && layers.len() < MAX_LEVELS {
                layers.push(0);
            } else if has(&format!("input_blocks.{block}.0.in_layers.0.weight")) {
                *layers.last_mut().unwrap_or(&mut 0) += 1;
            } else {
                break;
            }
        }
        let mut blocks = Self { attention: vec![false; layers.len()], layers };
        blocks.attention =
            (0..blocks.layers.len()).map(|index| has(&format!("output_blocks.{}.1.norm.weight", blocks.first_output(index)))).collect();
        blocks
    }

    fn first_input(&self, level: usize) -> usize {
        1 + self.layers.iter().take(level).map(|layers| layers + 1).sum::<usize>()
    }

    fn first_output(&self, index: usize) -> usize {
        self.layers.iter().rev().take(index).map(|layers| layers + 1).sum()
    }

    /// The original name of the tensor or module with diffusers' name `name`, or none if the U-Net has no such block.
    pub fn original(&self, name: &str) -> Option<String> {
        let parts: Vec<&str> = name.split('.').collect();
        Some(match parts.as_slice() {
            ["conv_in", rest @ ..] => join("input_blocks.0.0", rest),
            ["time_embedding", "linear_1", rest @ ..] => join("time_embed.0", rest),
            ["time_embedding", "linear_2", rest @ ..] => join("time_embed.2", rest),
            ["add_embedding", "linear_1", rest @ ..] => join("label_emb.0.0", rest),
            ["add_embedding", "linear_2", rest @ ..] => join("label_emb.0.2", rest),
            ["conv_norm_out", rest @ ..] => join("out.0", rest),
            ["conv_out", rest @ ..] => join("out.2", rest),
            ["mid_block", "resnets", "0", rest @ ..] => resnet("middle_block.0", rest)?,
            ["mid_block", "attentions", "0", rest @ ..] => join("middle_block.1", rest),
            ["mid_block", "resnets", "1", rest @ ..] => resnet("middle_block.2", rest)?,
            ["down_blocks", level, kind, index, rest @ ..] => {
                let (level, index) = (level.parse::<usize>().ok()?, index.parse::<usize>().ok()?);
                let (first, layers) = (self.first_input(level), *self.layers.get(level)?);
                match (*kind, rest) {
                    ("resnets", rest) if index < layers => resnet(&format!("input_blocks.{}.0", first + index), rest)?,
                    ("attentions", rest) if index < layers => join(&format!("input_blocks.{}.1", first + index), rest),
                    ("downsamplers", ["conv", rest @ ..]) => join(&format!("input_blocks.{}.0.op", first + layers), rest),
                    _ => return None,
                }
            }
            ["up_blocks", block, kind, index, rest @ ..] => {
                let (block, index) = (block.parse::<usize>().ok()?, index.parse::<usize>().ok()?);
                let level = self.layers.len().checked_sub(block + 1)?;
                let (first, layers) = (self.first_output(block), self.layers[level]);
                match (*kind, rest) {
                    ("resnets", rest) if index <= layers => resnet(&format!("output_blocks.{}.0", first + index), rest)?,
                    ("attentions", rest) if index <= layers => join(&format!("output_blocks.{}.1", first + index), rest),
                    ("upsamplers", ["conv", rest @ ..]) => {
                        let position = if *self.attention.get(block)? { 2 } else { 1 };
                        join(&format!("output_blocks.{}.{position}.conv", first + layers), rest)
                    }
                    _ => return None,
                }
            }
            _ => return None,
        })
    }
}

/// The original name of an autoencoder's tensor with diffusers' name `name`, where the autoencoder has `levels` levels.
pub fn original_autoencoder(name: &str, levels: usize) -> Option<String> {
    let parts: Vec<&str> = name.split('.').collect();
    let (half, rest) = match parts.as_slice() {
        ["quant_conv" | "post_quant_conv", ..] => return Some(name.to_owned()),
        [half, rest @ ..] => (*half, rest),
        [] => return None,
    };
    let shortcut = |name: String| name.replace(".conv_shortcut.", ".nin_shortcut.");
    Some(match rest {
        ["conv_in" | "conv_out", ..] => name.to_owned(),
        ["conv_norm_out", rest @ ..] => join(&format!("{half}.norm_out"), rest),
        ["mid_block", "resnets", index, rest @ ..] => join(&format!("{half}.mid.block_{}", index.parse::<usize>().ok()? + 1), rest),
        ["mid_block", "attentions", "0", rest @ ..] => {
            let (module, rest) = match rest {
                ["group_norm", rest @ ..] => ("norm", rest),
                ["to_q", rest @ ..] => ("q", rest),
                ["to_k", rest @ ..] => ("k", rest),
                ["to_v", rest @ ..] => ("v", rest),
                ["to_out", "0", rest @ ..] => ("proj_out", rest),
                _ => return None,
            };
            join(&format!("{half}.mid.attn_1.{module}"), rest)
        }
        ["down_blocks", level, "resnets", index, rest @ ..] => shortcut(join(&format!("{half}.down.{level}.block.{index}"), rest)),
        ["down_blocks", level, "downsamplers", "0", rest @ ..] => join(&format!("{half}.down.{level}.downsample"), rest),
        // Numbered from the lowest resolution in diffusers, from the highest in the original layout.
        ["up_blocks", block, kind, index, rest @ ..] => {
            let level = levels.checked_sub(block.parse::<usize>().ok()? + 1)?;
            match *kind {
                "resnets" => shortcut(join(&format!("{half}.up.{level}.block.{index}"), rest)),
                "upsamplers" => join(&format!("{half}.up.{level}.upsample"), rest),
                _ => return None,
            }
        }
        _ => return None,
    })
}

/// The name of an autoencoder's tensor in files of diffusers before 0.18, if it was another one.
pub fn former_autoencoder(name: &str) -> Option<String> {
    if !name.contains(".mid_block.attentions.") {
        return None;
    }
    [(".to_q.", ".query."), (".to_k.", ".key."), (".to_v.", ".value."), (".to_out.0.", ".proj_attn.")]
        .into_iter()
        .find(|(new, _)| name.contains(new))
        .map(|(new, old)| name.replace(new, old))
}

/// Where a tensor is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// Under this name.
    Whole(String),
    /// One of the three equal parts of a joint tensor: 0 is the query, 1 the key, 2 the value.
    Third(String, usize),
    /// Under this name, with exchanged axes.
    Transposed(String),
}

/// Where OpenCLIP stores the text encoder's tensor with transformers' name `name`.
pub fn open_clip(name: &str) -> Option<Location> {
    let parts: Vec<&str> = name.split('.').collect();
    Some(Location::Whole(match parts.as_slice() {
        ["text_projection", "weight"] => return Some(Location::Transposed("text_projection".to_owned())),
        ["text_model", "embeddings", "token_embedding", "weight"] => "token_embedding.weight".to_owned(),
        ["text_model", "embeddings", "position_embedding", "weight"] => "positional_embedding".to_owned(),
        ["text_model", "final_layer_norm", rest @ ..] => join("ln_final", rest),
        ["text_model", "encoder", "layers", layer, rest @ ..] => {
            let block = format!("transformer.resblocks.{layer}");
            match rest {
                ["layer_norm1", rest @ ..] => join(&format!("{block}.ln_1"), rest),
                ["layer_norm2", rest @ ..] => join(&format!("{block}.ln_2"), rest),
                ["mlp", "fc1", rest @ ..] => join(&format!("{block}.mlp.c_fc"), rest),
                ["mlp", "fc2", rest @ ..] => join(&format!("{block}.mlp.c_proj"), rest),
                ["self_attn", "out_proj", rest @ ..] => join(&format!("{block}.attn.out_proj"), rest),
                ["self_attn", projection, kind] => {
                    let third = ["q_proj", "k_proj", "v_proj"].iter().position(|name| name == projection)?;
                    return Some(Location::Third(format!("{block}.attn.in_proj_{kind}"), third));
                }
                _ => return None,
            }
        }
        _ => return None,
    }))
}

fn join(start: &str, rest: &[&str]) -> String {
    rest.iter().fold(start.to_owned(), |name, part| name + "." + part)
}

/// The name of a residual block's tensor or module.
fn resnet(block: &str, rest: &[&str]) -> Option<String> {
    let (module, rest) = rest.split_first()?;
    let module = match *module {
        "norm1" => "in_layers.0",
        "conv1" => "in_layers.2",
        "time_emb_proj" => "emb_layers.1",
        "norm2" => "out_layers.0",
        "conv2" => "out_layers.3",
        "conv_shortcut" => "skip_connection",
        _ => return None,
    };
    Some(join(&format!("{block}.{module}"), rest))
}
