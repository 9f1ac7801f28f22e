//! The exponential function in a form that compilers turn into vectors: the standard library's is called for one number at a time.

use std::f32::consts::LOG2_E;

/// Added and taken away again, it rounds to whole numbers.
const ROUND: f32 = 12_582_912.0;
/// ln 2 in two parts, the first of which has few digits, so that its multiples are exact.
const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
/// Where the result would leave the normal numbers.
const RANGE: [f32; 2] = [-87.3, 88.3];

/// e^x within two units in the last place; beyond the range of normal numbers, that of its end. What is not a number stays so.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    let x = x.clamp(RANGE[0], RANGE[1]);
    let rounded = x * LOG2_E + ROUND;
    let whole = rounded - ROUND;
    let r = (x - whole * LN_2[0]) - whole * LN_2[1];
    // Cephes' polynomial for |r| up to half of ln 2.
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 5.000_000_1e-1;
    let p = p * r * r + r + 1.0;
    // The whole part, which stands in the lowest bits of `rounded`, becomes the exponent.
    let power = f32::from_bits(rounded.to_bits().wrapping_add(127) << 23);
    p * power
}

/// x / (1 + e^-kx).
#[inline(always)]
pub(crate) fn swish(x: f32, k: f32) -> f32 {
    x / (1.0 + exp(-k * x))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_exponential_function() {
        let mut worst = 0f64;
        for step in -870_000..880_000 {
            let x = step as f32 * 1e-4;
            let expected = f64::from(x).exp();
            worst = worst.max((f64::from(exp(x)) - expected).abs() / expected);
        }
        assert!(worst < 2.5e-7, "{worst}");
        assert!(exp(f32::NAN).is_nan());
        assert_eq!(exp(0.0), 1.0);
    }

    #[test]
    fn swish_goes_to_zero_and_to_its_argument() {
        assert_eq!(swish(1e30, 1.0), 1e30);
        assert!(swish(-1e30, 1.0).abs() < 1e-7);
        assert!(swish(f32::NAN, 1.0).is_nan() && swish(f32::NEG_INFINITY, 1.0).is_infinite());
        assert!((swish(1.0, 1.702) - 1.0 / (1.0 + (-1.702f32).exp())).abs() < 1e-6);
    }
}
