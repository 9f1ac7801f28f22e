//! The noise that an image is generated from.

use crate::error::{Error, ErrorKind, Result};

/// The noise z that an image is generated from. The student preserves its teacher's mapping from noise to image, so similar noises give
/// similar images.
#[derive(Clone, Debug, PartialEq)]
pub enum Noise {
    /// The noise of a seed.
    Seed(u64),
    /// Spherical linear interpolation between the noises of two seeds.
    Slerp {
        /// The seed at `t` = 0.
        from: u64,
        /// The seed at `t` = 1.
        to: u64,
        /// The fraction of the way, 0 to 1.
        t: f64,
    },
    /// Explicit values of shape [channels, height, width] in row-major order, approximately standard normal.
    Values(Vec<f32>),
}

impl Default for Noise {
    fn default() -> Self {
        Self::Seed(0)
    }
}

impl From<u64> for Noise {
    fn from(seed: u64) -> Self {
        Self::Seed(seed)
    }
}

impl Noise {
    /// The values for a latent of `shape` [channels, height, width], in row-major order.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] for a `t` outside 0 to 1, and for explicit values of another count or that are not finite.
    pub fn values(&self, shape: &[usize]) -> Result<Vec<f32>> {
        let count = shape.iter().product();
        match self {
            Self::Seed(seed) => Ok(onestep_noise::standard_normal(*seed, count)),
            Self::Slerp { from, to, t } => {
                if !(0.0..=1.0).contains(t) {
                    return Err(Error::new(ErrorKind::InvalidOption, format!("interpolating between two seeds: expected t from 0 to 1, found {t}")));
                }
                let [from, to] = [*from, *to].map(|seed| onestep_noise::standard_normal(seed, count));
                Ok(onestep_noise::slerp(&from, &to, *t))
            }
            Self::Values(values) if values.len() != count => {
                let message = format!("the noise has {} values, expected {count} for this model, {shape:?}", values.len());
                Err(Error::new(ErrorKind::InvalidOption, message))
            }
            Self::Values(values) => match values.iter().find(|value| !value.is_finite()) {
                Some(value) => Err(Error::new(ErrorKind::InvalidOption, format!("the noise holds {value}, expected finite values"))),
                None => Ok(values.clone()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_gives_its_values_or_an_error() {
        let shape = [4, 2, 2];
        let seven = Noise::from(7).values(&shape).unwrap();
        assert_eq!(seven, onestep_noise::standard_normal(7, 16));
        assert_eq!(Noise::Slerp { from: 7, to: 9, t: 0.0 }.values(&shape).unwrap(), seven);
        assert_eq!(Noise::Values(seven.clone()).values(&shape).unwrap(), seven);
        let refused = |noise: Noise| noise.values(&shape).unwrap_err().to_string();
        for t in [-0.1, 1.1, f64::NAN] {
            assert!(refused(Noise::Slerp { from: 1, to: 2, t }).contains("from 0 to 1"));
        }
        assert!(refused(Noise::Values(vec![0.0; 15])).contains("15 values"));
        assert!(refused(Noise::Values(vec![f32::NAN; 16])).contains("NaN"));
    }
}
