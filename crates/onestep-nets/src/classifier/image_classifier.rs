//! The classifier of images.

use burn::{
    module::Module,
    nn::{
        GroupNorm, GroupNormConfig, Linear, LinearConfig, PaddingConfig2d,
        conv::{Conv2d, Conv2dConfig},
    },
    tensor::{Device, Tensor, activation::silu},
};

use super::ImageClassifierConfig;

/// Convolutions of one level, each followed by its normalisation and SiLU; the first halves height and width.
#[derive(Module, Debug)]
pub struct ClassifierLevel {
    /// 3x3, the first of stride 2.
    pub convs: Vec<Conv2d>,
    /// One for each convolution.
    pub norms: Vec<GroupNorm>,
}

impl ClassifierLevel {
    fn new(input: usize, output: usize, config: &ImageClassifierConfig, device: &Device) -> Self {
        let conv = |layer: usize| {
            let (input, stride) = if layer == 0 { (input, 2) } else { (output, 1) };
            Conv2dConfig::new([input, output], [3, 3]).with_stride([stride; 2]).with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1)).init(device)
        };
        let norm = |_| GroupNormConfig::new(config.norm_num_groups, output).init(device);
        Self { convs: (0..config.layers_per_block).map(conv).collect(), norms: (0..config.layers_per_block).map(norm).collect() }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.convs.iter().zip(&self.norms).fold(x, |x, (conv, norm)| silu(norm.forward(conv.forward(x))))
    }
}

/// Levels of convolutions, the mean over all places, a layer of features and a linear head.
#[derive(Module, Debug)]
pub struct ImageClassifier {
    /// Levels, highest resolution first.
    pub levels: Vec<ClassifierLevel>,
    /// From the mean of the last level to the features, before their SiLU.
    pub penultimate: Linear,
    /// From the features to one logit per class.
    pub head: Linear,
}

impl ImageClassifierConfig {
    /// A network with initial weights.
    ///
    /// # Panics
    /// If the configuration would not pass [`Self::validate`].
    pub fn init(&self, device: &Device) -> ImageClassifier {
        ImageClassifier::new(self, device)
    }
}

impl ImageClassifier {
    pub(crate) fn new(config: &ImageClassifierConfig, device: &Device) -> Self {
        let channels = &config.block_out_channels;
        let before = |level: usize| if level == 0 { config.in_channels } else { channels[level - 1] };
        Self {
            levels: (0..channels.len()).map(|level| ClassifierLevel::new(before(level), channels[level], config, device)).collect(),
            penultimate: LinearConfig::new(channels[channels.len() - 1], config.feature_size).init(device),
            head: LinearConfig::new(config.feature_size, config.names.len()).init(device),
        }
    }

    /// Images `[batch, channels, height, width]` in -1..1 to features `[batch, features]`.
    pub fn features(&self, images: Tensor<4>) -> Tensor<2> {
        let x = self.levels.iter().fold(images, |x, level| level.forward(x));
        let [batch, channels, height, width] = x.dims();
        let mean = x.reshape([batch, channels, height * width]).mean_dim(2).reshape([batch, channels]);
        silu(self.penultimate.forward(mean))
    }

    /// Features to logits `[batch, classes]`.
    pub fn logits(&self, features: Tensor<2>) -> Tensor<2> {
        self.head.forward(features)
    }
}
