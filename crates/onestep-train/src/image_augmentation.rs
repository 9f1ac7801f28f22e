//! Random augmentation of the image classifier's training images.
//!
//! In this order: xflip, scale, rotate and translate (bilinear, with replicated border), Gaussian blur, hue, contrast and brightness, uniform
//! noise, cutout. All parameters are sampled from the given generator, so a stream numbered by the step determines the images of that step.
//!
//! Not by `imageproc`: for the 45 lines of warp and blur it would add `image` with its colour management, 40 s of a core to every full build.

use onestep_noise::Philox;

/// Maximum strength of each augmentation: lengths as fractions of the image's side, values for pixels in −1…1.
#[derive(Clone, Copy, Debug)]
struct Strength {
    /// Maximum translation along an axis.
    translate: f32,
    /// Maximum scale; the minimum is its inverse.
    scale: f32,
    /// Maximum rotation, radians.
    rotate: f32,
    /// Maximum standard deviation of the blur.
    blur: f32,
    /// Maximum hue rotation, radians: less than from red to orange, because colours are part of names.
    hue: f32,
    /// Maximum contrast factor; the minimum is its inverse.
    contrast: f32,
    /// Maximum offset of all values.
    brightness: f32,
    /// Maximum amplitude of the uniform noise.
    noise: f32,
    /// Maximum side of the cutout square.
    cutout: f32,
}

const STRONG: Strength =
    Strength { translate: 0.12, scale: 1.3, rotate: 0.26, blur: 0.025, hue: 0.2, contrast: 1.35, brightness: 0.2, noise: 0.2, cutout: 0.35 };

/// An augmented copy of an image [3,size,size] in −1…1.
pub fn augmented(image: &[f32], size: usize, random: &mut Philox) -> Vec<f32> {
    let mut image = warped(image, size, random);
    let deviation = STRONG.blur * size as f32 * random.unit();
    if half(random) {
        image = blurred(&image, size, deviation);
    }
    recolour(&mut image, random);
    let amplitude = STRONG.noise * random.unit();
    if half(random) {
        image.iter_mut().for_each(|value| *value += amplitude * (2.0 * random.unit() - 1.0));
    }
    if half(random) {
        cutout(&mut image, size, random);
    }
    image.iter_mut().for_each(|value| *value = value.clamp(-1.0, 1.0));
    image
}

fn half(random: &mut Philox) -> bool {
    random.next_u32() & 1 == 1
}

/// Uniform in −1…1.
fn symmetric(random: &mut Philox) -> f32 {
    2.0 * random.unit() - 1.0
}

fn warped(image: &[f32], size: usize, random: &mut Philox) -> Vec<f32> {
    let side = size as f32;
    let mirror = if half(random) { -1.0 } else { 1.0 };
    let scale = STRONG.scale.powf(symmetric(random));
    let (sine, cosine) = (STRONG.rotate * symmetric(random)).sin_cos();
    let translate = [STRONG.translate * side * symmetric(random), STRONG.translate * side * symmetric(random)];
    let middle = (side - 1.0) / 2.0;
    let mut out = vec![0.0; image.len()];
    for y in 0..size {
        for x in 0..size {
            // The source position of the pixel.
            let (right, down) = ((x as f32 - middle - translate[0]) / scale, (y as f32 - middle - translate[1]) / scale);
            let from_x = (mirror * (cosine * right + sine * down) + middle).clamp(0.0, side - 1.0);
            let from_y = (cosine * down - sine * right + middle).clamp(0.0, side - 1.0);
            let (left, top) = (from_x as usize, from_y as usize);
            let (next_x, next_y) = ((left + 1).min(size - 1), (top + 1).min(size - 1));
            let (weight_x, weight_y) = (from_x - left as f32, from_y - top as f32);
            for channel in 0..3 {
                let plane = &image[channel * size * size..(channel + 1) * size * size];
                let row = |y: usize| plane[y * size + left] * (1.0 - weight_x) + plane[y * size + next_x] * weight_x;
                out[(channel * size + y) * size + x] = row(top) * (1.0 - weight_y) + row(next_y) * weight_y;
            }
        }
    }
    out
}

/// Separable Gaussian blur with this standard deviation in pixels, truncated at 2.5 standard deviations.
fn blurred(image: &[f32], size: usize, deviation: f32) -> Vec<f32> {
    let reach = (2.5 * deviation).ceil() as isize;
    if reach == 0 {
        return image.to_vec();
    }
    let weights: Vec<f32> = (-reach..=reach).map(|offset| (-0.5 * (offset as f32 / deviation).powi(2)).exp()).collect();
    let sum: f32 = weights.iter().sum();
    let along = |image: &[f32], step_x: isize, step_y: isize| -> Vec<f32> {
        let last = size as isize - 1;
        (0..image.len())
            .map(|index| {
                let (plane, y, x) = (index / (size * size), (index / size % size) as isize, (index % size) as isize);
                let value = |offset: isize| {
                    let (y, x) = ((y + offset * step_y).clamp(0, last) as usize, (x + offset * step_x).clamp(0, last) as usize);
                    image[(plane * size + y) * size + x]
                };
                weights.iter().zip(-reach..).map(|(weight, offset)| weight * value(offset)).sum::<f32>() / sum
            })
            .collect()
    };
    along(&along(image, 1, 0), 0, 1)
}

/// Hue rotation about the grey axis, contrast and brightness.
fn recolour(image: &mut [f32], random: &mut Philox) {
    let (sine, cosine) = (STRONG.hue * symmetric(random)).sin_cos();
    let contrast = STRONG.contrast.powf(symmetric(random));
    let brightness = STRONG.brightness * symmetric(random);
    // Rodrigues' rotation about (1,1,1)/√3.
    let (same, shared, across) = (cosine, (1.0 - cosine) / 3.0, sine / 3f32.sqrt());
    let area = image.len() / 3;
    for pixel in 0..area {
        let [r, g, b] = [image[pixel], image[area + pixel], image[2 * area + pixel]];
        let grey = shared * (r + g + b);
        let rotated = [same * r + grey + across * (b - g), same * g + grey + across * (r - b), same * b + grey + across * (g - r)];
        for (channel, value) in rotated.into_iter().enumerate() {
            image[channel * area + pixel] = value * contrast + brightness;
        }
    }
}

/// Covers a square, which may extend beyond the border, with one colour.
fn cutout(image: &mut [f32], size: usize, random: &mut Philox) {
    let side = (STRONG.cutout * size as f32 * random.unit()) as isize;
    let corner = [0, 1].map(|_| random.below(size as u32) as isize - side / 2);
    let colour = [0, 1, 2].map(|_| symmetric(random));
    let inside = |at: usize, corner: isize| (corner..corner + side).contains(&(at as isize));
    for (index, value) in image.iter_mut().enumerate() {
        if inside(index % size, corner[0]) && inside(index / size % size, corner[1]) {
            *value = colour[index / (size * size)];
        }
    }
}

#[cfg(test)]
mod tests {
    use std::f32::consts::PI;

    use onestep_noise::Stream;

    use super::*;

    #[test]
    fn the_stream_determines_the_augmentation_and_pixels_stay_in_range() {
        let image: Vec<f32> = (0..3 * 20 * 20).map(|index| (index as f32 * 0.37).sin()).collect();
        let sample = |index| augmented(&image, 20, &mut Philox::new(1, Stream::Augmentation, index));
        assert_eq!(sample(3), sample(3));
        assert_ne!(sample(3), sample(4));
        for index in 0..200 {
            let changed = sample(index);
            assert!(changed.len() == image.len() && changed.iter().all(|value| (-1.0..=1.0).contains(value)), "{index}");
        }
    }

    #[test]
    fn warps_and_blurs_keep_one_colour() {
        let flat = [vec![0.5; 81], vec![-0.25; 81], vec![0.0; 81]].concat();
        for index in 0..50 {
            let changed = blurred(&warped(&flat, 9, &mut Philox::new(2, Stream::Augmentation, index)), 9, 1.3);
            assert!(changed.iter().zip(&flat).all(|(found, expected)| (found - expected).abs() < 1e-5));
        }
    }

    #[test]
    fn a_hue_rotation_keeps_grey() {
        let mut grey = vec![0.3; 3 * 4];
        recolour(&mut grey, &mut Philox::new(3, Stream::Augmentation, 0));
        assert!(grey.iter().all(|value| (value - grey[0]).abs() < 1e-6));
        const { assert!(STRONG.hue < PI / 6.0, "30° is from red to orange") };
    }

    #[test]
    fn a_blur_spreads_a_point_evenly() {
        let mut point = vec![0.0; 3 * 121];
        point[60] = 1.0;
        let spread = blurred(&point, 11, 1.0);
        assert!((spread[..121].iter().sum::<f32>() - 1.0).abs() < 1e-5);
        assert!((spread[59] - spread[61]).abs() < 1e-7 && (spread[59] - spread[49]).abs() < 1e-7 && spread[59] < spread[60]);
        assert!(spread[121..].iter().all(|&value| value == 0.0));
        assert_eq!(blurred(&point, 11, 0.0), point);
    }
}
