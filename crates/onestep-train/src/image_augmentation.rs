//! Changes of an image after which it is still the same image: what the classifier has to see through.
//!
//! In this order: mirror, scale, turn and shift (bilinear, the rim continued outside), blur, hue, contrast and brightness, noise, cutout. Every
//! number is drawn from the generator that is given, so that a stream numbered by the step names the images of that step.

use onestep_noise::Philox;

/// How far each change goes; lengths as shares of the image's side, values in −1…1 of an image.
#[derive(Clone, Copy, Debug)]
struct Extent {
    /// Largest shift along an axis.
    shift: f32,
    /// Largest factor of the size, and its inverse the smallest.
    scale: f32,
    /// Largest turn, radians.
    turn: f32,
    /// Largest standard deviation of the blur.
    blur: f32,
    /// Largest turn of the hue, radians: less than from red to orange, since colours have names.
    hue: f32,
    /// Largest factor of the contrast, and its inverse the smallest.
    contrast: f32,
    /// Largest addition to all values.
    brightness: f32,
    /// Largest amplitude of the noise, which is even between plus and minus that.
    noise: f32,
    /// Largest side of the square that is covered.
    cutout: f32,
}

const STRONG: Extent =
    Extent { shift: 0.12, scale: 1.3, turn: 0.26, blur: 0.025, hue: 0.2, contrast: 1.35, brightness: 0.2, noise: 0.2, cutout: 0.35 };

/// A changed copy of an image [3,size,size] in −1…1.
pub fn augmented(image: &[f32], size: usize, draw: &mut Philox) -> Vec<f32> {
    let mut changed = warped(image, size, draw);
    let deviation = STRONG.blur * size as f32 * draw.unit();
    if half(draw) {
        changed = blurred(&changed, size, deviation);
    }
    recoloured(&mut changed, draw);
    let amplitude = STRONG.noise * draw.unit();
    if half(draw) {
        changed.iter_mut().for_each(|value| *value += amplitude * (2.0 * draw.unit() - 1.0));
    }
    if half(draw) {
        cut_out(&mut changed, size, draw);
    }
    changed.iter_mut().for_each(|value| *value = value.clamp(-1.0, 1.0));
    changed
}

fn half(draw: &mut Philox) -> bool {
    draw.next_u32() & 1 == 1
}

/// Even in −1…1.
fn either_way(draw: &mut Philox) -> f32 {
    2.0 * draw.unit() - 1.0
}

fn warped(image: &[f32], size: usize, draw: &mut Philox) -> Vec<f32> {
    let side = size as f32;
    let mirror = if half(draw) { -1.0 } else { 1.0 };
    let scale = STRONG.scale.powf(either_way(draw));
    let (sine, cosine) = (STRONG.turn * either_way(draw)).sin_cos();
    let shift = [STRONG.shift * side * either_way(draw), STRONG.shift * side * either_way(draw)];
    let middle = (side - 1.0) / 2.0;
    let mut out = vec![0.0; image.len()];
    for y in 0..size {
        for x in 0..size {
            // Where the pixel comes from.
            let (right, down) = ((x as f32 - middle - shift[0]) / scale, (y as f32 - middle - shift[1]) / scale);
            let from_x = (mirror * (cosine * right + sine * down) + middle).clamp(0.0, side - 1.0);
            let from_y = (cosine * down - sine * right + middle).clamp(0.0, side - 1.0);
            let (left, top) = (from_x as usize, from_y as usize);
            let (next_x, next_y) = ((left + 1).min(size - 1), (top + 1).min(size - 1));
            let (share_x, share_y) = (from_x - left as f32, from_y - top as f32);
            for channel in 0..3 {
                let plane = &image[channel * size * size..(channel + 1) * size * size];
                let row = |y: usize| plane[y * size + left] * (1.0 - share_x) + plane[y * size + next_x] * share_x;
                out[(channel * size + y) * size + x] = row(top) * (1.0 - share_y) + row(next_y) * share_y;
            }
        }
    }
    out
}

/// A Gaussian of that standard deviation in pixels, cut at 2.5 of them, along rows and then columns.
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

/// Hue is turned about the axis of greys.
fn recoloured(image: &mut [f32], draw: &mut Philox) {
    let (sine, cosine) = (STRONG.hue * either_way(draw)).sin_cos();
    let contrast = STRONG.contrast.powf(either_way(draw));
    let brightness = STRONG.brightness * either_way(draw);
    // Rodrigues' rotation about (1,1,1)/√3.
    let (same, shared, across) = (cosine, (1.0 - cosine) / 3.0, sine / 3f32.sqrt());
    let area = image.len() / 3;
    for pixel in 0..area {
        let [r, g, b] = [image[pixel], image[area + pixel], image[2 * area + pixel]];
        let grey = shared * (r + g + b);
        let turned = [same * r + grey + across * (b - g), same * g + grey + across * (r - b), same * b + grey + across * (g - r)];
        for (channel, value) in turned.into_iter().enumerate() {
            image[channel * area + pixel] = value * contrast + brightness;
        }
    }
}

/// Covers a square with one colour; it may reach over the rim.
fn cut_out(image: &mut [f32], size: usize, draw: &mut Philox) {
    let side = (STRONG.cutout * size as f32 * draw.unit()) as isize;
    let corner = [0, 1].map(|_| draw.below(size as u32) as isize - side / 2);
    let colour = [0, 1, 2].map(|_| either_way(draw));
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
    fn a_draw_is_named_by_its_stream_and_stays_a_image() {
        let image: Vec<f32> = (0..3 * 20 * 20).map(|index| (index as f32 * 0.37).sin()).collect();
        let draw = |index| augmented(&image, 20, &mut Philox::new(1, Stream::Augmentation, index));
        assert_eq!(draw(3), draw(3));
        assert_ne!(draw(3), draw(4));
        for index in 0..200 {
            let changed = draw(index);
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
    fn a_turn_of_the_hue_leaves_grey_alone() {
        let mut grey = vec![0.3; 3 * 4];
        recoloured(&mut grey, &mut Philox::new(3, Stream::Augmentation, 0));
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
