//! What the discriminator is shown as false besides the student's latents: perfect latents of the teacher under conditions that are not
//! theirs (Diffusion2GAN, section 3.2, "mix-and-match"). It learns from them to look at text and noise.

use onestep_noise::{Philox, Stream};
use serde::{Deserialize, Serialize};

/// Which share of the false rows is what; the rest are the student's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MixOptions {
    /// The teacher's latent of another pair.
    pub other_latent: f64,
    /// The teacher's latent of this pair with another prompt.
    pub other_prompt: f64,
    /// The teacher's latent of this pair with another noise.
    pub other_noise: f64,
}

impl Default for MixOptions {
    fn default() -> Self {
        Self { other_latent: 0.25, other_prompt: 0.125, other_noise: 0.125 }
    }
}

/// One false row, made of pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FalseRow {
    /// Whose latent of the teacher; none for the student's of this row.
    pub latent: Option<usize>,
    /// Whose prompt.
    pub prompt: usize,
    /// Whose noise.
    pub noise: usize,
}

impl MixOptions {
    /// Nothing but the student's latents.
    pub const NONE: Self = Self { other_latent: 0.0, other_prompt: 0.0, other_noise: 0.0 };

    /// The false rows of a batch of pairs. `things` says what each pair of the whole set shows: what is swapped in always shows another thing,
    /// or a swap could be true, as between two phrasings of one name.
    pub fn rows(&self, pairs: &[usize], things: &[usize], seed: u64, index: u64) -> Vec<FalseRow> {
        let mut random = Philox::new(seed, Stream::MixAndMatch, index);
        pairs
            .iter()
            .map(|&pair| {
                let own = FalseRow { latent: None, prompt: pair, noise: pair };
                let share = f64::from(random.unit());
                let mut other = None;
                // In a set of one thing there is no other; some tries are enough in any set that has.
                for _ in 0..64 {
                    let candidate = random.below(things.len() as u32) as usize;
                    if other.is_none() && things[candidate] != things[pair] {
                        other = Some(candidate);
                    }
                }
                let Some(other) = other else { return own };
                let [a, b, c] = [self.other_latent, self.other_prompt, self.other_noise];
                if share < a {
                    FalseRow { latent: Some(other), ..own }
                } else if share < a + b {
                    FalseRow { latent: Some(pair), prompt: other, ..own }
                } else if share < a + b + c {
                    FalseRow { latent: Some(pair), noise: other, ..own }
                } else {
                    own
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_false_in_the_stated_shares() {
        let things: Vec<usize> = (0..400).map(|pair| pair % 7).collect();
        let pairs: Vec<usize> = (0..400).collect();
        let mut counts = [0; 4];
        for index in 0..20 {
            for (row, &pair) in MixOptions::default().rows(&pairs, &things, 1, index).iter().zip(&pairs) {
                let other = |of: usize| things[of] != things[pair];
                let kind = match *row {
                    FalseRow { latent: None, prompt, noise } if prompt == pair && noise == pair => 0,
                    FalseRow { latent: Some(latent), prompt, noise } if other(latent) && prompt == pair && noise == pair => 1,
                    FalseRow { latent: Some(latent), prompt, noise } if latent == pair && other(prompt) && noise == pair => 2,
                    FalseRow { latent: Some(latent), prompt, noise } if latent == pair && prompt == pair && other(noise) => 3,
                    other => panic!("{other:?} of {pair}"),
                };
                counts[kind] += 1;
            }
        }
        for (count, share) in counts.into_iter().zip([0.5, 0.25, 0.125, 0.125]) {
            assert!((f64::from(count) / 8000.0 - share).abs() < 0.02, "{counts:?}");
        }
    }

    #[test]
    fn one_thing_cannot_be_mixed() {
        let rows = MixOptions::default().rows(&[0, 1, 2], &[5, 5, 5], 1, 0);
        assert!(rows.iter().enumerate().all(|(pair, row)| *row == FalseRow { latent: None, prompt: pair, noise: pair }));
    }
}
