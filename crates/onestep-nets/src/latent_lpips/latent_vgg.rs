//! The feature network of LatentLPIPS.

use burn::{
    module::Module,
    nn::{GroupNorm, GroupNormConfig, conv::Conv2d, pool::MaxPool2dConfig},
    tensor::{Device, Tensor, activation::relu},
};

use super::latent_lpips_config::{FEATURES, LatentLpipsConfig, MetricSpace, NormKind};
use crate::blocks::{FrozenBatchNorm2d, same_conv};

/// ε of the batch norms of torchvision's `vgg16_bn`.
const EPSILON: f64 = 1e-5;

/// VGG16 with norms for latents, without the first three poolings, because a latent is already eight times smaller than its image.
///
/// The number in a field's name is its index in torchvision's list `features`, as in the published files.
#[derive(Module, Debug)]
pub struct LatentVgg {
    /// Two convolutions, full resolution.
    pub slice1: Slice1,
    /// Two convolutions, full resolution.
    pub slice2: Slice2,
    /// Three convolutions, full resolution.
    pub slice3: Slice3,
    /// Three convolutions and a pooling.
    pub slice4: Slice4,
    /// Three convolutions and a pooling.
    pub slice5: Slice5,
    /// True for images: with all of VGG's poolings.
    pub for_images: bool,
}

/// The statistics that batch norms use.
#[derive(Clone, Copy)]
enum Statistics {
    Fixed,
    OfBatch,
}

/// The normalisation after a convolution.
#[derive(Module, Debug)]
pub enum Norm {
    /// Fixed statistics.
    Batch(FrozenBatchNorm2d),
    /// Statistics of each sample.
    Group(GroupNorm),
}

impl Norm {
    fn new(kind: NormKind, channels: usize, device: &Device) -> Self {
        match kind {
            NormKind::Batch => Self::Batch(FrozenBatchNorm2d::new(channels, EPSILON, device)),
            NormKind::Group => {
                let groups = (1..=32.min(channels)).rev().find(|groups| channels.is_multiple_of(*groups)).unwrap_or(1);
                Self::Group(GroupNormConfig::new(groups, channels).with_epsilon(EPSILON).init(device))
            }
        }
    }

    fn forward(&self, x: Tensor<4>, statistics: Statistics) -> Tensor<4> {
        match (self, statistics) {
            (Self::Batch(norm), Statistics::Fixed) => norm.forward(x),
            (Self::Batch(norm), Statistics::OfBatch) => norm.forward_unfrozen(x),
            (Self::Group(norm), _) => norm.forward(x),
        }
    }

    /// If statistics are fixed: sets them to those of `x`.
    fn fitted(self, x: &Tensor<4>) -> Self {
        match self {
            Self::Batch(norm) => Self::Batch(norm.fitted(x)),
            Self::Group(norm) => Self::Group(norm),
        }
    }

    fn trainable(self) -> Self {
        match self {
            Self::Batch(norm) => Self::Batch(norm.trainable()),
            Self::Group(norm) => Self::Group(norm),
        }
    }
}

/// A stage: its convolutions, each followed by its norm and a ReLU. The pairs are the indices of (convolution, norm) in the list.
macro_rules! slice {
    ($(#[$doc:meta])* $name:ident, $(($conv:ident, $norm:ident)),+) => {
        $(#[$doc])*
        #[derive(Module, Debug)]
        #[allow(missing_docs)]
        pub struct $name {
            $(pub $conv: Conv2d, pub $norm: Norm,)+
        }

        impl $name {
            fn new(input: usize, width: usize, kind: NormKind, device: &Device) -> Self {
                let mut inputs = std::iter::once(input).chain(std::iter::repeat(width));
                Self { $($conv: same_conv(inputs.next().unwrap_or(width), width, 3, device), $norm: Norm::new(kind, width, device),)+ }
            }

            fn forward(&self, x: Tensor<4>, statistics: Statistics) -> Tensor<4> {
                $(let x = relu(self.$norm.forward(self.$conv.forward(x), statistics));)+
                x
            }

            fn trainable(self) -> Self {
                Self { $($conv: self.$conv, $norm: self.$norm.trainable(),)+ }
            }

            /// Sets the statistics to those of `x`, and returns the stage and its result.
            fn fitted(self, x: Tensor<4>) -> (Self, Tensor<4>) {
                $(
                    let x = self.$conv.forward(x);
                    let $norm = self.$norm.fitted(&x);
                    let x = relu($norm.forward(x, Statistics::Fixed));
                )+
                (Self { $($conv: self.$conv, $norm,)+ }, x)
            }
        }
    };
}

slice!(
    /// Layers 0 to 6, without the pooling at 6.
    Slice1,
    (at_0, at_1),
    (at_3, at_4)
);
slice!(
    /// Layers 7 to 13, without the pooling at 13.
    Slice2,
    (at_7, at_8),
    (at_10, at_11)
);
slice!(
    /// Layers 14 to 23, without the pooling at 23.
    Slice3,
    (at_14, at_15),
    (at_17, at_18),
    (at_20, at_21)
);
slice!(
    /// Layers 24 to 33.
    Slice4,
    (at_24, at_25),
    (at_27, at_28),
    (at_30, at_31)
);
slice!(
    /// Layers 34 to 43.
    Slice5,
    (at_34, at_35),
    (at_37, at_38),
    (at_40, at_41)
);

impl LatentVgg {
    /// Initial weights for latents of `in_channels` channels.
    pub(super) fn new(config: &LatentLpipsConfig, device: &Device) -> Self {
        let LatentLpipsConfig { in_channels, widths, norm: kind, .. } = *config;
        Self {
            for_images: config.space == MetricSpace::Pixel,
            slice1: Slice1::new(in_channels, widths[0], kind, device),
            slice2: Slice2::new(widths[0], widths[1], kind, device),
            slice3: Slice3::new(widths[1], widths[2], kind, device),
            slice4: Slice4::new(widths[2], widths[3], kind, device),
            slice5: Slice5::new(widths[3], widths[4], kind, device),
        }
    }

    /// Sets the statistics of all batch norms to those of the latents `x`, layer by layer, as needed after training with batch statistics. Group
    /// norms have no statistics.
    #[must_use]
    pub fn fitted(self, x: Tensor<4>) -> Self {
        let of_images = |x: Tensor<4>| if self.for_images { halved(x) } else { x };
        let (slice1, x) = self.slice1.fitted(x);
        let (slice2, x) = self.slice2.fitted(of_images(x));
        let (slice3, x) = self.slice3.fitted(of_images(x));
        let (slice4, x) = self.slice4.fitted(of_images(x));
        let (slice5, _) = self.slice5.fitted(halved(x));
        Self { slice1, slice2, slice3, slice4, slice5, for_images: self.for_images }
    }

    /// Makes the weights and biases of batch norms trainable; by default they are constants, as the statistics always are.
    #[must_use]
    pub(super) fn trainable(self) -> Self {
        Self {
            slice1: self.slice1.trainable(),
            slice2: self.slice2.trainable(),
            slice3: self.slice3.trainable(),
            slice4: self.slice4.trainable(),
            slice5: self.slice5.trainable(),
            for_images: self.for_images,
        }
    }

    /// The five features of model-space latents `[batch, in_channels, height, width]`, with the channels of the configured widths: three at
    /// full resolution, one at half, one at a quarter; the last two are taken after their poolings.
    ///
    /// For images, each feature has half the height and width of the one before.
    pub fn forward(&self, x: Tensor<4>) -> [Tensor<4>; FEATURES] {
        self.features(x, Statistics::Fixed)
    }

    /// Like [`forward`](Self::forward) but, for training, batch norms use the statistics of `x`, and gradients pass through them.
    pub fn forward_unfrozen(&self, x: Tensor<4>) -> [Tensor<4>; FEATURES] {
        self.features(x, Statistics::OfBatch)
    }

    fn features(&self, x: Tensor<4>, statistics: Statistics) -> [Tensor<4>; FEATURES] {
        if self.for_images {
            let first = self.slice1.forward(x, statistics);
            let second = self.slice2.forward(halved(first.clone()), statistics);
            let third = self.slice3.forward(halved(second.clone()), statistics);
            let fourth = self.slice4.forward(halved(third.clone()), statistics);
            let fifth = self.slice5.forward(halved(fourth.clone()), statistics);
            return [first, second, third, fourth, fifth];
        }
        let first = self.slice1.forward(x, statistics);
        let second = self.slice2.forward(first.clone(), statistics);
        let third = self.slice3.forward(second.clone(), statistics);
        let fourth = halved(self.slice4.forward(third.clone(), statistics));
        let fifth = halved(self.slice5.forward(fourth.clone(), statistics));
        [first, second, third, fourth, fifth]
    }
}

/// 2x2 max pooling; an odd last row or column is dropped, as in torchvision. An axis of one pixel is not pooled.
fn halved(x: Tensor<4>) -> Tensor<4> {
    let [_, _, height, width] = x.dims();
    let kernel = [height.min(2), width.min(2)];
    MaxPool2dConfig::new(kernel).with_strides(kernel).init().forward(x)
}
