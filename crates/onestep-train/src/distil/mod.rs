//! `distil`: trains the one-step student on the teacher's noise–latent pairs (Diffusion2GAN, section 3).
//!
//! The student G is the teacher's denoiser with the teacher's weights, evaluated once at t = 999. Its noise prediction is converted to a latent in
//! f32, because the conversion amplifies it by σ/α = 14.6. The text encoder stays frozen. G minimises
//!
//! `L_G = d(G(z,c), x) + λ · mean softplus(−D(c, z, G(z,c)))`
//!
//! - [`regression`]: the distance d, E-LatentLPIPS in the paper;
//! - [`adversarial`]: the losses of generator and discriminator, and R1;
//! - [`mix_and_match`]: the fake samples besides the student's latents;
//! - [`gradient_ratio`]: the adaptive weight λ;
//! - [`precision`]: the compute dtype.
//!
//! The [`AdversarialSchedule`]: the student first minimises d alone; D starts some steps before λ does; λ then rises linearly to its value.

pub mod adversarial;
mod conditions;
pub mod gradient_ratio;
pub mod mix_and_match;
mod options;
pub mod precision;
pub mod regression;
mod step;
mod train;

pub use options::{AdversarialOptions, AdversarialSchedule, DistanceKind, DistilOptions};
pub use train::train;
