//! Convolutions of 3x3 with 16 products where there are 36: Winograd's F(2x2, 3x3) in the form of Lavin and Gray, "Fast Algorithms for
//! Convolutional Neural Networks" (2015).
//!
//! Tiles of 2x2 outputs come from patches of 4x4 inputs. Patches d, kernels g and results y are transformed along both axes,
//! `y = Aᵀ[(G·g·Gᵀ) ⊙ (Bᵀ·d·B)]A`; the product in the middle, summed over channels, is one matrix product for each of the 16 places.
//!
//! Bᵀ d: d₀ − d₂, d₁ + d₂, d₂ − d₁, d₁ − d₃. G g: g₀, (g₀ + g₁ + g₂)/2, (g₀ − g₁ + g₂)/2, g₂. Aᵀ m: m₀ + m₁ + m₂, m₁ − m₂ − m₃.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

use crate::{
    conv::{Epilogue, copy, joined},
    pointwise::{activate, add},
    product::{Product, VECTORS, multiply_panel, panel_width},
    threads,
};

/// Places of a patch.
const PLACES: usize = 16;
/// Floats of the transformed weights above which they no longer stay in a cache: the plain form has fewer of them.
const MOST: usize = 1 << 21;

/// The weights of a convolution, transformed.
pub(crate) struct Winograd {
    /// [16,D,C]
    weights: Vec<f32>,
    features: usize,
    channels: usize,
}

/// Whether it pays: weight [D,C,3,3], result [N,D,H',W'].
pub(crate) fn pays(weight: &[usize], output: &[usize]) -> bool {
    let width = panel_width();
    let padded = |count: usize| count.div_ceil(width) * width;
    let tiles = output[2].div_ceil(2) * output[3].div_ceil(2);
    // The transforms take a share of what is saved; with few features, all of it.
    weight[0] >= 3 && weight[1] >= 8 && PLACES * weight[0] * weight[1] <= MOST && 4 * PLACES * padded(tiles) < 3 * 9 * padded(output[2] * output[3])
}

impl Winograd {
    /// weight [D,C,3,3]
    pub(crate) fn new(weight: &[f32], features: usize, channels: usize) -> Self {
        let of_line = |g: [f32; 3]| [g[0], (g[0] + g[1] + g[2]) * 0.5, (g[0] - g[1] + g[2]) * 0.5, g[2]];
        let mut weights = vec![0.0; PLACES * features * channels];
        for (index, g) in weight.as_chunks::<9>().0.iter().enumerate() {
            let lines: [[f32; 4]; 3] = std::array::from_fn(|line| of_line([g[3 * line], g[3 * line + 1], g[3 * line + 2]]));
            for across in 0..4 {
                for (down, value) in of_line([lines[0][across], lines[1][across], lines[2][across]]).into_iter().enumerate() {
                    weights[(down * 4 + across) * features * channels + index] = value;
                }
            }
        }
        Self { weights, features, channels }
    }

    /// picture [C,H,W] with padding (top, left, bottom, right): [D,H',W'], with the epilogue. Several threads take some rows each.
    pub(crate) fn convolve(&self, picture: &[f32], size: [usize; 2], padding: [usize; 4], epilogue: &Epilogue<'_>) -> Vec<f32> {
        let [rows, columns] = [size[0] + padding[0] + padding[2] - 2, size[1] + padding[1] + padding[3] - 2];
        let halves = Halves::new(picture, size, padding, [rows.div_ceil(2), columns.div_ceil(2)]);
        let parts = threads::parts_of(self.weights.len() * halves.tiles[0] * halves.tiles[1]).min(halves.tiles[0]);
        let of_part = halves.tiles[0].div_ceil(parts);
        let part = |index: usize| {
            let first = (index * of_part).min(halves.tiles[0]);
            self.convolve_rows(&halves, first..(first + of_part).min(halves.tiles[0]), [rows, columns], epilogue)
        };
        joined(threads::map(parts, part), self.features)
    }

    /// The tiles of some rows of tiles.
    fn convolve_rows(&self, halves: &Halves, range: Range<usize>, [rows, columns]: [usize; 2], epilogue: &Epilogue<'_>) -> Vec<f32> {
        let width = panel_width();
        let across = halves.tiles[1];
        let first_pixel = 2 * range.start * columns;
        let pixels = (2 * range.end).min(rows) * columns - (2 * range.start).min(rows) * columns;
        let mut result = vec![0.0; self.features * pixels];
        if pixels == 0 {
            return result;
        }
        let mut patches = vec![0.0; PLACES * self.channels * width];
        let mut products = vec![0.0; PLACES * self.features * width];
        let (mut patch, mut tile) = (vec![0.0; PLACES * width], vec![0.0; 4 * width]);
        let tiles = range.start * across..range.end * across;
        for first in tiles.clone().step_by(width) {
            let count = width.min(tiles.end - first);
            for channel in 0..self.channels {
                halves.gather(channel, first, count, &mut patch);
                Arch::new().dispatch(ToPlaces { patch: &patch, places: &mut patches[channel * width..], apart: self.channels * width });
            }
            products.fill(0.0);
            let of_place = self.features * self.channels;
            for (place, weights) in self.weights.chunks_exact(of_place).enumerate() {
                multiply_panel(Product {
                    rows: self.features,
                    a: weights,
                    a_stride: self.channels,
                    panel: &patches[place * self.channels * width..][..self.channels * width],
                    c: &mut products[place * self.features * width..],
                    c_stride: width,
                    columns: width,
                });
            }
            for (feature, result) in result.chunks_exact_mut(pixels).enumerate() {
                Arch::new().dispatch(FromPlaces { places: &products[feature * width..], apart: self.features * width, tile: &mut tile });
                let bias = epilogue.bias.map_or(0.0, |bias| bias[feature]);
                scatter(&tile, bias, first - tiles.start, count, across, columns, result);
            }
        }
        activate(&mut result, epilogue.act);
        if let Some(residual) = epilogue.residual {
            for (row, residual) in result.chunks_exact_mut(pixels).zip(residual.chunks_exact(rows * columns)) {
                add(row, &residual[first_pixel..first_pixel + pixels]);
            }
        }
        result
    }
}

/// A padded picture whose even and odd columns lie apart, so that the same place of neighbouring patches does not.
struct Halves {
    /// [C, rows, 2, tiles in a row + 1]
    elements: Vec<f32>,
    /// Rows, columns of tiles.
    tiles: [usize; 2],
}

impl Halves {
    fn new(picture: &[f32], [height, width]: [usize; 2], [top, left, ..]: [usize; 4], tiles: [usize; 2]) -> Self {
        let half = tiles[1] + 1;
        let rows = 2 * tiles[0] + 2;
        let channels = picture.len() / (height * width);
        let mut elements = vec![0.0; channels * rows * 2 * half];
        for (plane, to) in picture.chunks_exact(height * width).zip(elements.chunks_exact_mut(rows * 2 * half)) {
            for (line, to) in plane.chunks_exact(width).zip(to[top * 2 * half..].chunks_exact_mut(2 * half)) {
                // The column before the picture's first belongs to the odd half if the padding is odd.
                let (even, odd) = to.split_at_mut(half);
                let (one, other) = if left.is_multiple_of(2) { (even, odd) } else { (odd, even) };
                let (one, other) = (&mut one[left / 2..], &mut other[left.div_ceil(2)..]);
                let (pairs, last) = line.as_chunks::<2>();
                for (pair, (one, other)) in pairs.iter().zip(one.iter_mut().zip(other)) {
                    [*one, *other] = *pair;
                }
                if let ([last], Some(place)) = (last, one.get_mut(pairs.len())) {
                    *place = *last;
                }
            }
        }
        Self { elements, tiles }
    }

    /// One channel of patches: [16,width].
    fn gather(&self, channel: usize, first: usize, count: usize, patch: &mut [f32]) {
        let half = self.tiles[1] + 1;
        let width = patch.len() / PLACES;
        let plane = channel * (2 * self.tiles[0] + 2) * 2 * half;
        let mut done = 0;
        while done < count {
            let (row, column) = ((first + done) / self.tiles[1], (first + done) % self.tiles[1]);
            let length = (count - done).min(self.tiles[1] - column);
            for down in 0..4 {
                let line = &self.elements[plane + (2 * row + down) * 2 * half..][..2 * half];
                for across in 0..4 {
                    let from = &line[across % 2 * half + across / 2 + column..][..length];
                    copy(&mut patch[(down * 4 + across) * width + done..][..length], from);
                }
            }
            done += length;
        }
    }
}

/// Writes tiles [2,2,width] to rows of pixels.
fn scatter(tile: &[f32], bias: f32, first: usize, count: usize, across: usize, columns: usize, result: &mut [f32]) {
    let width = tile.len() / 4;
    let mut done = 0;
    while done < count {
        let (row, column) = ((first + done) / across, (first + done) % across);
        let length = (count - done).min(across - column);
        for down in 0..2 {
            let (even, odd) = (&tile[2 * down * width + done..][..length], &tile[(2 * down + 1) * width + done..][..length]);
            let place = (2 * row + down) * columns + 2 * column;
            // The last row or column of tiles may reach beyond the picture.
            let Some(line) = result.get_mut(place..place + (2 * length).min(columns - 2 * column)) else { continue };
            let (pairs, last) = line.as_chunks_mut::<2>();
            for (pair, (even, odd)) in pairs.iter_mut().zip(even.iter().zip(odd)) {
                *pair = [even + bias, odd + bias];
            }
            if let ([last], Some(even)) = (last, even.get(pairs.len())) {
                *last = even + bias;
            }
        }
        done += length;
    }
}

// In what follows there are loops where closures would read better: a closure that is not inlined knows nothing of vectors.

/// `Bᵀ·d` of a line.
#[inline(always)]
fn to_places<S: Simd>(simd: S, d: [S::f32s; 4]) -> [S::f32s; 4] {
    [simd.sub_f32s(d[0], d[2]), simd.add_f32s(d[1], d[2]), simd.sub_f32s(d[2], d[1]), simd.sub_f32s(d[1], d[3])]
}

/// `Aᵀ·m` of a line.
#[inline(always)]
fn from_places<S: Simd>(simd: S, m: [S::f32s; 4]) -> [S::f32s; 2] {
    let (sum, difference) = (simd.add_f32s(m[1], m[2]), simd.sub_f32s(m[1], m[2]));
    [simd.add_f32s(m[0], sum), simd.sub_f32s(difference, m[3])]
}

/// `Bᵀ·d·B` of a panel of patches.
struct ToPlaces<'a> {
    /// [16,width]
    patch: &'a [f32],
    /// Where the first place's panel begins.
    places: &'a mut [f32],
    /// From one place's panel to the next.
    apart: usize,
}

impl WithSimd for ToPlaces<'_> {
    type Output = ();

    #[allow(clippy::needless_range_loop, reason = "the index is into four columns at once")]
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (patch, _) = S::as_simd_f32s(self.patch);
        for vector in 0..VECTORS {
            let mut columns = [[simd.splat_f32s(0.0); 4]; 4];
            for (across, column) in columns.iter_mut().enumerate() {
                let at = across * VECTORS + vector;
                *column = to_places(simd, [patch[at], patch[at + 4 * VECTORS], patch[at + 8 * VECTORS], patch[at + 12 * VECTORS]]);
            }
            for down in 0..4 {
                let line = to_places(simd, [columns[0][down], columns[1][down], columns[2][down], columns[3][down]]);
                for (across, value) in line.into_iter().enumerate() {
                    let (panel, _) = S::as_mut_simd_f32s(&mut self.places[(down * 4 + across) * self.apart..][..VECTORS * S::F32_LANES]);
                    panel[vector] = value;
                }
            }
        }
    }
}

/// `Aᵀ·m·A` of a panel.
struct FromPlaces<'a> {
    /// Where the first place's panel begins.
    places: &'a [f32],
    /// From one place's panel to the next.
    apart: usize,
    /// [2,2,width]
    tile: &'a mut [f32],
}

impl WithSimd for FromPlaces<'_> {
    type Output = ();

    #[allow(clippy::needless_range_loop, reason = "the index is into four columns at once")]
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (tile, _) = S::as_mut_simd_f32s(self.tile);
        for vector in 0..VECTORS {
            let mut columns = [[simd.splat_f32s(0.0); 2]; 4];
            for (across, column) in columns.iter_mut().enumerate() {
                let mut line = [simd.splat_f32s(0.0); 4];
                for (down, value) in line.iter_mut().enumerate() {
                    let (panel, _) = S::as_simd_f32s(&self.places[(down * 4 + across) * self.apart..][..VECTORS * S::F32_LANES]);
                    *value = panel[vector];
                }
                *column = from_places(simd, line);
            }
            for down in 0..2 {
                let line = from_places(simd, [columns[0][down], columns[1][down], columns[2][down], columns[3][down]]);
                for (across, value) in line.into_iter().enumerate() {
                    tile[(2 * down + across) * VECTORS + vector] = value;
                }
            }
        }
    }
}
