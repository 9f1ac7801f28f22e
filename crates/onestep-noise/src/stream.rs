//! The purposes of random numbers.

/// What random numbers are used for. Each purpose has a separate stream; streams of one seed never overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Stream {
    /// The noise of an image, as a user's seed selects it.
    Image = 0,
    /// Order of the training samples.
    Order = 1,
    /// Noise of a training step.
    Training = 2,
    /// Timesteps of a training step.
    Timestep = 3,
    /// Captions and empty prompts of a training step.
    Prompt = 4,
    /// Samples of the autoencoder's posterior.
    Posterior = 5,
    /// Initial weights of a network.
    Weights = 6,
    /// Augmentation of training images.
    Augmentation = 7,
    /// Augmentation of latents before a metric compares them.
    LatentAugmentation = 8,
    /// Mix-and-match fakes of the discriminator.
    MixAndMatch = 9,
    /// Distortions of images on which a metric is calibrated.
    Distortion = 10,
    /// Fresh noise in the steps of a sampler.
    Sampler = 11,
}
