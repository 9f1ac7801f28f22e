//! The weight λ of the adversarial loss, from the norms of both losses' gradients with respect to the student's latent.
//!
//! This is the adaptive weight of VQGAN (Esser et al. 2021, section 3.1), measured at the latent instead of at the last layer, and with running
//! means.

use serde::{Deserialize, Serialize};

/// Decay of the running means per step.
const DECAY: f64 = 0.98;

/// Running means of `‖∂L_distance/∂x̂‖` and `‖∂L_GAN/∂x̂‖`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(into = "[u64; 3]", from = "[u64; 3]")]
pub struct GradientRatio {
    distance: f64,
    adversarial: f64,
    /// `1 − DECAY^steps`, the bias correction of both means.
    weight: f64,
}

/// As bits, because a decimal number may not read back as the same f64.
impl From<GradientRatio> for [u64; 3] {
    fn from(GradientRatio { distance, adversarial, weight }: GradientRatio) -> Self {
        [distance, adversarial, weight].map(f64::to_bits)
    }
}

impl From<[u64; 3]> for GradientRatio {
    fn from(bits: [u64; 3]) -> Self {
        let [distance, adversarial, weight] = bits.map(f64::from_bits);
        Self { distance, adversarial, weight }
    }
}

impl GradientRatio {
    /// Adds the gradient norms of a step to the means.
    pub fn update(&mut self, distance: f64, adversarial: f64) {
        self.distance = DECAY * self.distance + (1.0 - DECAY) * distance;
        self.adversarial = DECAY * self.adversarial + (1.0 - DECAY) * adversarial;
        self.weight = DECAY * self.weight + (1.0 - DECAY);
    }

    /// The λ that makes the norm of the adversarial gradient `ratio` times that of the distance; 0 before the first step and where the
    /// adversarial gradient is zero. The bias corrections cancel.
    pub fn lambda(&self, ratio: f64) -> f64 {
        if self.weight == 0.0 || self.adversarial <= f64::MIN_POSITIVE { 0.0 } else { ratio * self.distance / self.adversarial }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lambda_scales_the_adversarial_gradient_to_the_ratio() {
        let mut ratio = GradientRatio::default();
        assert_eq!(ratio.lambda(0.3), 0.0);
        ratio.update(2.0, 0.5);
        assert!((ratio.lambda(0.3) * 0.5 - 0.3 * 2.0).abs() < 1e-12);
        for _ in 0..1000 {
            ratio.update(1.0, 10.0);
        }
        assert!((ratio.lambda(0.3) - 0.03).abs() < 1e-6);
    }
}
