//! The uses of random numbers, each a stream of its own.

/// What a number is for. Numbers of different streams never coincide under one seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Stream {
    /// The noise of an image: what a seed means to a user.
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
    /// First weights of a network.
    Weights = 6,
    /// Changes of the images that a training step sees.
    Augmentation = 7,
    /// Random changes of latents before they are compared.
    LatentChange = 8,
    /// What a discriminator is shown as false besides the student's images.
    Mix = 9,
    /// Distortions of images whose order a metric is calibrated on.
    Distortion = 10,
}
