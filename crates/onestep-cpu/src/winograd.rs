//! 3x3 convolutions by Winograd's F(2x2, 3x3), with 16 instead of 36 multiplications per tile, as in Lavin and Gray, "Fast Algorithms for
//! Convolutional Neural Networks" (2015).
//!
//! A tile of 2x2 outputs y is computed from a patch d of 4x4 inputs and the kernel g as `y = Aᵀ[(G·g·Gᵀ) ⊙ (Bᵀ·d·B)]A`. Summed over channels,
//! the elementwise product is one matrix product for each of the 16 positions of a patch.
//!
//! Bᵀ d: d₀ − d₂, d₁ + d₂, d₂ − d₁, d₁ − d₃. G g: g₀, (g₀ + g₁ + g₂)/2, (g₀ − g₁ + g₂)/2, g₂. Aᵀ m: m₀ + m₁ + m₂, m₁ − m₂ − m₃.

use pulp::{Arch, Simd, WithSimd};

use crate::{
    conv_output::{Band, COPY_WORK, Epilogue, bands, scatter},
    memory::{Buffer, Memory},
    pointwise::activate,
    product::{Left, Product, Strips, VECTORS, multiply_panel, panel_width},
    threads,
};

/// Positions of a patch: 4x4.
const POSITIONS: usize = 16;
/// Largest number of transformed weights. More would not stay in the cache; the direct convolution has fewer weights.
const MAX_WEIGHTS: usize = 1 << 21;

/// The transformed weights of a convolution.
pub(crate) struct Winograd {
    /// By position: a matrix [D,C].
    weights: Vec<Strips>,
    features: usize,
    channels: usize,
}

/// True if Winograd's form is faster than the direct one, for a weight [D,C,3,3] and a result [N,D,H',W'].
pub(crate) fn is_faster(weight: &[usize], output: &[usize]) -> bool {
    let width = panel_width();
    let padded = |count: usize| count.div_ceil(width) * width;
    let tiles = output[2].div_ceil(2) * output[3].div_ceil(2);
    // The transforms cost a part of what is saved; with few output channels, all of it.
    weight[0] >= 3
        && weight[1] >= 8
        && POSITIONS * weight[0] * weight[1] <= MAX_WEIGHTS
        && 4 * POSITIONS * padded(tiles) < 3 * 9 * padded(output[2] * output[3])
}

impl Winograd {
    pub(crate) fn elements(&self) -> usize {
        self.weights.iter().map(Strips::elements).sum()
    }

    /// weight [D,C,3,3]
    pub(crate) fn new(weight: &[f32], features: usize, channels: usize) -> Self {
        let of_line = |g: [f32; 3]| [g[0], (g[0] + g[1] + g[2]) * 0.5, (g[0] - g[1] + g[2]) * 0.5, g[2]];
        let mut weights = vec![0.0; POSITIONS * features * channels];
        for (index, g) in weight.as_chunks::<9>().0.iter().enumerate() {
            let lines: [[f32; 4]; 3] = std::array::from_fn(|line| of_line([g[3 * line], g[3 * line + 1], g[3 * line + 2]]));
            for across in 0..4 {
                for (down, value) in of_line([lines[0][across], lines[1][across], lines[2][across]]).into_iter().enumerate() {
                    weights[(down * 4 + across) * features * channels + index] = value;
                }
            }
        }
        let weights = weights.chunks_exact(features * channels).map(|weights| Strips::new(weights, features, channels)).collect();
        Self { weights, features, channels }
    }

    /// Convolves image [C,H,W] with padding (top, left, bottom, right) into `result` [D,H',W'], and applies the epilogue. Threads share the rows.
    pub(crate) fn convolve(
        &self,
        image: &[f32],
        size: [usize; 2],
        padding: [usize; 4],
        epilogue: &Epilogue<'_>,
        result: &mut [f32],
        memory: &Memory,
    ) {
        let [rows, columns] = [size[0] + padding[0] + padding[2] - 2, size[1] + padding[1] + padding[3] - 2];
        let columns_split = SplitColumns::new(image, size, padding, [rows.div_ceil(2), columns.div_ceil(2)], memory);
        let parts = threads::parts_of(POSITIONS * self.features * self.channels * columns_split.tiles[0] * columns_split.tiles[1])
            .min(columns_split.tiles[0]);
        let of_part = columns_split.tiles[0].div_ceil(parts);
        threads::for_each(bands(result, rows * columns, 2 * of_part * columns), |band| {
            self.convolve_band(&columns_split, [columns, rows * columns], epilogue, band, memory);
        });
    }

    /// Computes a band of whole rows of tiles.
    fn convolve_band(
        &self,
        columns_split: &SplitColumns,
        [columns, pixels]: [usize; 2],
        epilogue: &Epilogue<'_>,
        mut band: Band<'_>,
        memory: &Memory,
    ) {
        let width = panel_width();
        let across = columns_split.tiles[1];
        let (mut patches, mut products) = (memory.stale(POSITIONS * self.channels * width), memory.stale(POSITIONS * self.features * width));
        let (mut patch, mut tile) = (vec![0.0; POSITIONS * width], vec![0.0; 4 * width]);
        let staged: [usize; POSITIONS] = std::array::from_fn(|position| position * width);
        let begin = band.first / columns / 2 * across;
        let end = begin + (band.length / columns).div_ceil(2) * across;
        for first in (begin..end).step_by(width) {
            let count = width.min(end - first);
            let side_by_side = columns_split.positions(first, count, width);
            for channel in 0..self.channels {
                let (patch, from) = match &side_by_side {
                    Some(from) => (columns_split.channel(channel), from),
                    None => {
                        columns_split.gather(channel, first, count, &mut patch);
                        (&patch[..], &staged)
                    }
                };
                Arch::new().dispatch(InputTransform { patch, from, positions: &mut patches[channel * width..], stride: self.channels * width });
            }
            for (position, strips) in self.weights.iter().enumerate() {
                multiply_panel(Product {
                    rows: self.features,
                    a: Left::Strips { strips, first: 0 },
                    panel: &patches[position * self.channels * width..][..self.channels * width],
                    c: &mut products[position * self.features * width..],
                    c_stride: width,
                    columns: width,
                    add: false,
                });
            }
            for (feature, row) in band.rows.iter_mut().enumerate() {
                let bias = epilogue.bias.map_or(0.0, |bias| bias[feature]);
                Arch::new().dispatch(OutputTransform {
                    positions: &products[feature * width..],
                    stride: self.features * width,
                    bias,
                    tile: &mut tile,
                });
                activate(&mut tile, epilogue.act);
                let residual = epilogue.residual.map(|residual| &residual[feature * pixels + band.first..][..band.length]);
                scatter(&tile, first - begin, count, [across, columns], row, residual);
            }
        }
    }
}

/// A padded image with even and odd columns stored separately, so that one position of adjacent patches is contiguous.
struct SplitColumns {
    /// [C, rows, 2, tiles in a row + 1]
    elements: Buffer,
    /// Rows, columns of tiles.
    tiles: [usize; 2],
}

impl SplitColumns {
    fn new(image: &[f32], [height, width]: [usize; 2], [top, left, ..]: [usize; 4], tiles: [usize; 2], memory: &Memory) -> Self {
        let half = tiles[1] + 1;
        let rows = 2 * tiles[0] + 2;
        let channels = image.len() / (height * width);
        let mut elements = memory.stale(channels * rows * 2 * half);
        let parts = threads::parts_of(elements.len() * COPY_WORK);
        threads::for_chunks(&mut elements, rows * 2 * half, parts, |channel, to| {
            let (above, to) = to.split_at_mut(top * 2 * half);
            above.fill(0.0);
            let mut lines = to.chunks_exact_mut(2 * half);
            for (line, to) in image[channel * height * width..][..height * width].chunks_exact(width).zip(&mut lines) {
                // With odd padding, the image's first column is an odd column.
                let (even, odd) = to.split_at_mut(half);
                let (one, other) = if left.is_multiple_of(2) { (even, odd) } else { (odd, even) };
                let (pairs, last) = line.as_chunks::<2>();
                let (before, one) = one.split_at_mut(left / 2);
                let (other_before, other) = other.split_at_mut(left.div_ceil(2));
                before.fill(0.0);
                other_before.fill(0.0);
                for (pair, (one, other)) in pairs.iter().zip(one.iter_mut().zip(other.iter_mut())) {
                    [*one, *other] = *pair;
                }
                let after = one.get_mut(pairs.len()..).unwrap_or_default();
                after.fill(0.0);
                if let ([last], Some(position)) = (last, after.first_mut()) {
                    *position = *last;
                }
                other.get_mut(pairs.len()..).unwrap_or_default().fill(0.0);
            }
            for below in lines {
                below.fill(0.0);
            }
        });
        Self { elements, tiles }
    }

    fn channel(&self, channel: usize) -> &[f32] {
        let plane = (2 * self.tiles[0] + 2) * 2 * (self.tiles[1] + 1);
        &self.elements[channel * plane..][..plane]
    }

    /// The offset of each position in a channel, if `count` adjacent patches of one row fill the panel.
    fn positions(&self, first: usize, count: usize, width: usize) -> Option<[usize; POSITIONS]> {
        let half = self.tiles[1] + 1;
        let (row, column) = (first / self.tiles[1], first % self.tiles[1]);
        let fills = count == width && column + count <= self.tiles[1];
        fills.then(|| std::array::from_fn(|position| (2 * row + position / 4) * 2 * half + position % 2 * half + position % 4 / 2 + column))
    }

    /// Gathers one channel of patches: [16,width].
    fn gather(&self, channel: usize, first: usize, count: usize, patch: &mut [f32]) {
        let half = self.tiles[1] + 1;
        let width = patch.len() / POSITIONS;
        let lines = self.channel(channel);
        let mut done = 0;
        while done < count {
            let (row, column) = ((first + done) / self.tiles[1], (first + done) % self.tiles[1]);
            let length = (count - done).min(self.tiles[1] - column);
            for down in 0..4 {
                let line = &lines[(2 * row + down) * 2 * half..][..2 * half];
                for across in 0..4 {
                    let from = &line[across % 2 * half + across / 2 + column..][..length];
                    patch[(down * 4 + across) * width + done..][..length].copy_from_slice(from);
                }
            }
            done += length;
        }
    }
}

// The functions below use loops instead of closures, because a closure that is not inlined is not compiled for the SIMD level.

/// `Bᵀ·d` of one row or column.
#[inline(always)]
fn transform_input<S: Simd>(simd: S, d: [S::f32s; 4]) -> [S::f32s; 4] {
    [simd.sub_f32s(d[0], d[2]), simd.add_f32s(d[1], d[2]), simd.sub_f32s(d[2], d[1]), simd.sub_f32s(d[1], d[3])]
}

/// `Aᵀ·m` of one row or column.
#[inline(always)]
fn transform_output<S: Simd>(simd: S, m: [S::f32s; 4]) -> [S::f32s; 2] {
    let (sum, difference) = (simd.add_f32s(m[1], m[2]), simd.sub_f32s(m[1], m[2]));
    [simd.add_f32s(m[0], sum), simd.sub_f32s(difference, m[3])]
}

/// `Bᵀ·d·B` of a panel of patches.
struct InputTransform<'a> {
    patch: &'a [f32],
    /// The offset of each position in `patch`.
    from: &'a [usize; POSITIONS],
    /// Panels by position, from the first one on.
    positions: &'a mut [f32],
    /// Distance between the panels of two positions.
    stride: usize,
}

impl WithSimd for InputTransform<'_> {
    type Output = ();

    #[allow(clippy::needless_range_loop, reason = "the index is into four columns at once")]
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let mut patch: [&[S::f32s]; POSITIONS] = [&[]; POSITIONS];
        for (vectors, &from) in patch.iter_mut().zip(self.from) {
            *vectors = S::as_simd_f32s(&self.patch[from..][..VECTORS * S::F32_LANES]).0;
        }
        for vector in 0..VECTORS {
            let mut columns = [[simd.splat_f32s(0.0); 4]; 4];
            for (across, column) in columns.iter_mut().enumerate() {
                *column =
                    transform_input(simd, [patch[across][vector], patch[across + 4][vector], patch[across + 8][vector], patch[across + 12][vector]]);
            }
            for down in 0..4 {
                let line = transform_input(simd, [columns[0][down], columns[1][down], columns[2][down], columns[3][down]]);
                for (across, value) in line.into_iter().enumerate() {
                    let (panel, _) = S::as_mut_simd_f32s(&mut self.positions[(down * 4 + across) * self.stride..][..VECTORS * S::F32_LANES]);
                    panel[vector] = value;
                }
            }
        }
    }
}

/// `Aᵀ·m·A` of a panel, plus the bias.
struct OutputTransform<'a> {
    /// Panels by position, from the first one on.
    positions: &'a [f32],
    /// Distance between the panels of two positions.
    stride: usize,
    bias: f32,
    /// [2,2,width]
    tile: &'a mut [f32],
}

impl WithSimd for OutputTransform<'_> {
    type Output = ();

    #[allow(clippy::needless_range_loop, reason = "the index is into four columns at once")]
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (tile, _) = S::as_mut_simd_f32s(self.tile);
        let bias = simd.splat_f32s(self.bias);
        for vector in 0..VECTORS {
            let mut columns = [[simd.splat_f32s(0.0); 2]; 4];
            for (across, column) in columns.iter_mut().enumerate() {
                let mut line = [simd.splat_f32s(0.0); 4];
                for (down, value) in line.iter_mut().enumerate() {
                    let (panel, _) = S::as_simd_f32s(&self.positions[(down * 4 + across) * self.stride..][..VECTORS * S::F32_LANES]);
                    *value = panel[vector];
                }
                *column = transform_output(simd, line);
            }
            for down in 0..2 {
                let line = transform_output(simd, [columns[0][down], columns[1][down], columns[2][down], columns[3][down]]);
                for (across, value) in line.into_iter().enumerate() {
                    tile[(2 * down + across) * VECTORS + vector] = simd.add_f32s(value, bias);
                }
            }
        }
    }
}
