//! Changing the size of a picture: a separable Catmull-Rom filter, widened when the picture gets smaller so that nothing aliases.

use super::picture::Picture;

/// The picture at `width` x `height`. Works on premultiplied colour, so that what is transparent bleeds into nothing.
pub(super) fn resample(picture: &Picture, width: usize, height: usize) -> Picture {
    if (picture.width, picture.height) == (width, height) {
        return picture.clone();
    }
    let across = taps(picture.width, width);
    let mut rows = Vec::with_capacity(width * picture.height);
    for y in 0..picture.height {
        let row = &picture.premultiplied[y * picture.width..(y + 1) * picture.width];
        rows.extend(across.iter().map(|(first, weights)| weighted(weights, row[*first..].iter())));
    }
    let down = taps(picture.height, height);
    let mut premultiplied = Vec::with_capacity(width * height);
    for (first, weights) in &down {
        for x in 0..width {
            premultiplied.push(weighted(weights, rows[first * width + x..].iter().step_by(width)));
        }
    }
    Picture { width, height, premultiplied }
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

    fn ramp(side: usize) -> Picture {
        let premultiplied = (0..side * side).map(|i| [(i % side) as f32 / side as f32, (i / side) as f32 / side as f32, 0.5, 1.0]).collect();
        Picture { width: side, height: side, premultiplied }
    }

    #[test]
    fn one_colour_stays_that_colour() {
        let flat = Picture { width: 136, height: 128, premultiplied: vec![[0.25, 0.5, 0.75, 1.0]; 136 * 128] };
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
    fn the_weights_sum_to_one_and_stay_inside() {
        for (from, to) in [(1, 1), (1, 9), (136, 64), (64, 136), (4096, 1), (3, 2)] {
            for (first, weights) in taps(from, to) {
                assert!(first + weights.len() <= from);
                assert!((weights.iter().sum::<f32>() - 1.0).abs() < 1e-4);
            }
        }
    }
}
