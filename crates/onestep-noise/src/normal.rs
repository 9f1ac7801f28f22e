//! Standard normal numbers, and interpolation between two noises.

use crate::{philox::Philox, stream::Stream};

/// The noise of an image's seed: `count` independent standard normal numbers.
///
/// A smaller `count` gives the beginning of the same sequence.
pub fn standard_normal(seed: u64, count: usize) -> Vec<f32> {
    normal(seed, Stream::Image, 0, count)
}

/// `count` independent standard normal numbers of a stream; `index` distinguishes its uses, for example training steps.
pub fn normal(seed: u64, stream: Stream, index: u64, count: usize) -> Vec<f32> {
    let mut source = Philox::new(seed, stream, index);
    let mut numbers = Vec::with_capacity(count.next_multiple_of(2));
    while numbers.len() < count {
        numbers.extend(source.normal_pair().map(|number| number as f32));
    }
    numbers.truncate(count);
    numbers
}

/// Spherical linear interpolation (slerp) between two noises of the same length, at the fraction `t` in 0..=1.
///
/// It follows the great arc through both (Shoemake, "Animating rotation with quaternion curves", 1985; White, "Sampling generative
/// networks", 2016), because linear interpolation would shorten the vector, and networks turn noise of too small a norm into flat images.
/// `t` = 0 returns `from` and `t` = 1 returns `to`, bit-identical.
pub fn slerp(from: &[f32], to: &[f32], t: f64) -> Vec<f32> {
    debug_assert_eq!(from.len(), to.len());
    if t == 0.0 {
        return from.to_vec();
    }
    if t == 1.0 {
        return to.to_vec();
    }
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    let lengths = libm::sqrt(dot(from, from) * dot(to, to));
    let angle = if lengths > 0.0 { libm::acos((dot(from, to) / lengths).clamp(-1.0, 1.0)) } else { 0.0 };
    let sine = libm::sin(angle);
    // No unique arc joins a noise to itself or to its opposite.
    let [first, second] = if sine < 1e-6 { [1.0 - t, t] } else { [libm::sin((1.0 - t) * angle) / sine, libm::sin(t * angle) / sine] };
    from.iter().zip(to).map(|(&a, &b)| (first * f64::from(a) + second * f64::from(b)) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_a_seed_never_change() {
        let bits: Vec<u32> = standard_normal(7, 4).iter().map(|number| number.to_bits()).collect();
        assert_eq!(bits, SEED_7);
    }
    /// Recorded from the first version of the generator; a change here changes every image.
    const SEED_7: [u32; 4] = [966_319_492, 3_197_900_007, 1_071_969_792, 1_065_922_572];

    #[test]
    fn a_longer_sequence_begins_with_the_shorter() {
        assert_eq!(standard_normal(3, 1000)[..999], standard_normal(3, 999));
    }

    #[test]
    fn moments_are_those_of_a_normal_distribution() {
        let numbers = standard_normal(1, 200_000);
        let moment = |power: i32| numbers.iter().map(|&number| f64::from(number).powi(power)).sum::<f64>() / numbers.len() as f64;
        // Five standard errors of each mean.
        assert!(moment(1).abs() < 0.012, "{}", moment(1));
        assert!((moment(2) - 1.0).abs() < 0.016, "{}", moment(2));
        assert!((moment(4) - 3.0).abs() < 0.11, "{}", moment(4));
    }

    #[test]
    fn slerp_keeps_the_norm_and_ends_at_both_noises() {
        let (a, b) = (standard_normal(1, 4096), standard_normal(2, 4096));
        let length = |noise: &[f32]| noise.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
        assert_eq!((slerp(&a, &b, 0.0), slerp(&a, &b, 1.0)), (a.clone(), b.clone()));
        for step in 1..10 {
            let t = f64::from(step) / 10.0;
            let expected = (1.0 - t) * length(&a) + t * length(&b);
            // The norms themselves differ by 2 %; linear interpolation would be 30 % short in the middle.
            assert!((length(&slerp(&a, &b, t)) / expected - 1.0).abs() < 0.01, "{t}");
        }
        // A quarter circle, of which every point is known.
        let (x, y) = ([3.0, 0.0], [0.0, 3.0]);
        let third = slerp(&x, &y, 1.0 / 3.0);
        assert!((third[0] - 3.0 * 0.75f32.sqrt()).abs() < 1e-6 && (third[1] - 1.5).abs() < 1e-6, "{third:?}");
        // No arc: the same noise, its opposite, zeros.
        assert_eq!(slerp(&x, &x, 0.3), x);
        assert!(slerp(&x, &[-3.0, 0.0], 0.5).iter().chain(&slerp(&[0.0; 2], &x, 0.5)).all(|value| value.is_finite()));
    }

    #[test]
    fn streams_indices_and_seeds_differ() {
        let first = |seed, stream, index| normal(seed, stream, index, 1)[0];
        let base = first(1, Stream::Image, 0);
        assert_ne!(base, first(2, Stream::Image, 0));
        assert_ne!(base, first(1, Stream::Training, 0));
        assert_ne!(base, first(1, Stream::Image, 1));
        assert_ne!(base, first(1 << 32, Stream::Image, 0));
    }
}
