//! The counter-based random generator Philox 4×32-10.

use crate::stream::Stream;

/// One block of the generator: maps a counter and a key to four random words by ten rounds.
pub fn philox4x32(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for round in 0..10 {
        if round > 0 {
            key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
        }
        let a = u64::from(counter[0]) * 0xD251_1F53;
        let b = u64::from(counter[2]) * 0xCD9E_8D57;
        counter = [(b >> 32) as u32 ^ counter[1] ^ key[0], b as u32, (a >> 32) as u32 ^ counter[3] ^ key[1], a as u32];
    }
    counter
}

/// The sequence of random words of one use of a [`Stream`].
#[derive(Clone, Debug)]
pub struct Philox {
    key: [u32; 2],
    /// Number of the block, stream, low and high half of the index.
    counter: [u32; 4],
    block: [u32; 4],
    used: usize,
}

impl Philox {
    /// The sequence of `seed`, `stream` and `index`, which distinguishes the uses of a stream; it has 2³⁴ words.
    ///
    /// The seed is the generator's key; stream and index fill the upper words of its counter.
    pub fn new(seed: u64, stream: Stream, index: u64) -> Self {
        let counter = [0, stream as u32, index as u32, (index >> 32) as u32];
        Self { key: [seed as u32, (seed >> 32) as u32], counter, block: [0; 4], used: 4 }
    }

    /// The next random word.
    pub fn next_u32(&mut self) -> u32 {
        if self.used == 4 {
            self.block = philox4x32(self.counter, self.key);
            self.counter[0] = self.counter[0].wrapping_add(1);
            self.used = 0;
        }
        self.used += 1;
        self.block[self.used - 1]
    }

    /// A uniform number in `0..bound`, unbiased by Lemire's rejection.
    ///
    /// # Panics
    /// If `bound` is 0.
    pub fn below(&mut self, bound: u32) -> u32 {
        let threshold = bound.wrapping_neg() % bound;
        loop {
            let product = u64::from(self.next_u32()) * u64::from(bound);
            if product as u32 >= threshold {
                return (product >> 32) as u32;
            }
        }
    }

    /// A uniform number in [0, 1) of 24 bits.
    pub fn unit(&mut self) -> f32 {
        (self.next_u32() >> 8) as f32 / 16_777_216.0
    }

    /// Two independent standard normal numbers, from the next two words by the Box–Muller transform.
    pub fn normal_pair(&mut self) -> [f64; 2] {
        const SCALE: f64 = 1.0 / 4_294_967_296.0;
        let (a, b) = (self.next_u32(), self.next_u32());
        // In (0, 1], so that the logarithm is finite.
        let radius = libm::sqrt(-2.0 * libm::log((f64::from(a) + 1.0) * SCALE));
        let angle = 2.0 * core::f64::consts::PI * f64::from(b) * SCALE;
        [radius * libm::cos(angle), radius * libm::sin(angle)]
    }

    /// A random permutation of `0..count` (Fisher–Yates).
    pub fn permutation(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        for last in (1..count).rev() {
            order.swap(last, self.below(last as u32 + 1) as usize);
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers_of_the_original_implementation() {
        assert_eq!(philox4x32([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox4x32([u32::MAX; 4], [u32::MAX; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        assert_eq!(
            philox4x32([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn a_permutation_holds_every_number_once() {
        let mut order = Philox::new(5, Stream::Order, 0).permutation(257);
        assert_ne!(order, (0..257).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..257).collect::<Vec<_>>());
    }

    #[test]
    fn below_stays_below() {
        let mut source = Philox::new(9, Stream::Order, 3);
        assert!((0..10_000).all(|_| source.below(7) < 7));
    }
}
