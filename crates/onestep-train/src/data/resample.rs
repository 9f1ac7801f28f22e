//! Resizing by `fast_image_resize`: a separable Catmull-Rom filter that is widened for downsampling, with f64 sums. This is PIL's BICUBIC.

use fast_image_resize::{
    FilterType, PixelTrait, ResizeAlg, ResizeOptions, Resizer,
    images::{TypedImage, TypedImageRef},
    pixels::{F32, F32x4},
};

use super::{error::DataError, image::Image};

/// Pixels [3,height,width] of a PNG in −1…1, over white, cut to the proportions of `size` = [height, width] around its centre and resized to it;
/// `name` is for errors.
///
/// # Errors
/// Bytes that are not a PNG.
pub fn pixels_of_size(bytes: &[u8], name: &str, size: [usize; 2]) -> Result<Vec<f32>, DataError> {
    let image = Image::from_png(bytes, name)?.centre_of([size[0], size[1]]);
    let image = if [image.height, image.width] == size { image } else { resample(&image, size[1], size[0]) };
    let pixels: Vec<[f32; 3]> = image.on_white().collect();
    Ok((0..3).flat_map(|channel| pixels.iter().map(move |pixel| pixel[channel] * 2.0 - 1.0)).collect())
}

/// The image at `width` x `height`. Colours are premultiplied, so transparent pixels do not bleed into their neighbours.
pub(super) fn resample(image: &Image, width: usize, height: usize) -> Image {
    let pixels: Vec<F32x4> = image.premultiplied.iter().copied().map(F32x4::new).collect();
    let resized = resize(&pixels, [image.height, image.width], [height, width]);
    Image { width, height, premultiplied: resized.into_iter().map(|pixel| pixel.0).collect() }
}

/// Resizes each plane of `from` = [height, width] values to `to` = [height, width], in f32 without rounding to levels, and clamps to `range`:
/// PIL's `resize(…, BICUBIC)` of mode F. This is the resize of clean-fid (Parmar et al. 2022), by which FIDs resize images for Inception-v3;
/// a filter without widening would change the FID.
pub fn resize_planes(planes: &[f32], from: [usize; 2], to: [usize; 2], range: [f32; 2]) -> Vec<f32> {
    let resized = planes.chunks_exact(from[0] * from[1]).flat_map(|plane| {
        let pixels: Vec<F32> = plane.iter().copied().map(F32::new).collect();
        resize(&pixels, from, to)
    });
    resized.map(|pixel| pixel.0.clamp(range[0], range[1])).collect()
}

fn resize<P: PixelTrait>(pixels: &[P], from: [usize; 2], to: [usize; 2]) -> Vec<P> {
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::CatmullRom)).use_alpha(false);
    let mut resized = TypedImage::<P>::new(to[1] as u32, to[0] as u32);
    let done = TypedImageRef::new(from[1] as u32, from[0] as u32, pixels)
        .is_ok_and(|source| Resizer::new().resize_typed(&source, &mut resized, &options).is_ok());
    debug_assert!(done, "{} pixels are no image of {from:?}", pixels.len());
    resized.pixels().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(side: usize) -> Image {
        let premultiplied = (0..side * side).map(|i| [(i % side) as f32 / side as f32, (i / side) as f32 / side as f32, 0.5, 1.0]).collect();
        Image { width: side, height: side, premultiplied }
    }

    #[test]
    fn one_colour_is_preserved() {
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
                // Rounding to f32, once for rows and once for columns.
                assert!((found - expected).abs() < 1e-6, "{name}: {found} {expected}");
            }
            cases += 1;
        }
        assert!(cases >= 6);
    }
}
