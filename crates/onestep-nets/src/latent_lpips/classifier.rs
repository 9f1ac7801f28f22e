//! The classifier that the features are trained with.

use burn::{
    module::Module,
    nn::{Linear, LinearConfig},
    tensor::{Device, Tensor},
};

use super::{FEATURES, LatentLpipsConfig, LatentVgg};

/// The feature network with a linear classifier on the spatial means of its last feature.
///
/// The published feature networks were trained with VGG's three layers of 4096 channels, more than a hundred million parameters that are
/// discarded after training; one layer is enough to train features.
#[derive(Module, Debug)]
pub struct LatentClassifier {
    /// The feature network, which the metric uses.
    pub net: LatentVgg,
    /// The classifier, which is discarded after training.
    pub classifier: Linear,
}

impl LatentClassifier {
    /// Initial weights for `classes` labels; everything except the statistics of batch norms is trained.
    pub fn new(config: &LatentLpipsConfig, classes: usize, device: &Device) -> Self {
        let [.., last] = config.widths;
        Self { net: LatentVgg::new(config, device).trainable(), classifier: LinearConfig::new(last, classes).init(device) }
    }

    /// The logits `[batch, classes]` of latents `[batch, in_channels, height, width]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        self.logits(self.net.forward(x))
    }

    /// Like [`forward`](Self::forward) but, for training, batch norms use the statistics of `x`.
    pub fn forward_unfrozen(&self, x: Tensor<4>) -> Tensor<2> {
        self.logits(self.net.forward_unfrozen(x))
    }

    fn logits(&self, [.., last]: [Tensor<4>; FEATURES]) -> Tensor<2> {
        let [batch, channels, height, width] = last.dims();
        self.classifier.forward(last.reshape([batch, channels, height * width]).mean_dim(2).reshape([batch, channels]))
    }
}
