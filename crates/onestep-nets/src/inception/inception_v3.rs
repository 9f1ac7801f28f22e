//! The network itself.

#![allow(non_snake_case, reason = "fields have the names of the files")]

use burn::{
    module::Module,
    nn::{Linear, LinearConfig},
    tensor::{Device, Tensor},
};

use super::{InceptionA, InceptionB, InceptionC, InceptionConv, InceptionD, InceptionE, InceptionLayout, inception_layout::halved};
use crate::weights::{LoadError, Shard, load_part, names};

/// Features of an image, the number of which FID is made.
const FEATURES: usize = 2048;

/// Names in torchvision's files of what is used in training only.
const TRAINING: &str = "AuxLogits.";

/// torchvision's `Inception3` without its auxiliary classifier, normalising by the statistics of training.
///
/// Images are `[batch, 3, 299, 299]` with red, green and blue within -1..1, that is `2 x - 1` of values within 0..1, and
/// for numbers that compare with published distances they are brought to 299 x 299 in the very way of the program that is
/// compared with; that is the caller's. On a device with gradients the matrices ask for theirs; `no_grad()` of the module
/// leaves those of the images alone.
#[derive(Module, Debug)]
pub struct InceptionV3 {
    /// 3x3, stride 2, to 32 channels.
    pub Conv2d_1a_3x3: InceptionConv,
    /// 3x3 inside the image, to 32 channels.
    pub Conv2d_2a_3x3: InceptionConv,
    /// 3x3, to 64 channels.
    pub Conv2d_2b_3x3: InceptionConv,
    /// 1x1 behind a pool, to 80 channels.
    pub Conv2d_3b_1x1: InceptionConv,
    /// 3x3 inside the image, to 192 channels.
    pub Conv2d_4a_3x3: InceptionConv,
    /// Behind a pool, to 256 channels.
    pub Mixed_5b: InceptionA,
    /// To 288 channels.
    pub Mixed_5c: InceptionA,
    /// To 288 channels.
    pub Mixed_5d: InceptionA,
    /// To 768 channels, half of height and width.
    pub Mixed_6a: InceptionB,
    /// To 768 channels.
    pub Mixed_6b: InceptionC,
    /// To 768 channels.
    pub Mixed_6c: InceptionC,
    /// To 768 channels.
    pub Mixed_6d: InceptionC,
    /// To 768 channels.
    pub Mixed_6e: InceptionC,
    /// To 1280 channels, half of height and width.
    pub Mixed_7a: InceptionD,
    /// To 2048 channels.
    pub Mixed_7b: InceptionE,
    /// To 2048 channels.
    pub Mixed_7c: InceptionE,
    /// From features to classes, where the file has it.
    pub fc: Option<Linear>,
}

impl InceptionV3 {
    /// Initial weights, which are of no use but to be replaced; with `fc` if `classifying`.
    pub fn new(layout: InceptionLayout, classifying: bool, device: &Device) -> Self {
        let (pool, last) = (layout.pool(), layout.last_pool());
        Self {
            Conv2d_1a_3x3: InceptionConv::valid(3, 32, 3, 2, device),
            Conv2d_2a_3x3: InceptionConv::valid(32, 32, 3, 1, device),
            Conv2d_2b_3x3: InceptionConv::same(32, 64, [3, 3], device),
            Conv2d_3b_1x1: InceptionConv::same(64, 80, [1, 1], device),
            Conv2d_4a_3x3: InceptionConv::valid(80, 192, 3, 1, device),
            Mixed_5b: InceptionA::new(192, 32, pool, device),
            Mixed_5c: InceptionA::new(256, 64, pool, device),
            Mixed_5d: InceptionA::new(288, 64, pool, device),
            Mixed_6a: InceptionB::new(288, device),
            Mixed_6b: InceptionC::new(768, 128, pool, device),
            Mixed_6c: InceptionC::new(768, 160, pool, device),
            Mixed_6d: InceptionC::new(768, 160, pool, device),
            Mixed_6e: InceptionC::new(768, 192, pool, device),
            Mixed_7a: InceptionD::new(768, device),
            Mixed_7b: InceptionE::new(1280, pool, device),
            Mixed_7c: InceptionE::new(FEATURES, last, device),
            fc: classifying.then(|| LinearConfig::new(FEATURES, layout.classes()).init(device)),
        }
    }

    /// The network of `shards`, one or several safetensors files, as strict as [`weights::load`](crate::weights::load).
    ///
    /// `fc.weight` and `fc.bias` may be absent together. `AuxLogits.…` and every `num_batches_tracked` are passed over.
    pub fn load(layout: InceptionLayout, shards: &[Shard<'_>], device: &Device) -> Result<Self, LoadError> {
        let classifying = names(shards)?.iter().any(|name| name.starts_with("fc."));
        load_part(Self::new(layout, classifying, device), shards, |name| name.starts_with(TRAINING))
    }

    /// What FID calls `pool3`: `[batch, 2048]`, from `images` `[batch, 3, height, width]` within -1..1, 299 x 299 for FID.
    ///
    /// # Panics
    /// If the images are smaller than 75 x 75.
    pub fn features(&self, images: Tensor<4>) -> Tensor<2> {
        let [_, _, height, width] = images.dims();
        assert!(height >= 75 && width >= 75, "images of {height} x {width} given to Inception-v3, which needs 75 x 75");
        let x = self.Conv2d_2a_3x3.forward(self.Conv2d_1a_3x3.forward(images));
        let x = halved(self.Conv2d_2b_3x3.forward(x));
        let x = halved(self.Conv2d_4a_3x3.forward(self.Conv2d_3b_1x1.forward(x)));
        let x = self.Mixed_5d.forward(self.Mixed_5c.forward(self.Mixed_5b.forward(x)));
        let x = self.Mixed_6c.forward(self.Mixed_6b.forward(self.Mixed_6a.forward(x)));
        let x = self.Mixed_7a.forward(self.Mixed_6e.forward(self.Mixed_6d.forward(x)));
        let x = self.Mixed_7c.forward(self.Mixed_7b.forward(x));
        let [batch, channels, height, width] = x.dims();
        x.reshape([batch, channels, height * width]).mean_dim(2).reshape([batch, channels])
    }

    /// `[batch, classes]` from `features` `[batch, 2048]`, bias included, or `None` without `fc`.
    pub fn logits(&self, features: Tensor<2>) -> Option<Tensor<2>> {
        self.fc.as_ref().map(|linear| linear.forward(features))
    }
}
