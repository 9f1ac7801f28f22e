//! Mix-and-match fakes (Diffusion2GAN, section 3.2): latents of the teacher with a condition of another pair.
//!
//! They are fake samples of the discriminator besides the student's latents. From them it learns that a good latent is not enough: it has to
//! fit its prompt and its noise.

use onestep_noise::{Philox, Stream};
use serde::{Deserialize, Serialize};

/// Fractions of the fake samples that are mix-and-match fakes, by what is replaced; the rest are the student's latents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MixOptions {
    /// The teacher's latent of another pair, with this pair's prompt and noise.
    pub other_latent: f64,
    /// The teacher's latent of this pair, with the prompt of another.
    pub other_prompt: f64,
    /// The teacher's latent of this pair, with the noise of another.
    pub other_noise: f64,
}

impl Default for MixOptions {
    fn default() -> Self {
        Self { other_latent: 0.25, other_prompt: 0.125, other_noise: 0.125 }
    }
}

/// The parts of one fake sample, as indices of pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FakeSample {
    /// The pair that gives the teacher's latent; none for the student's latent.
    pub latent: Option<usize>,
    /// The pair that gives the prompt.
    pub prompt: usize,
    /// The pair that gives the noise.
    pub noise: usize,
}

impl MixOptions {
    /// No mix-and-match fakes.
    pub const NONE: Self = Self { other_latent: 0.0, other_prompt: 0.0, other_noise: 0.0 };

    /// One fake sample for each of `pairs`, a batch. `labels` are the class labels of all pairs of the set.
    ///
    /// The other pair always has another label: two pairs of one label may differ only in their phrasing, and exchanging their parts would give a
    /// real sample. If all pairs have one label, all fakes are the student's.
    pub fn fake_samples(&self, pairs: &[usize], labels: &[usize], seed: u64, index: u64) -> Vec<FakeSample> {
        let mut random = Philox::new(seed, Stream::MixAndMatch, index);
        pairs
            .iter()
            .map(|&pair| {
                let of_student = FakeSample { latent: None, prompt: pair, noise: pair };
                let uniform = f64::from(random.unit());
                let mut other = None;
                // A fixed number of tries, so that every sample consumes as many random numbers.
                for _ in 0..64 {
                    let candidate = random.below(labels.len() as u32) as usize;
                    if other.is_none() && labels[candidate] != labels[pair] {
                        other = Some(candidate);
                    }
                }
                let Some(other) = other else { return of_student };
                let [a, b, c] = [self.other_latent, self.other_prompt, self.other_noise];
                if uniform < a {
                    FakeSample { latent: Some(other), ..of_student }
                } else if uniform < a + b {
                    FakeSample { latent: Some(pair), prompt: other, ..of_student }
                } else if uniform < a + b + c {
                    FakeSample { latent: Some(pair), noise: other, ..of_student }
                } else {
                    of_student
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fake_samples_have_the_stated_fractions() {
        let labels: Vec<usize> = (0..400).map(|pair| pair % 7).collect();
        let pairs: Vec<usize> = (0..400).collect();
        let mut counts = [0; 4];
        for index in 0..20 {
            for (fake, &pair) in MixOptions::default().fake_samples(&pairs, &labels, 1, index).iter().zip(&pairs) {
                let other = |of: usize| labels[of] != labels[pair];
                let kind = match *fake {
                    FakeSample { latent: None, prompt, noise } if prompt == pair && noise == pair => 0,
                    FakeSample { latent: Some(latent), prompt, noise } if other(latent) && prompt == pair && noise == pair => 1,
                    FakeSample { latent: Some(latent), prompt, noise } if latent == pair && other(prompt) && noise == pair => 2,
                    FakeSample { latent: Some(latent), prompt, noise } if latent == pair && prompt == pair && other(noise) => 3,
                    other => panic!("{other:?} of {pair}"),
                };
                counts[kind] += 1;
            }
        }
        for (count, fraction) in counts.into_iter().zip([0.5, 0.25, 0.125, 0.125]) {
            assert!((f64::from(count) / 8000.0 - fraction).abs() < 0.02, "{counts:?}");
        }
    }

    #[test]
    fn pairs_of_one_label_are_not_mixed() {
        let fakes = MixOptions::default().fake_samples(&[0, 1, 2], &[5, 5, 5], 1, 0);
        assert!(fakes.iter().enumerate().all(|(pair, fake)| *fake == FakeSample { latent: None, prompt: pair, noise: pair }));
    }
}
