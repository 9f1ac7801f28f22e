//! Inception-v3 in the weight layout with which FIDs are published.

use std::path::Path;

use burn::tensor::{Device, Tensor};
use onestep_nets::{InceptionLayout, InceptionV3, weights::Shard};

use super::network::{FeatureNetwork, resized};
use crate::{error::TrainError, store, weight_file};

/// Side of the input images in pixels.
const SIDE: usize = 299;

/// The network of a file such as `pt_inception-2015-12-05-6726825d.pth`.
pub struct Inception {
    net: InceptionV3,
    size: usize,
}

impl Inception {
    /// Reads the file, for images of `size`.
    ///
    /// # Errors
    /// Weights that do not fit; names the tensor.
    pub fn open(path: &Path, size: usize, device: &Device) -> Result<Self, TrainError> {
        let tensors: Vec<_> = weight_file::read(path)?.into_iter().map(|tensor| (tensor.name, tensor.shape, tensor.data)).collect();
        let bytes = store::tensor_bytes(&tensors);
        let net = InceptionV3::load(InceptionLayout::Fid, &[Shard::new(&path.display().to_string(), &bytes)], device)
            .map_err(|error| TrainError::input(format!("not Inception-v3 in FID's layout: {error}")))?;
        Ok(Self { net, size })
    }
}

impl FeatureNetwork for Inception {
    fn name(&self) -> String {
        format!(
            "2048 features of Inception-v3 (FID's weights), images of {0}x{0} resized to {SIDE}x{SIDE} by an antialiased bicubic filter",
            self.size
        )
    }

    fn features(&self, images: Tensor<4>) -> Tensor<2> {
        self.net.features(resized(&images, SIDE))
    }
}
