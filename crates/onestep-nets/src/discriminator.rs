//! The discriminator: the teacher's U-Net with classification heads at every scale (Diffusion2GAN, section 3.2).

use burn::{
    module::{Module, Param},
    nn::{
        GroupNorm, GroupNormConfig, Initializer, PaddingConfig2d,
        conv::{Conv2d, Conv2dConfig},
    },
    tensor::{DType, Device, Tensor, activation::silu, module::adaptive_avg_pool2d},
};

use onestep_pipeline::config::UNet2DConditionConfig;

use crate::{
    blocks::{TimestepEmbedding, same_conv},
    conditioning::Conditioning,
    precision::{cast, group_norm},
    unet::{DownBlock, MidBlock, TimeFeatures, UNet2DConditionModel, UpBlock},
};

/// The timestep that conditions the U-Net: latents are clean.
const TIMESTEP: f32 = 0.0;
/// Standard deviation of a readout's initial weights.
const READOUT_DEVIATION: f64 = 0.02;

/// The optional parts of a discriminator; the paper's final model has all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiscriminatorParts {
    /// True to condition it on the noise z that the latent was generated from.
    pub noise: bool,
    /// True to add downsampled latents at every level and to read out every scale; false to read out the highest resolution only.
    pub scales: bool,
}

/// `D(c, z, x)`: classifies whether the latent x is the teacher's for the text c and the noise z, with one logit per pixel of every readout.
#[derive(Module, Debug)]
pub struct Discriminator {
    /// The teacher's first convolution.
    pub conv_in: Conv2d,
    /// The convolution of the noise, added to the result of `conv_in`; initially zeros.
    pub conv_noise: Option<Conv2d>,
    /// For each level below the first: the convolution of the downsampled latent, added to the level's input; initially zeros.
    pub conv_resized: Vec<Conv2d>,
    /// The teacher's time embedding.
    pub time_embedding: TimestepEmbedding,
    /// The teacher's embedding of pooled text and time ids (`text_time`).
    pub add_embedding: Option<TimestepEmbedding>,
    /// The teacher's contracting blocks.
    pub down_blocks: Vec<DownBlock>,
    /// The teacher's middle block.
    pub mid_block: MidBlock,
    /// The teacher's expanding blocks, lowest resolution first.
    pub up_blocks: Vec<UpBlock>,
    /// Classification heads by scale, lowest resolution first.
    pub readouts: Vec<Readouts>,
    /// The teacher's `center_input_sample`: true if latents are scaled from 0…1 to −1…1.
    pub center_input_sample: bool,
    /// The teacher's features of timestep and time ids.
    #[module(skip)]
    pub time_features: TimeFeatures,
}

/// The three readouts of a scale: before, at and after the skip connection.
#[derive(Module, Debug)]
pub struct Readouts {
    /// Reads the first skip tensor of the scale.
    pub skip: Option<Readout>,
    /// Reads the result of the first block, which gets that skip tensor.
    pub joined: Option<Readout>,
    /// Reads the result of the last block, before upsampling.
    pub main: Readout,
}

/// A classification head: group norm, SiLU and a 3x3 convolution to one channel.
#[derive(Module, Debug)]
pub struct Readout {
    /// The group norm.
    pub norm: GroupNorm,
    /// The convolution to one logit per pixel.
    pub conv: Conv2d,
}

impl Readout {
    fn new(channels: usize, groups: usize, device: &Device) -> Self {
        let groups = (1..=groups.min(channels)).rev().find(|groups| channels.is_multiple_of(*groups)).unwrap_or(1);
        let conv = Conv2dConfig::new([channels, 1], [3, 3])
            .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
            .with_initializer(Initializer::Normal { mean: 0.0, std: READOUT_DEVIATION });
        let conv = Conv2d { bias: Some(Initializer::Zeros.init([1], device)), ..conv.init(device) };
        Self { norm: GroupNormConfig::new(groups, channels).init(device), conv }
    }

    /// `[batch, channels, height, width]` to logits `[batch, 1, height, width]`, in f32.
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        cast(self.conv.forward(silu(group_norm(&self.norm, x))), DType::F32)
    }
}

/// A 3x3 convolution with weights of zeros, which adds nothing before training.
fn zero_conv(input: usize, output: usize, device: &Device) -> Conv2d {
    let conv = same_conv(input, output, 3, device);
    let zeros = |shape: [usize; 4]| Param::from_tensor(Tensor::zeros(shape, device));
    Conv2d { weight: zeros([output, input, 3, 3]), bias: Some(Param::from_tensor(Tensor::zeros([output], device))), ..conv }
}

impl Discriminator {
    /// A discriminator with the weights of `teacher`, which has the configuration `config`. The teacher's last norm and convolution are dropped.
    pub fn new(teacher: UNet2DConditionModel, config: &UNet2DConditionConfig, parts: DiscriminatorParts, device: &Device) -> Self {
        let channels = &config.block_out_channels;
        let levels = channels.len();
        let conv_resized = (1..levels)
            .filter(|_| parts.scales)
            // A level's input has the channels of the level above.
            .map(|level| zero_conv(config.in_channels, channels[level - 1], device))
            .collect();
        let readouts = (0..levels)
            .filter(|up| parts.scales || up + 1 == levels)
            .map(|up| {
                let here = channels[levels - 1 - up];
                let readout = |exists: bool| exists.then(|| Readout::new(here, config.norm_num_groups, device));
                Readouts { skip: readout(parts.scales), joined: readout(parts.scales), main: Readout::new(here, config.norm_num_groups, device) }
            })
            .collect();
        Self {
            conv_in: teacher.conv_in,
            conv_noise: parts.noise.then(|| zero_conv(config.in_channels, channels[0], device)),
            conv_resized,
            time_embedding: teacher.time_embedding,
            add_embedding: teacher.add_embedding,
            down_blocks: teacher.down_blocks,
            mid_block: teacher.mid_block,
            up_blocks: teacher.up_blocks,
            readouts,
            center_input_sample: teacher.center_input_sample,
            time_features: teacher.time_features,
        }
    }

    /// The logits of every readout, `[batch, 1, h, w]` each, in the order of [`readout_names`](Self::readout_names).
    ///
    /// - `x`: latents `[batch, channels, height, width]`;
    /// - `z`: the noise that they were generated from, of the same shape;
    /// - `conditions`: those of the U-Net's [`forward`](UNet2DConditionModel::forward).
    ///
    /// It computes in the element type of its weights; logits are f32.
    ///
    /// # Panics
    /// If shapes do not fit, or the added conditions are needed and missing.
    pub fn forward(&self, x: Tensor<4>, z: Tensor<4>, conditions: &Conditioning) -> Vec<Tensor<4>> {
        let dtype = self.conv_in.weight.dtype();
        let (x, z, text) = (cast(x, dtype), cast(z, dtype), &cast(conditions.states.clone(), dtype));
        let x = if self.center_input_sample { x.mul_scalar(2.0).sub_scalar(1.0) } else { x };
        let time = Tensor::<1>::from_data([TIMESTEP], (&x.device(), DType::F32));
        let time = self.time_features.embed(&self.time_embedding, self.add_embedding.as_ref(), time, conditions, dtype);
        let mut hidden = self.conv_in.forward(x.clone());
        if let Some(conv) = &self.conv_noise {
            hidden = hidden + conv.forward(z);
        }
        let mut skips = vec![hidden.clone()];
        let mut resized = x;
        for (level, block) in self.down_blocks.iter().enumerate() {
            if let Some(conv) = level.checked_sub(1).and_then(|below| self.conv_resized.get(below)) {
                // Averages of 2x2 pixels; if the size is odd, some overlap by a row or column.
                let [_, _, height, width] = hidden.dims();
                resized = adaptive_avg_pool2d(resized, [height, width]);
                hidden = hidden + conv.forward(resized.clone());
            }
            hidden = block.forward(hidden, &time, text, &mut skips);
        }
        hidden = self.mid_block.forward(hidden, &time, text);

        let unread = self.up_blocks.len() - self.readouts.len();
        let mut logits = Vec::new();
        for (up, block) in self.up_blocks.iter().enumerate() {
            let readouts = up.checked_sub(unread).map(|scale| &self.readouts[scale]);
            let of = |readout: Option<&Readout>, x: &Tensor<4>| readout.map(|readout| readout.forward(x.clone()));
            for step in 0..block.resnets.len() {
                let skip = skips.pop();
                if step == 0
                    && let (Some(readouts), Some(skip)) = (readouts, &skip)
                {
                    logits.extend(of(readouts.skip.as_ref(), skip));
                }
                hidden = block.join(step, hidden, skip, &time, text);
                if step == 0
                    && let Some(readouts) = readouts
                {
                    logits.extend(of(readouts.joined.as_ref(), &hidden));
                }
            }
            if let Some(readouts) = readouts {
                logits.push(readouts.main.forward(hidden.clone()));
            }
            hidden = block.enlarge(hidden, &skips);
        }
        logits
    }

    /// The scale (0 for the lowest resolution) and the name (`skip`, `joined` or `main`) of each readout, in the order of
    /// [`forward`](Self::forward)'s result.
    pub fn readout_names(&self) -> Vec<(usize, &'static str)> {
        let unread = self.up_blocks.len() - self.readouts.len();
        let of = |(scale, readouts): (usize, &Readouts)| {
            let names = [(readouts.skip.is_some(), "skip"), (readouts.joined.is_some(), "joined"), (true, "main")];
            names.into_iter().filter(|(exists, _)| *exists).map(move |(_, name)| (unread + scale, name))
        };
        self.readouts.iter().enumerate().flat_map(of).collect()
    }
}
