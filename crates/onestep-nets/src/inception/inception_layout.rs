//! The two networks that are called Inception-v3, and the pools in which they differ.

use burn::{
    nn::{
        PaddingConfig2d,
        pool::{AvgPool2dConfig, MaxPool2dConfig},
    },
    tensor::Tensor,
};

/// Which Inception-v3; the parameters have the same names and, but for `fc`, the same shapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InceptionLayout {
    /// The network of 2015 by which Fréchet Inception distances are measured, as pytorch-fid, torch-fidelity and clean-fid
    /// have it: averages at the border are over what exists, `Mixed_7c` takes the maximum, and there are 1008 classes.
    Fid,
    /// torchvision's, of `transform_input = False`: averages at the border count zeros, and there are 1000 classes.
    Torchvision,
}

impl InceptionLayout {
    /// Classes of `fc`.
    pub fn classes(self) -> usize {
        match self {
            Self::Fid => 1008,
            Self::Torchvision => 1000,
        }
    }

    /// The pool inside the blocks that keep height and width.
    pub(super) fn pool(self) -> InceptionPool {
        match self {
            Self::Fid => InceptionPool::AverageOfExisting,
            Self::Torchvision => InceptionPool::AverageOfNine,
        }
    }

    /// The pool inside `Mixed_7c`.
    pub(super) fn last_pool(self) -> InceptionPool {
        match self {
            Self::Fid => InceptionPool::Maximum,
            Self::Torchvision => InceptionPool::AverageOfNine,
        }
    }
}

/// What is made of the 3x3 places around a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InceptionPool {
    /// Their sum by 9, also at the border.
    AverageOfNine,
    /// The average of those inside the image.
    AverageOfExisting,
    /// The largest.
    Maximum,
}

impl InceptionPool {
    /// `[batch, channels, height, width]` to the same shape.
    pub fn forward(self, x: Tensor<4>) -> Tensor<4> {
        let padding = PaddingConfig2d::Explicit(1, 1, 1, 1);
        let average =
            |zeros: bool| AvgPool2dConfig::new([3, 3]).with_strides([1, 1]).with_padding(padding.clone()).with_count_include_pad(zeros).init();
        match self {
            Self::AverageOfNine => average(true).forward(x),
            Self::AverageOfExisting => average(false).forward(x),
            Self::Maximum => MaxPool2dConfig::new([3, 3]).with_strides([1, 1]).with_padding(padding).init().forward(x),
        }
    }
}

/// The largest of 3x3 places, at every other place that has all of them.
pub(super) fn halved(x: Tensor<4>) -> Tensor<4> {
    MaxPool2dConfig::new([3, 3]).with_strides([2, 2]).init().forward(x)
}
