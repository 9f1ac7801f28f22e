//! Changing the size of an image: a separable Catmull-Rom filter, widened when the image gets smaller so that nothing aliases.
//!
//! Catmull-Rom is the bicubic filter with a = −0.5, and the widening is that of PIL, so that [`resize_planes`] gives what PIL does.

use super::image::Image;

/// The image at `width` x `height`. Works on premultiplied colour, so that what is transparent bleeds into nothing.
pub(super) fn resample(image: &Image, width: usize, height: usize) -> Image {
    if (image.width, image.height) == (width, height) {
        return image.clone();
    }
    let across = taps(image.width, width);
    let mut rows = Vec::with_capacity(width * image.height);
    for y in 0..image.height {
        let row = &image.premultiplied[y * image.width..(y + 1) * image.width];
        rows.extend(across.iter().map(|(first, weights)| weighted(weights, row[*first..].iter())));
    }
    let down = taps(image.height, height);
    let mut premultiplied = Vec::with_capacity(width * height);
    for (first, weights) in &down {
        for x in 0..width {
            premultiplied.push(weighted(weights, rows[first * width + x..].iter().step_by(width)));
        }
    }
    Image { width, height, premultiplied }
}

/// Planes of `from` = [height, width] values, one after the other, at `to` = [height, width], each by itself and in f32 without rounding to
/// levels: PIL's `resize(…, BICUBIC)` of mode F. Clamped to `range`, this is the resize of clean-fid (Parmar et al. 2022), on whose images at
/// 299x299 the FID of Inception-v3 is taken; a filter that is not widened would change the FID.
pub fn resize_planes(planes: &[f32], from: [usize; 2], to: [usize; 2], range: [f32; 2]) -> Vec<f32> {
    let [height, width] = from;
    let (across, down) = (taps(width, to[1]), taps(height, to[0]));
    let dot = |weights: &[f32], values: &mut dyn Iterator<Item = &f32>| -> f32 {
        weights.iter().zip(values).map(|(&weight, &value)| f64::from(weight) * f64::from(value)).sum::<f64>() as f32
    };
    let mut out = Vec::with_capacity(planes.len() / (height * width) * to[0] * to[1]);
    for plane in planes.chunks_exact(height * width) {
        let rows: Vec<f32> =
            plane.chunks_exact(width).flat_map(|row| across.iter().map(|(first, weights)| dot(weights, &mut row[*first..].iter()))).collect();
        for (first, weights) in &down {
            out.extend((0..to[1]).map(|x| dot(weights, &mut rows[first * to[1] + x..].iter().step_by(to[1])).clamp(range[0], range[1])));
        }
    }
    out
}

/// For each output position the first input position and the weights from there on; they sum to one.
fn taps(from: usize, to: usize) -> Vec<(usize, Vec<f32>)> {
    let ratio = from as f64 / to as f64;
    let stretch = ratio.max(1.0);
    let reach = 2.0 * stretch;
    (0..to)
        .map(|out| {
            let centre = (out as f64 + 0.5) * ratio;
            let first = (centre - reach).floor().max(0.0) as usize;
            let last = ((centre + reach).ceil() as usize).min(from);
            let weights: Vec<f64> = (first..last).map(|i| catmull_rom((i as f64 + 0.5 - centre) / stretch)).collect();
            let sum: f64 = weights.iter().sum();
            (first, weights.iter().map(|w| (w / sum) as f32).collect())
        })
        .collect()
}

fn catmull_rom(x: f64) -> f64 {
    let x = x.abs();
    if x < 1.0 {
        (1.5 * x - 2.5) * x * x + 1.0
    } else if x < 2.0 {
        ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    } else {
        0.0
    }
}

fn weighted<'a>(weights: &[f32], pixels: impl Iterator<Item = &'a [f32; 4]>) -> [f32; 4] {
    let mut sum = [0.0; 4];
    for (weight, pixel) in weights.iter().zip(pixels) {
        for (s, p) in sum.iter_mut().zip(pixel) {
            *s += weight * p;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(side: usize) -> Image {
        let premultiplied = (0..side * side).map(|i| [(i % side) as f32 / side as f32, (i / side) as f32 / side as f32, 0.5, 1.0]).collect();
        Image { width: side, height: side, premultiplied }
    }

    #[test]
    fn one_colour_stays_that_colour() {
        let flat = Image { width: 136, height: 128, premultiplied: vec![[0.25, 0.5, 0.75, 1.0]; 136 * 128] };
        for (w, h) in [(64, 64), (1, 1), (17, 300), (136, 128)] {
            let out = resample(&flat, w, h);
            assert_eq!(out.premultiplied.len(), w * h);
            for pixel in out.premultiplied {
                for (got, want) in pixel.iter().zip([0.25, 0.5, 0.75, 1.0]) {
                    assert!((got - want).abs() < 1e-5, "{got} {want}");
                }
            }
        }
    }

    #[test]
    fn a_ramp_stays_a_ramp_away_from_the_edges() {
        let out = resample(&ramp(128), 32, 32);
        for y in 4..28 {
            for x in 4..28 {
                let pixel = out.premultiplied[y * 32 + x];
                let want = |i: usize| (i as f32 * 4.0 + 1.5) / 128.0;
                assert!((pixel[0] - want(x)).abs() < 1e-4, "{x} {y}");
                assert!((pixel[1] - want(y)).abs() < 1e-4, "{x} {y}");
            }
        }
    }

    #[test]
    fn planes_are_resized_as_pil_does() {
        // tests/reference/resize.py
        let bytes = std::fs::read("../../tests/fixtures/train/resize.safetensors").unwrap();
        let tensors = crate::store::read_tensors(&bytes, "resize.safetensors").unwrap();
        let mut cases = 0;
        for (name, (shape, input)) in tensors.iter().filter_map(|(name, tensor)| Some((name.strip_suffix(".input")?, tensor))) {
            let (resized, expected) = &tensors[&format!("{name}.output")];
            let found = resize_planes(input, [shape[1], shape[2]], [resized[1], resized[2]], [-1.0, 1.0]);
            assert_eq!(found.len(), expected.len(), "{name}");
            for (found, expected) in found.iter().zip(expected) {
                // Our weights are f32, PIL's f64: a few units in the last place of values around 1.
                assert!((found - expected).abs() < 1e-6, "{name}: {found} {expected}");
            }
            cases += 1;
        }
        assert!(cases >= 6);
    }

    #[test]
    fn the_weights_sum_to_one_and_stay_inside() {
        for (from, to) in [(1, 1), (1, 9), (136, 64), (64, 136), (4096, 1), (3, 2)] {
            for (first, weights) in taps(from, to) {
                assert!(first + weights.len() <= from);
                assert!((weights.iter().sum::<f32>() - 1.0).abs() < 1e-4);
            }
        }
    }
}
