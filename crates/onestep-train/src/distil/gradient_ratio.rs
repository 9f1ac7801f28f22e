//! How much the adversarial loss counts beside the distance, measured where both meet: at the student's latent.

use serde::{Deserialize, Serialize};

/// Share of the past in the running means of the gradients' norms.
const PAST: f64 = 0.98;

/// Running means of `‖∂L_distance/∂x̂‖` and `‖∂L_GAN/∂x̂‖`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(into = "[u64; 3]", from = "[u64; 3]")]
pub struct GradientRatio {
    distance: f64,
    adversarial: f64,
    /// How much of the past there is: means of a few numbers are divided by it.
    weight: f64,
}

/// As bits: a decimal number read back may be another.
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
    /// Takes up a step's norms.
    pub fn see(&mut self, distance: f64, adversarial: f64) {
        self.distance = PAST * self.distance + (1.0 - PAST) * distance;
        self.adversarial = PAST * self.adversarial + (1.0 - PAST) * adversarial;
        self.weight = PAST * self.weight + (1.0 - PAST);
    }

    /// The λ at which the adversarial gradient is `ratio` times as long as the distance's.
    pub fn lambda(&self, ratio: f64) -> f64 {
        if self.weight == 0.0 || self.adversarial <= f64::MIN_POSITIVE { 0.0 } else { ratio * self.distance / self.adversarial }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lambda_brings_both_to_the_ratio() {
        let mut ratio = GradientRatio::default();
        assert_eq!(ratio.lambda(0.3), 0.0);
        ratio.see(2.0, 0.5);
        assert!((ratio.lambda(0.3) * 0.5 - 0.3 * 2.0).abs() < 1e-12);
        for _ in 0..1000 {
            ratio.see(1.0, 10.0);
        }
        assert!((ratio.lambda(0.3) - 0.03).abs() < 1e-6);
    }
}
