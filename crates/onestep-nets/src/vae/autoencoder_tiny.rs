//! diffusers' `AutoencoderTiny`, also known as TAESD.

use burn::{
    module::Module,
    nn::{
        PaddingConfig2d, Relu,
        conv::{Conv2d, Conv2dConfig},
        interpolate::{Interpolate2d, Interpolate2dConfig, InterpolateMode},
    },
    tensor::{Device, Tensor, activation::relu},
};

use onestep_pipeline::config::AutoencoderTinyConfig;

use crate::{Init, blocks::same_conv};

/// The decoder's input is limited softly to ±this.
const LATENT_LIMIT: f64 = 3.0;

/// A small autoencoder between images and latents, distilled from an [`AutoencoderKl`](crate::AutoencoderKl).
#[derive(Module, Debug)]
pub struct AutoencoderTiny {
    /// Image to latent.
    pub encoder: TinyEncoder,
    /// Latent to image.
    pub decoder: TinyDecoder,
    /// Factor to model space.
    pub scaling_factor: f64,
    /// Shift to model space.
    pub shift_factor: f64,
}

/// diffusers' `EncoderTiny`.
#[derive(Module, Debug)]
pub struct TinyEncoder {
    /// One after the other.
    pub layers: Vec<TinyLayer>,
}

/// diffusers' `DecoderTiny`.
#[derive(Module, Debug)]
pub struct TinyDecoder {
    /// One after the other.
    pub layers: Vec<TinyLayer>,
}

/// A layer of an [`AutoencoderTiny`]. Parameter names do not show the variant.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant, reason = "there are some thirty of it")]
pub enum TinyLayer {
    /// A 3x3 convolution.
    Conv(Conv2d),
    /// A residual block.
    Block(TinyBlock),
    /// ReLU.
    Relu(Relu),
    /// Nearest upsampling by 2.
    Upsample(Interpolate2d),
}

/// diffusers' `AutoencoderTinyBlock`: `relu(conv(x) + x)`.
#[derive(Module, Debug)]
pub struct TinyBlock {
    /// Three convolutions.
    pub conv: TinyBlockConvs,
}

/// The convolutions of a [`TinyBlock`], with ReLU between them.
#[derive(Module, Debug)]
pub struct TinyBlockConvs {
    /// `conv.0`.
    pub at_0: Conv2d,
    /// `conv.2`.
    pub at_2: Conv2d,
    /// `conv.4`.
    pub at_4: Conv2d,
}

impl Init for AutoencoderTinyConfig {
    type Network = AutoencoderTiny;

    fn init(&self, device: &Device) -> AutoencoderTiny {
        AutoencoderTiny::new(self, device)
    }
}

impl AutoencoderTiny {
    /// Initial weights; called by [`Init::init`].
    pub(crate) fn new(config: &AutoencoderTinyConfig, device: &Device) -> Self {
        Self {
            encoder: TinyEncoder::new(config, device),
            decoder: TinyDecoder::new(config, device),
            scaling_factor: config.scaling_factor,
            shift_factor: config.shift_factor.unwrap_or(0.0),
        }
    }

    /// `images` `[batch, in_channels, height, width]` within -1..1 to latents `[batch, latent_channels, h, w]`, not in model space.
    pub fn encode(&self, images: Tensor<4>) -> Tensor<4> {
        self.encoder.forward(images)
    }

    /// `latents` `[batch, latent_channels, h, w]`, not in model space, to images of about -1..1, not clamped.
    pub fn decode(&self, latents: Tensor<4>) -> Tensor<4> {
        self.decoder.forward(latents)
    }

    /// `(latents - shift_factor) * scaling_factor`.
    pub fn to_model_space(&self, latents: Tensor<4>) -> Tensor<4> {
        latents.sub_scalar(self.shift_factor).mul_scalar(self.scaling_factor)
    }

    /// `latents / scaling_factor + shift_factor`.
    pub fn from_model_space(&self, latents: Tensor<4>) -> Tensor<4> {
        latents.div_scalar(self.scaling_factor).add_scalar(self.shift_factor)
    }
}

impl TinyEncoder {
    fn new(config: &AutoencoderTinyConfig, device: &Device) -> Self {
        let channels = config.encoder_block_out_channels[0];
        let mut layers = Vec::new();
        for (level, &blocks) in config.num_encoder_blocks.iter().enumerate() {
            layers.push(TinyLayer::Conv(match level {
                0 => same_conv(config.in_channels, channels, 3, device),
                _ => unbiased(channels, 2, device),
            }));
            layers.extend((0..blocks).map(|_| TinyLayer::Block(TinyBlock::new(channels, device))));
        }
        layers.push(TinyLayer::Conv(same_conv(channels, config.latent_channels, 3, device)));
        Self { layers }
    }

    /// `images` `[batch, in_channels, height, width]` within -1..1 to latents `[batch, latent_channels, h, w]`.
    pub fn forward(&self, images: Tensor<4>) -> Tensor<4> {
        apply(&self.layers, images.add_scalar(1.0).div_scalar(2.0))
    }
}

impl TinyDecoder {
    fn new(config: &AutoencoderTinyConfig, device: &Device) -> Self {
        let channels = config.decoder_block_out_channels[0];
        let last = config.num_decoder_blocks.len() - 1;
        let mut layers = vec![TinyLayer::Conv(same_conv(config.latent_channels, channels, 3, device)), TinyLayer::Relu(Relu::new())];
        for (level, &blocks) in config.num_decoder_blocks.iter().enumerate() {
            layers.extend((0..blocks).map(|_| TinyLayer::Block(TinyBlock::new(channels, device))));
            if level == last {
                layers.push(TinyLayer::Conv(same_conv(channels, config.out_channels, 3, device)));
            } else {
                let twice = Interpolate2dConfig::new().with_scale_factor(Some([2.0, 2.0])).with_mode(InterpolateMode::Nearest);
                layers.push(TinyLayer::Upsample(twice.init()));
                layers.push(TinyLayer::Conv(unbiased(channels, 1, device)));
            }
        }
        Self { layers }
    }

    /// `latents` `[batch, latent_channels, h, w]`, softly limited to ±3, to images `[batch, out_channels, height, width]` of about -1..1.
    pub fn forward(&self, latents: Tensor<4>) -> Tensor<4> {
        let limited = latents.div_scalar(LATENT_LIMIT).tanh().mul_scalar(LATENT_LIMIT);
        apply(&self.layers, limited).mul_scalar(2.0).sub_scalar(1.0)
    }
}

/// A 3x3 convolution without bias that keeps the number of channels.
fn unbiased(channels: usize, stride: usize, device: &Device) -> Conv2d {
    let padding = PaddingConfig2d::Explicit(1, 1, 1, 1);
    Conv2dConfig::new([channels, channels], [3, 3]).with_stride([stride, stride]).with_padding(padding).with_bias(false).init(device)
}

fn apply(layers: &[TinyLayer], x: Tensor<4>) -> Tensor<4> {
    layers.iter().fold(x, |x, layer| match layer {
        TinyLayer::Conv(conv) => conv.forward(x),
        TinyLayer::Block(block) => block.forward(x),
        TinyLayer::Relu(activation) => activation.forward(x),
        TinyLayer::Upsample(upsample) => upsample.forward(x),
    })
}

impl TinyBlock {
    fn new(channels: usize, device: &Device) -> Self {
        let conv = || same_conv(channels, channels, 3, device);
        Self { conv: TinyBlockConvs { at_0: conv(), at_2: conv(), at_4: conv() } }
    }

    /// Keeps the shape of `x`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let TinyBlockConvs { at_0, at_2, at_4 } = &self.conv;
        let residual = at_4.forward(relu(at_2.forward(relu(at_0.forward(x.clone())))));
        relu(residual + x)
    }
}
