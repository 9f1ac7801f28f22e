//! What the encoder says about an image: a diagonal Gaussian over latents.

use burn::tensor::Tensor;

/// diffusers' `DiagonalGaussianDistribution`, in the autoencoder's own latent space (not scaled).
#[derive(Debug, Clone)]
pub struct LatentDistribution {
    /// `[batch, latent channels, h, w]`.
    pub mean: Tensor<4>,
    /// Logarithm of the variance, clamped to -30..20, same shape.
    pub logvar: Tensor<4>,
}

impl LatentDistribution {
    /// Splits the encoder's moments `[batch, 2 latent channels, h, w]`.
    pub fn from_moments(moments: Tensor<4>) -> Self {
        let [batch, channels, height, width] = moments.dims();
        let half = channels / 2;
        let part = |range: core::ops::Range<usize>| moments.clone().slice([0..batch, range, 0..height, 0..width]);
        Self { mean: part(0..half), logvar: part(half..channels).clamp(-30.0, 20.0) }
    }

    /// Standard deviation.
    pub fn std(&self) -> Tensor<4> {
        self.logvar.clone().mul_scalar(0.5).exp()
    }

    /// `mean + std noise`, with unit Gaussian `noise` of the mean's shape.
    pub fn sample(&self, noise: Tensor<4>) -> Tensor<4> {
        self.mean.clone() + self.std() * noise
    }

    /// Kullback-Leibler divergence from the unit Gaussian, summed over each element of the batch: `[batch]`, in nats.
    pub fn kl(&self) -> Tensor<1> {
        let [batch, ..] = self.mean.dims();
        let terms = self.mean.clone() * self.mean.clone() + self.logvar.clone().exp() - self.logvar.clone().add_scalar(1.0);
        terms.reshape([batch as i64, -1]).sum_dim(1).mul_scalar(0.5).reshape([batch])
    }
}
