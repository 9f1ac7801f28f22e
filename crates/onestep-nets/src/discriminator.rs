//! The discriminator: the teacher's denoiser, asked at every scale whether a latent is the teacher's (Diffusion2GAN, section 3.2).

use burn::{
    module::{Module, Param},
    nn::{
        GroupNorm, GroupNormConfig, Initializer, PaddingConfig2d,
        conv::{Conv2d, Conv2dConfig},
        pool::AvgPool2dConfig,
    },
    tensor::{DType, Device, Tensor, activation::silu},
};

use crate::{
    blocks::{TimestepEmbedding, same_conv},
    precision::{cast, group_norm},
    unet::{DownBlock, MidBlock, UNet2DConditionConfig, UNet2DConditionModel, UpBlock},
};

/// Clean latents are what it sees, so this is the timestep that it is told.
const TIMESTEP: f32 = 0.0;
/// Standard deviation of a readout's first weights.
const READOUT_DEVIATION: f64 = 0.02;

/// Which parts it has; all of them in the paper's final model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiscriminatorParts {
    /// Whether it sees the noise that the latent was drawn from.
    pub noise: bool,
    /// Whether smaller copies of the latent join at every level, and every scale is read; otherwise the highest scale's result alone.
    pub scales: bool,
}

/// `D(c, z, x)`: is the latent x the teacher's image of the text c from the noise z? One answer for every place of every readout.
#[derive(Module, Debug)]
pub struct Discriminator {
    /// The teacher's first convolution.
    pub conv_in: Conv2d,
    /// The noise's, joined to it; zeros at first.
    pub conv_noise: Option<Conv2d>,
    /// For each level below the first: the latent averaged down to its size, joined to its input; zeros at first.
    pub conv_resized: Vec<Conv2d>,
    /// The teacher's.
    pub time_embedding: TimestepEmbedding,
    /// The teacher's.
    pub down_blocks: Vec<DownBlock>,
    /// The teacher's.
    pub mid_block: MidBlock,
    /// The teacher's, lowest resolution first.
    pub up_blocks: Vec<UpBlock>,
    /// Readouts, lowest resolution first.
    pub readouts: Vec<Readouts>,
    /// Of the teacher: whether latents in 0…1 are first brought to −1…1.
    pub center_input_sample: bool,
    /// Of the teacher.
    pub flip_sin_to_cos: bool,
    /// Of the teacher.
    pub freq_shift: f64,
    /// Of the teacher.
    pub time_features: usize,
}

/// The three readouts of a scale: before, at and behind the skip connection.
#[derive(Module, Debug)]
pub struct Readouts {
    /// Of the first skip tensor that the scale takes.
    pub skip: Option<Readout>,
    /// Of the first block's result, which has seen it.
    pub joined: Option<Readout>,
    /// Of the last block's result, before it is enlarged.
    pub main: Readout,
}

/// GroupNorm, SiLU, a 3x3 convolution to one channel.
#[derive(Module, Debug)]
pub struct Readout {
    /// Brings every group of channels to one scale.
    pub norm: GroupNorm,
    /// To a logit for each place.
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

/// A convolution that adds nothing until it has been trained.
fn zero_conv(input: usize, output: usize, device: &Device) -> Conv2d {
    let conv = same_conv(input, output, 3, device);
    let zeros = |shape: [usize; 4]| Param::from_tensor(Tensor::zeros(shape, device));
    Conv2d { weight: zeros([output, input, 3, 3]), bias: Some(Param::from_tensor(Tensor::zeros([output], device))), ..conv }
}

impl Discriminator {
    /// With the teacher's weights, whose configuration is `config`. The teacher's last norm and convolution are dropped.
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
                let readout = |wanted: bool| wanted.then(|| Readout::new(here, config.norm_num_groups, device));
                Readouts { skip: readout(parts.scales), joined: readout(parts.scales), main: Readout::new(here, config.norm_num_groups, device) }
            })
            .collect();
        Self {
            conv_in: teacher.conv_in,
            conv_noise: parts.noise.then(|| zero_conv(config.in_channels, channels[0], device)),
            conv_resized,
            time_embedding: teacher.time_embedding,
            down_blocks: teacher.down_blocks,
            mid_block: teacher.mid_block,
            up_blocks: teacher.up_blocks,
            readouts,
            center_input_sample: teacher.center_input_sample,
            flip_sin_to_cos: teacher.flip_sin_to_cos,
            freq_shift: teacher.freq_shift,
            time_features: teacher.time_features,
        }
    }

    /// Logits of every readout, lowest resolution first, within a scale before, at and behind the skip: `[batch, 1, h, w]` each.
    ///
    /// - `x`: latents `[batch, channels, height, width]`; height and width halve evenly down to the lowest level;
    /// - `z`: the noise that they were drawn from, of the same shape;
    /// - `text`: `[batch, tokens, features]`.
    ///
    /// It computes in the element type of its weights; logits are f32.
    pub fn forward(&self, x: Tensor<4>, z: Tensor<4>, text: &Tensor<3>) -> Vec<Tensor<4>> {
        let dtype = self.conv_in.weight.dtype();
        let (x, z, text) = (cast(x, dtype), cast(z, dtype), &cast(text.clone(), dtype));
        let x = if self.center_input_sample { x.mul_scalar(2.0).sub_scalar(1.0) } else { x };
        let time = self.embed(&x);
        let mut hidden = self.conv_in.forward(x.clone());
        if let Some(conv) = &self.conv_noise {
            hidden = hidden + conv.forward(z);
        }
        let mut skips = vec![hidden.clone()];
        let mut resized = x;
        for (level, block) in self.down_blocks.iter().enumerate() {
            if let Some(conv) = level.checked_sub(1).and_then(|below| self.conv_resized.get(below)) {
                resized = AvgPool2dConfig::new([2, 2]).with_strides([2, 2]).init().forward(resized);
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

    /// What the logits of [`forward`](Self::forward) are of, in their order: the scale, 0 for the lowest resolution, and where in it.
    pub fn places(&self) -> Vec<(usize, &'static str)> {
        let unread = self.up_blocks.len() - self.readouts.len();
        let of = |(scale, readouts): (usize, &Readouts)| {
            let places = [(readouts.skip.is_some(), "skip"), (readouts.joined.is_some(), "joined"), (true, "main")];
            places.into_iter().filter(|place| place.0).map(move |place| (unread + scale, place.1))
        };
        self.readouts.iter().enumerate().flat_map(of).collect()
    }

    /// The embedding of the timestep 0, after SiLU, in the element type of `like`.
    fn embed(&self, like: &Tensor<4>) -> Tensor<2> {
        let time = Tensor::<1>::from_data([TIMESTEP], &like.device());
        let features = crate::timestep_features(time, self.time_features, self.flip_sin_to_cos, self.freq_shift);
        silu(self.time_embedding.forward(cast(features, like.dtype())))
    }
}
