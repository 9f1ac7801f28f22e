//! The noise that an image is made from.

use crate::error::{Error, ErrorKind, Result};

/// What noise z an image is made from. The student keeps its teacher's way from noise to image, so that neighbours make neighbours.
#[derive(Clone, Debug, PartialEq)]
pub enum Noise {
    /// The noise of a seed.
    Seed(u64),
    /// A part `t`, 0 to 1, of the way between the noises of two seeds, on the sphere.
    Between {
        /// The seed at 0.
        from: u64,
        /// The seed at 1.
        to: u64,
        /// How far.
        t: f64,
    },
    /// These numbers, channel by channel and row by row, about normally distributed.
    Given(Vec<f32>),
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
    /// The numbers, of a latent of `shape` [channels, rows, columns].
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] for a `t` outside 0 to 1, for given numbers that are too few, too many or not finite.
    pub fn numbers(&self, shape: &[usize]) -> Result<Vec<f32>> {
        let count = shape.iter().product();
        match self {
            Self::Seed(seed) => Ok(onestep_noise::standard_normal(*seed, count)),
            Self::Between { from, to, t } => {
                if !(0.0..=1.0).contains(t) {
                    return Err(Error::new(ErrorKind::InvalidOption, format!("the way between two seeds goes from 0 to 1, and {t} is not on it")));
                }
                let [from, to] = [*from, *to].map(|seed| onestep_noise::standard_normal(seed, count));
                Ok(onestep_noise::between(&from, &to, *t))
            }
            Self::Given(numbers) if numbers.len() != count => {
                let message = format!("the noise has {} numbers, and this model's has {count}, {shape:?}", numbers.len());
                Err(Error::new(ErrorKind::InvalidOption, message))
            }
            Self::Given(numbers) => match numbers.iter().find(|number| !number.is_finite()) {
                Some(number) => Err(Error::new(ErrorKind::InvalidOption, format!("the noise holds {number}, which is no number to draw from"))),
                None => Ok(numbers.clone()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_gives_its_numbers_or_a_sentence() {
        let shape = [4, 2, 2];
        let seven = Noise::from(7).numbers(&shape).unwrap();
        assert_eq!(seven, onestep_noise::standard_normal(7, 16));
        assert_eq!(Noise::Between { from: 7, to: 9, t: 0.0 }.numbers(&shape).unwrap(), seven);
        assert_eq!(Noise::Given(seven.clone()).numbers(&shape).unwrap(), seven);
        let refused = |noise: Noise| noise.numbers(&shape).unwrap_err().to_string();
        for t in [-0.1, 1.1, f64::NAN] {
            assert!(refused(Noise::Between { from: 1, to: 2, t }).contains("from 0 to 1"));
        }
        assert!(refused(Noise::Given(vec![0.0; 15])).contains("15 numbers"));
        assert!(refused(Noise::Given(vec![f32::NAN; 16])).contains("NaN"));
    }
}
