//! One emoji drawn in many ways: a set with a single image per name teaches a model that the noise decides nothing.

use onestep_noise::{Philox, Stream};
use sha2::{Digest, Sha256};

use super::image::Image;
use super::resample::resample;

/// Smallest size, as a share of the image's side; the largest is 1.
const SMALLEST: f32 = 0.75;
/// Largest turn, radians.
const TURN: f32 = 0.2;
/// Largest saturation of the background: pale, so that the emoji stands out.
const SATURATION: f32 = 0.5;
/// Least of the background's brightest channel.
const BRIGHTNESS: f32 = 0.8;
/// The emoji is turned on a canvas so many times as wide, and then made smaller, so that its edges stay smooth.
const OVERSAMPLING: usize = 2;

/// Where and how large an emoji stands, how it is turned, and on what.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Variation {
    /// Red, green and blue from 0 to 1, behind the emoji.
    background: [f32; 3],
    /// Side of the emoji's square as a share of the image's.
    scale: f32,
    /// Clockwise, radians.
    turn: f32,
    /// Of the centre, right and down, as shares of the image's side.
    shift: [f32; 2],
}

impl Variation {
    /// The variation of that number; the same for the same emoji in every set. `movement` from 0 to 1 is how much of the range of sizes,
    /// places and turns is used; the background is the same for all.
    pub fn draw(emoji: &str, number: u64, movement: f32) -> Self {
        let seed = Sha256::digest(emoji.as_bytes())[..8].iter().fold(0, |seed, &byte| seed << 8 | u64::from(byte));
        let mut draw = Philox::new(seed, Stream::Augmentation, number);
        let mut between = |least: f32, most: f32| least + (most - least) * draw.unit();
        let (hue, saturation, value) = (between(0.0, 6.0), between(0.0, SATURATION), between(BRIGHTNESS, 1.0));
        // Hexcone model (Smith 1978): a channel is full within 60° of its own hue and gone beyond 120°.
        let channel = |own: f32| {
            let apart = (hue - own).abs();
            value * (1.0 - saturation * (apart.min(6.0 - apart) - 1.0).clamp(0.0, 1.0))
        };
        let background = [channel(0.0), channel(2.0), channel(4.0)];
        let scale = between(1.0 - movement * (1.0 - SMALLEST), 1.0);
        let room = (1.0 - scale) / 2.0;
        let turn = movement * TURN;
        Self { background, scale, turn: between(-turn, turn), shift: [between(-room, room), between(-room, room)] }
    }

    /// The emoji, whose image is square, so drawn: RGB bytes of `size` x `size` pixels.
    pub fn apply(&self, emoji: &Image, size: usize) -> Vec<u8> {
        let side = size * OVERSAMPLING;
        let pixels_per_pixel = emoji.width as f32 / (side as f32 * self.scale);
        let (sine, cosine) = self.turn.sin_cos();
        let centre = |shift: f32| side as f32 * (0.5 + shift);
        let middle = emoji.width as f32 / 2.0 - 0.5;
        let premultiplied = (0..side * side)
            .map(|index| {
                let right = (index % side) as f32 + 0.5 - centre(self.shift[0]);
                let down = (index / side) as f32 + 0.5 - centre(self.shift[1]);
                between_pixels(
                    emoji,
                    middle + (cosine * right + sine * down) * pixels_per_pixel,
                    middle + (cosine * down - sine * right) * pixels_per_pixel,
                )
            })
            .collect();
        resample(&Image { width: side, height: side, premultiplied }, size, size).rgb8_on(self.background)
    }
}

/// The colour at a place between pixels, bilinearly; beyond the image is nothing.
fn between_pixels(image: &Image, x: f32, y: f32) -> [f32; 4] {
    let (left, top) = (x.floor(), y.floor());
    let mut sum = [0.0; 4];
    for (column, share_x) in [(left, left + 1.0 - x), (left + 1.0, x - left)] {
        for (row, share_y) in [(top, top + 1.0 - y), (top + 1.0, y - top)] {
            if column >= 0.0 && row >= 0.0 && column < image.width as f32 && row < image.height as f32 {
                let pixel = &image.premultiplied[row as usize * image.width + column as usize];
                sum.iter_mut().zip(pixel).for_each(|(sum, value)| *sum += share_x * share_y * value);
            }
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_repeat_and_stay_within_their_bounds() {
        let mut seen = Vec::new();
        for number in 0..200 {
            let one = Variation::draw("❤", number, 1.0);
            assert_eq!(one, Variation::draw("❤", number, 1.0));
            assert_ne!(one, Variation::draw("🦊", number, 1.0));
            let still = Variation::draw("❤", number, 0.0);
            assert_eq!(still, Variation { background: one.background, scale: 1.0, turn: 0.0, shift: [0.0, 0.0] });
            let half = Variation::draw("❤", number, 0.5);
            assert!((half.turn - one.turn / 2.0).abs() < 1e-6 && (half.scale - (1.0 + one.scale) / 2.0).abs() < 1e-6, "{half:?} {one:?}");
            assert!((SMALLEST..=1.0).contains(&one.scale) && one.turn.abs() <= TURN);
            assert!(one.shift.iter().all(|shift| shift.abs() <= (1.0 - one.scale) / 2.0 + 1e-6), "inside the image");
            let most = one.background.iter().copied().fold(0.0, f32::max);
            let least = one.background.iter().copied().fold(1.0, f32::min);
            assert!((BRIGHTNESS..=1.0).contains(&most) && least >= most * (1.0 - SATURATION) - 1e-6, "{:?}", one.background);
            assert!(!seen.contains(&one));
            seen.push(one);
        }
        // Every channel is at times the brightest: all hues occur.
        for channel in 0..3 {
            assert!(seen.iter().filter(|one| one.background[channel] > one.background[(channel + 1) % 3]).count() > 50);
        }
    }

    #[test]
    fn the_emoji_lands_where_the_variation_says() {
        let red = Image { width: 8, height: 8, premultiplied: vec![[1.0, 0.0, 0.0, 1.0]; 64] };
        let blue = [0.0, 0.0, 1.0];
        let still = Variation { background: blue, scale: 1.0, turn: 0.0, shift: [0.0, 0.0] };
        assert!(still.apply(&red, 16).chunks(3).all(|pixel| pixel[0] > 120 && pixel[2] < 135), "all of it, softened at the rim");
        let aside = Variation { scale: 0.5, shift: [0.25, -0.25], ..still.clone() };
        let bytes = aside.apply(&red, 16);
        let at = |x: usize, y: usize| &bytes[(y * 16 + x) * 3..][..3];
        assert_eq!((at(12, 3), at(3, 3), at(12, 12)), (&[255, 0, 0][..], &[0, 0, 255][..], &[0, 0, 255][..]));
        // Turned by an eighth, the corner of a square that fills the image is no longer in the image's corner, its middle is.
        let turned = Variation { scale: 0.7, turn: std::f32::consts::FRAC_PI_4, ..still };
        let bytes = turned.apply(&red, 16);
        assert_eq!((&bytes[..3], &bytes[(8 * 16 + 8) * 3..][..3]), (&[0, 0, 255][..], &[255, 0, 0][..]));
    }
}
