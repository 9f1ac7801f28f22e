//! The LatentLPIPS distance.

use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor},
};

use super::{FEATURES, LatentLpipsConfig, LatentVgg};

/// Added to the squared norm, so that the gradient at a feature of zeros is zero instead of undefined.
const EPSILON: f64 = 1e-8;

/// A distance of latents, `d = Σ_l mean_hw Σ_c w_lc · (n_l(x0) − n_l(x1))²`, where `n_l` are the features of [`LatentVgg`] normalised to unit
/// length along the channels (LPIPS, Zhang et al. 2018, equation 1).
#[derive(Module, Debug)]
pub struct LatentLpips {
    /// The features.
    pub net: LatentVgg,
    /// Weights of the first feature's channels.
    pub lin0: Head,
    /// Weights of the second feature's channels.
    pub lin1: Head,
    /// Weights of the third feature's channels.
    pub lin2: Head,
    /// Weights of the fourth feature's channels.
    pub lin3: Head,
    /// Weights of the fifth feature's channels.
    pub lin4: Head,
}

/// A 1x1 convolution to one channel, named as in the published files.
#[derive(Module, Debug)]
pub struct Head {
    /// A list with a dropout at index 0.
    pub model: HeadList,
}

/// See [`Head`].
#[derive(Module, Debug)]
pub struct HeadList {
    /// The convolution.
    pub at_1: HeadWeight,
}

/// See [`Head`].
#[derive(Module, Debug)]
pub struct HeadWeight {
    /// `[1, channels, 1, 1]`, not negative.
    pub weight: Param<Tensor<4>>,
}

impl Head {
    /// Equal weights for all channels.
    fn new(channels: usize, device: &Device) -> Self {
        let weight = Tensor::full([1, channels, 1, 1], 1.0 / channels as f64, device);
        Self { model: HeadList { at_1: HeadWeight { weight: Param::from_tensor(weight) } } }
    }

    /// The weights, `[1, channels, 1, 1]`.
    pub fn weight(&self) -> Tensor<4> {
        self.model.at_1.weight.val()
    }
}

impl LatentLpipsConfig {
    /// Initial weights.
    pub fn init(&self, device: &Device) -> LatentLpips {
        LatentLpips::new(self, device)
    }
}

impl LatentLpips {
    pub(super) fn new(config: &LatentLpipsConfig, device: &Device) -> Self {
        let head = |stage: usize| Head::new(config.widths[stage], device);
        Self { net: LatentVgg::new(config, device), lin0: head(0), lin1: head(1), lin2: head(2), lin3: head(3), lin4: head(4) }
    }

    /// The heads, in the order of the features.
    pub fn heads(&self) -> [&Head; FEATURES] {
        [&self.lin0, &self.lin1, &self.lin2, &self.lin3, &self.lin4]
    }

    /// Features of unit length along the channels.
    pub fn unit_features(&self, x: Tensor<4>) -> [Tensor<4>; FEATURES] {
        self.net.forward(x).map(|feature| {
            let length = feature.clone().square().sum_dim(1).add_scalar(EPSILON).sqrt();
            feature / length
        })
    }

    /// The contribution of each feature, `[batch, 5]`, for model-space latents `x0` and `x1` `[batch, in_channels, height, width]`.
    pub fn per_layer(&self, x0: Tensor<4>, x1: Tensor<4>) -> Tensor<2> {
        let [batch, ..] = x0.dims();
        // One after the other: in one batch, the side that needs no gradient would get one.
        let terms: Vec<Tensor<2>> = self
            .unit_features(x0)
            .into_iter()
            .zip(self.unit_features(x1))
            .zip(self.heads())
            .map(|((one, other), head)| ((one - other).square() * head.weight()).sum_dim(1).mean_dim(2).mean_dim(3).reshape([batch, 1]))
            .collect();
        Tensor::cat(terms, 1)
    }

    /// The distance of each pair of latents `[batch, in_channels, height, width]`: `[batch]`.
    pub fn forward(&self, x0: Tensor<4>, x1: Tensor<4>) -> Tensor<1> {
        let [batch, ..] = x0.dims();
        self.per_layer(x0, x1).sum_dim(1).reshape([batch])
    }
}
