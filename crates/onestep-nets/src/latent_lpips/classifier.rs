//! What the features are learned by: naming what a latent shows.

use burn::{
    module::Module,
    nn::{Linear, LinearConfig},
    tensor::{Device, Tensor},
};

use super::{FEATURES, LatentLpipsConfig, LatentVgg};

/// The network of the metric with a linear layer on the means of its last feature.
///
/// The published trunks were trained with VGG's three layers of 4096, which are more than a hundred million parameters and are thrown away
/// afterwards; one layer is enough for features.
#[derive(Module, Debug)]
pub struct LatentClassifier {
    /// What the metric keeps.
    pub net: LatentVgg,
    /// Thrown away.
    pub classifier: Linear,
}

impl LatentClassifier {
    /// Fresh weights for `classes` labels; everything but the statistics of batch norms is trained.
    pub fn new(config: &LatentLpipsConfig, classes: usize, device: &Device) -> Self {
        let [.., last] = config.widths;
        Self { net: LatentVgg::new(config, device).trainable(), classifier: LinearConfig::new(last, classes).init(device) }
    }

    /// Latents `[batch, in_channels, height, width]` give logits `[batch, classes]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        self.logits(self.net.forward(x))
    }

    /// As [`forward`](Self::forward) in training: batch norms go by the statistics of `x`.
    pub fn forward_unfrozen(&self, x: Tensor<4>) -> Tensor<2> {
        self.logits(self.net.forward_unfrozen(x))
    }

    fn logits(&self, [.., last]: [Tensor<4>; FEATURES]) -> Tensor<2> {
        let [batch, channels, height, width] = last.dims();
        self.classifier.forward(last.reshape([batch, channels, height * width]).mean_dim(2).reshape([batch, channels]))
    }
}
