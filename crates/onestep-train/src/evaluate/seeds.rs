//! Noise seeds: a separate range for each set of images.

use std::ops::Range;

use crate::error::{TrainError, TrainErrorKind};

/// Noises per prompt for the diversity.
pub(super) const NOISES: usize = 8;
/// Granularity of the distance between two seed blocks.
const SEED_SPACING: u64 = 100_000;

/// One image to generate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ImageRequest {
    /// Row of the prompts.
    pub prompt: usize,
    /// Seed of the noise.
    pub seed: u64,
}

/// The random streams of an evaluation: what the noises of a seed block are for. Two blocks share no seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SeedBlock {
    /// One image for each name.
    Names,
    /// The set that every model generates for the held-out prompts.
    HeldOut,
    /// The teacher's reference set: the same prompts with other noises.
    TeacherReference,
}

impl SeedBlock {
    const ALL: [Self; 3] = [Self::Names, Self::HeldOut, Self::TeacherReference];
}

/// Noise seeds: one range for each [`SeedBlock`], one after the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seeds {
    first: u64,
    /// Distance between the first seeds of two blocks.
    spacing: u64,
}

impl Seeds {
    /// Blocks for up to `most` images each, from `first`.
    ///
    /// # Errors
    /// A first seed that leaves no room for all blocks.
    pub fn new(first: u64, most: usize) -> Result<Self, TrainError> {
        let spacing = (most as u64).div_ceil(SEED_SPACING) * SEED_SPACING;
        let message = || format!("--seed {first}: expected a number that leaves room for the seeds of all images above it");
        first.checked_add(SeedBlock::ALL.len() as u64 * spacing).ok_or_else(|| TrainError::new(TrainErrorKind::Usage, message()))?;
        Ok(Self { first, spacing })
    }

    /// The seed of image `index` of a block.
    pub fn seed(self, block: SeedBlock, index: usize) -> u64 {
        self.first + block as u64 * self.spacing + index as u64
    }

    /// The seeds of all blocks.
    pub fn range(self) -> Range<u64> {
        self.first..self.first + SeedBlock::ALL.len() as u64 * self.spacing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seed_blocks_do_not_overlap() {
        let most = 250_000;
        let seeds = Seeds::new(7, most).unwrap();
        assert_eq!(seeds.seed(SeedBlock::Names, 0), 7);
        for pair in SeedBlock::ALL.windows(2) {
            assert!(seeds.seed(pair[0], most - 1) < seeds.seed(pair[1], 0));
        }
        assert_eq!(seeds.range(), 7..7 + 900_000);
        assert!(seeds.range().contains(&seeds.seed(SeedBlock::TeacherReference, most - 1)));
        assert!(Seeds::new(u64::MAX - 10, 1).unwrap_err().to_string().contains("--seed"));
    }
}
