//! Random variations of an emoji's image. With a single image per name, a model would learn to ignore the noise.

use onestep_noise::{Philox, Stream};
use sha2::{Digest, Sha256};

use super::image::Image;
use super::resample::resample;

/// Minimum size as a fraction of the image's side; the maximum is 1.
const MIN_SCALE: f32 = 0.75;
/// Maximum rotation, radians.
const MAX_ROTATION: f32 = 0.2;
/// Maximum saturation of the background: pale, for contrast with the emoji.
const SATURATION: f32 = 0.5;
/// Minimum of the background's brightest channel.
const BRIGHTNESS: f32 = 0.8;
/// The emoji is rotated on a canvas that is this factor larger and then downsampled, which antialiases its edges.
const OVERSAMPLING: usize = 2;

/// Scale, rotation, translation and background of an emoji.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Variation {
    /// Red, green and blue in 0…1.
    background: [f32; 3],
    /// Side of the emoji's square as a fraction of the image's side.
    scale: f32,
    /// Clockwise, radians.
    rotation: f32,
    /// Of the centre, right and down, as fractions of the image's side.
    translation: [f32; 2],
}

impl Variation {
    /// Samples variation `number` of an emoji; it does not depend on the other emoji of the set. `movement` in 0…1 scales the ranges of size,
    /// translation and rotation; the background does not depend on it.
    pub fn sample(emoji: &str, number: u64, movement: f32) -> Self {
        let seed = Sha256::digest(emoji.as_bytes())[..8].iter().fold(0, |seed, &byte| seed << 8 | u64::from(byte));
        let mut random = Philox::new(seed, Stream::Augmentation, number);
        let mut between = |least: f32, most: f32| least + (most - least) * random.unit();
        let (hue, saturation, value) = (between(0.0, 6.0), between(0.0, SATURATION), between(BRIGHTNESS, 1.0));
        // Hexcone model (Smith 1978): a channel is full within 60° of its hue and 0 beyond 120°.
        let channel = |centre: f32| {
            let difference = (hue - centre).abs();
            value * (1.0 - saturation * (difference.min(6.0 - difference) - 1.0).clamp(0.0, 1.0))
        };
        let background = [channel(0.0), channel(2.0), channel(4.0)];
        let scale = between(1.0 - movement * (1.0 - MIN_SCALE), 1.0);
        let room = (1.0 - scale) / 2.0;
        let rotation = movement * MAX_ROTATION;
        Self { background, scale, rotation: between(-rotation, rotation), translation: [between(-room, room), between(-room, room)] }
    }

    /// Renders the variation of a square emoji image: RGB bytes of `size` x `size` pixels.
    pub fn apply(&self, emoji: &Image, size: usize) -> Vec<u8> {
        let side = size * OVERSAMPLING;
        let pixels_per_pixel = emoji.width as f32 / (side as f32 * self.scale);
        let (sine, cosine) = self.rotation.sin_cos();
        let centre = |translation: f32| side as f32 * (0.5 + translation);
        let middle = emoji.width as f32 / 2.0 - 0.5;
        let premultiplied = (0..side * side)
            .map(|index| {
                let right = (index % side) as f32 + 0.5 - centre(self.translation[0]);
                let down = (index / side) as f32 + 0.5 - centre(self.translation[1]);
                bilinear(
                    emoji,
                    middle + (cosine * right + sine * down) * pixels_per_pixel,
                    middle + (cosine * down - sine * right) * pixels_per_pixel,
                )
            })
            .collect();
        resample(&Image { width: side, height: side, premultiplied }, size, size).rgb8_on(self.background)
    }
}

/// Bilinear interpolation at (x, y); transparent outside the image.
fn bilinear(image: &Image, x: f32, y: f32) -> [f32; 4] {
    let (left, top) = (x.floor(), y.floor());
    let mut sum = [0.0; 4];
    for (column, weight_x) in [(left, left + 1.0 - x), (left + 1.0, x - left)] {
        for (row, weight_y) in [(top, top + 1.0 - y), (top + 1.0, y - top)] {
            if column >= 0.0 && row >= 0.0 && column < image.width as f32 && row < image.height as f32 {
                let pixel = &image.premultiplied[row as usize * image.width + column as usize];
                sum.iter_mut().zip(pixel).for_each(|(sum, value)| *sum += weight_x * weight_y * value);
            }
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_repeat_and_stay_within_their_bounds() {
        let mut seen = Vec::new();
        for number in 0..200 {
            let one = Variation::sample("❤", number, 1.0);
            assert_eq!(one, Variation::sample("❤", number, 1.0));
            assert_ne!(one, Variation::sample("🦊", number, 1.0));
            let still = Variation::sample("❤", number, 0.0);
            assert_eq!(still, Variation { background: one.background, scale: 1.0, rotation: 0.0, translation: [0.0, 0.0] });
            let half = Variation::sample("❤", number, 0.5);
            assert!((half.rotation - one.rotation / 2.0).abs() < 1e-6 && (half.scale - (1.0 + one.scale) / 2.0).abs() < 1e-6, "{half:?} {one:?}");
            assert!((MIN_SCALE..=1.0).contains(&one.scale) && one.rotation.abs() <= MAX_ROTATION);
            assert!(one.translation.iter().all(|translation| translation.abs() <= (1.0 - one.scale) / 2.0 + 1e-6), "inside the image");
            let most = one.background.iter().copied().fold(0.0, f32::max);
            let least = one.background.iter().copied().fold(1.0, f32::min);
            assert!((BRIGHTNESS..=1.0).contains(&most) && least >= most * (1.0 - SATURATION) - 1e-6, "{:?}", one.background);
            assert!(!seen.contains(&one));
            seen.push(one);
        }
        // Every channel is the brightest in some samples: all hues occur.
        for channel in 0..3 {
            assert!(seen.iter().filter(|one| one.background[channel] > one.background[(channel + 1) % 3]).count() > 50);
        }
    }

    #[test]
    fn the_emoji_lands_where_the_variation_says() {
        let red = Image { width: 8, height: 8, premultiplied: vec![[1.0, 0.0, 0.0, 1.0]; 64] };
        let blue = [0.0, 0.0, 1.0];
        let still = Variation { background: blue, scale: 1.0, rotation: 0.0, translation: [0.0, 0.0] };
        assert!(still.apply(&red, 16).chunks(3).all(|pixel| pixel[0] > 120 && pixel[2] < 135), "the whole image, with antialiased borders");
        let moved = Variation { scale: 0.5, translation: [0.25, -0.25], ..still.clone() };
        let bytes = moved.apply(&red, 16);
        let at = |x: usize, y: usize| &bytes[(y * 16 + x) * 3..][..3];
        assert_eq!((at(12, 3), at(3, 3), at(12, 12)), (&[255, 0, 0][..], &[0, 0, 255][..], &[0, 0, 255][..]));
        // Rotated by 45°, a square no longer covers the image's corner, but still its centre.
        let rotated = Variation { scale: 0.7, rotation: std::f32::consts::FRAC_PI_4, ..still };
        let bytes = rotated.apply(&red, 16);
        assert_eq!((&bytes[..3], &bytes[(8 * 16 + 8) * 3..][..3]), (&[0, 0, 255][..], &[255, 0, 0][..]));
    }
}
