//! Affine maps of latents, resampled with the low-pass filter of a wavelet against aliasing (StyleGAN2-ADA, Karras et al. 2020, appendix B.2).
//!
//! A latent is padded by reflection, upsampled by 2 with the filter, sampled bilinearly at the mapped positions, and downsampled by 2 with the
//! filter. All steps are linear, and all but the sampling are separable. The padding is always size − 1, the most that reflection allows, so that
//! shapes do not depend on the sampled maps.

use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::device;

/// The filter: the wavelet sym6, with sum √2.
const SYMLET: [f64; TAPS] = [
    0.015_404_109_327_027_373,
    0.003_490_712_084_217_470_2,
    -0.117_990_111_148_190_57,
    -0.048_311_742_585_633,
    0.491_055_941_926_746_6,
    0.787_641_141_030_194,
    0.337_929_421_727_621_8,
    -0.072_637_522_786_462_52,
    -0.021_060_292_512_300_564,
    0.044_724_901_770_665_78,
    0.001_767_711_864_242_803_6,
    -0.007_800_708_325_034_148,
];
const TAPS: usize = 12;
/// Pixels around the image that the downsampling filter reads.
const MARGIN: usize = TAPS / 4;
/// Largest side for which a map is one matrix from pixels to pixels; a larger one would take megabytes for each sample.
const LARGEST_MATRIX: usize = 16;

/// An affine map in homogeneous coordinates, from output pixels to input pixels. The origin is the image's centre, x points right and y down.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine(pub [[f64; 3]; 3]);

impl Affine {
    /// The identity.
    pub const IDENTITY: Self = Self::scale(1.0, 1.0);

    /// Scales the axes by `x` and `y`.
    pub const fn scale(x: f64, y: f64) -> Self {
        Self([[x, 0.0, 0.0], [0.0, y, 0.0], [0.0, 0.0, 1.0]])
    }

    /// Rotates by an angle in radians.
    pub fn rotation(angle: f64) -> Self {
        let (sin, cos) = angle.sin_cos();
        Self([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
    }

    /// Translates by pixels.
    pub const fn translation(x: f64, y: f64) -> Self {
        Self([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])
    }

    /// The matrix product `self · other`, which maps by `other` first.
    #[must_use]
    pub fn of(self, other: Self) -> Self {
        let mut product = [[0.0; 3]; 3];
        for (row, line) in product.iter_mut().enumerate() {
            for (column, value) in line.iter_mut().enumerate() {
                *value = (0..3).map(|k| self.0[row][k] * other.0[k][column]).sum();
            }
        }
        Self(product)
    }

    fn apply(self, x: f64, y: f64) -> [f64; 2] {
        [0, 1].map(|row: usize| self.0[row][0] * x + self.0[row][1] * y + self.0[row][2])
    }
}

/// The taps with sum 1.
fn filter() -> [f64; TAPS] {
    let sum: f64 = SYMLET.iter().sum();
    SYMLET.map(|tap| tap / sum)
}

/// The padding, up- and downsampling of one axis of `size` pixels.
struct Axis {
    size: usize,
    /// Pixels after padding by reflection.
    padded: usize,
    filter: [f64; TAPS],
}

impl Axis {
    fn new(size: usize) -> Self {
        Self { size, padded: 3 * size - 2, filter: filter() }
    }

    /// Samples after upsampling.
    fn upsampled(&self) -> usize {
        2 * self.padded
    }

    /// Samples before downsampling.
    fn sampled(&self) -> usize {
        2 * (self.size + 2 * MARGIN)
    }

    /// The pixel at an index of the padded axis.
    fn source(&self, padded: usize) -> usize {
        let last = self.size - 1;
        // The image's first pixel has index `last`.
        if padded < last {
            last - padded
        } else if padded <= 2 * last {
            padded - last
        } else {
            3 * last - padded
        }
    }

    /// Pixels and weights that make up a sample of the upsampled axis: zeros between the pixels, then the filter with a gain of two.
    fn upsampling(&self, sample: usize, weights: &mut Vec<(usize, f64)>) {
        weights.clear();
        for (tap, weight) in self.filter.iter().rev().enumerate() {
            // The filter starts six samples before its output.
            let Some(index) = (sample + tap).checked_sub(TAPS / 2) else { continue };
            if index.is_multiple_of(2) && index < self.upsampled() {
                weights.push((self.source(index / 2), 2.0 * weight));
            }
        }
    }

    /// The upsampling as a matrix [upsampled,size], row-major.
    fn upsampling_matrix(&self) -> Vec<f32> {
        let mut matrix = vec![0.0; self.upsampled() * self.size];
        let mut weights = Vec::new();
        for sample in 0..self.upsampled() {
            self.upsampling(sample, &mut weights);
            for &(pixel, weight) in &weights {
                matrix[sample * self.size + pixel] += weight as f32;
            }
        }
        matrix
    }

    /// The downsampling as a matrix [size,sampled], row-major.
    fn downsampling_matrix(&self) -> Vec<f32> {
        let mut matrix = vec![0.0; self.size * self.sampled()];
        for pixel in 0..self.size {
            for (tap, weight) in self.filter.iter().enumerate() {
                matrix[pixel * self.sampled() + 2 * pixel + tap + 1] = *weight as f32;
            }
        }
        matrix
    }
}

/// Positions [x, y] in the upsampled input of all samples of the output before downsampling.
fn positions(map: Affine, width: &Axis, height: &Axis) -> Vec<[f64; 2]> {
    // From samples of the output to samples of the upsampled input, both counted from their centres.
    let upsampled = Affine::scale(2.0, 2.0).of(map).of(Affine::scale(0.5, 0.5));
    let upsampled = Affine::translation(-0.5, -0.5).of(upsampled).of(Affine::translation(0.5, 0.5));
    let centre = |samples: usize| samples as f64 / 2.0 - 0.5;
    let (columns, rows) = (width.sampled(), height.sampled());
    let mut positions = Vec::with_capacity(columns * rows);
    for row in 0..rows {
        for column in 0..columns {
            let [x, y] = upsampled.apply(column as f64 - centre(columns), row as f64 - centre(rows));
            positions.push([x + centre(width.upsampled()), y + centre(height.upsampled())]);
        }
    }
    positions
}

/// The two samples around a position, with the weights of linear interpolation; samples outside are zero.
fn around(position: f64, samples: usize) -> impl Iterator<Item = (usize, f64)> {
    let before = position.floor();
    let fraction = position - before;
    [(before, 1.0 - fraction), (before + 1.0, fraction)]
        .into_iter()
        .filter(move |(sample, _)| *sample >= 0.0 && *sample < samples as f64)
        .map(|(sample, weight)| (sample as usize, weight))
}

/// The resampling of a batch of latents by affine maps.
pub struct Warp {
    kind: Kind,
    size: [usize; 2],
}

enum Kind {
    /// [N,H·W,H·W], from input pixels (rows) to output pixels.
    Matrix(Tensor<3>),
    /// Doubling, sampling and downsampling one after the other.
    Steps {
        /// Rows, columns: [1,1,upsampled,size].
        upsampling: [Tensor<4>; 2],
        /// Four flat indices in the upsampled latent for each sample, [N,1,samples], and their weights.
        samples: Vec<(Tensor<3, Int>, Tensor<3>)>,
        /// Rows, columns: [1,1,size,sampled].
        downsampling: [Tensor<4>; 2],
    },
}

impl Warp {
    /// One map for each latent of the batch; `size` is [rows, columns].
    ///
    /// # Panics
    /// If a side is below 2.
    pub fn new(maps: &[Affine], size: [usize; 2], device: &Device) -> Self {
        assert!(size[0] > 1 && size[1] > 1, "a latent of {size:?} cannot be padded by reflection");
        let is_small = size[0].max(size[1]) <= LARGEST_MATRIX;
        let kind = if is_small && device::is_cpu(device) { matrix(maps, size, device) } else { steps(maps, size, device) };
        Self { kind, size }
    }

    /// Resamples latents [N,C,H,W]; the shape stays.
    pub fn apply(&self, x: Tensor<4>) -> Tensor<4> {
        let [batch, channels, height, width] = x.dims();
        debug_assert_eq!([height, width], self.size);
        match &self.kind {
            Kind::Matrix(matrix) => x.reshape([batch, channels, height * width]).matmul(matrix.clone()).reshape([batch, channels, height, width]),
            Kind::Steps { upsampling: [rows, columns], samples, downsampling: [halve_rows, halve_columns] } => {
                let upsampled = rows.clone().matmul(x).matmul(columns.clone().swap_dims(2, 3));
                let [_, _, h, w] = upsampled.dims();
                let upsampled = upsampled.reshape([batch, channels, h * w]);
                let mut sampled: Option<Tensor<3>> = None;
                for (indices, weights) in samples {
                    let term = upsampled.clone().gather(2, indices.clone().repeat_dim(1, channels)) * weights.clone();
                    sampled = Some(sampled.map_or(term.clone(), |sum| sum + term));
                }
                let [_, _, _, rows] = halve_rows.dims();
                let [_, _, _, columns] = halve_columns.dims();
                let sampled = sampled.unwrap_or_else(|| upsampled.zeros_like());
                halve_rows.clone().matmul(sampled.reshape([batch, channels, rows, columns])).matmul(halve_columns.clone().swap_dims(2, 3))
            }
        }
    }
}

/// Each map as one matrix, computed in f64: first the weights of all pixels for each sample, then the downsampling of columns, then of rows.
fn matrix(maps: &[Affine], [rows, columns]: [usize; 2], device: &Device) -> Kind {
    let (height, width) = (Axis::new(rows), Axis::new(columns));
    let pixels = rows * columns;
    let upsampling = |axis: &Axis| -> Vec<Vec<(usize, f64)>> {
        let mut weights = Vec::new();
        (0..axis.upsampled())
            .map(|sample| {
                axis.upsampling(sample, &mut weights);
                weights.clone()
            })
            .collect()
    };
    let (down, across) = (upsampling(&height), upsampling(&width));
    let along = |position: f64, upsampling: &[Vec<(usize, f64)>], line: &mut [f64]| {
        line.fill(0.0);
        for (sample, fraction) in around(position, upsampling.len()) {
            for &(pixel, weight) in &upsampling[sample] {
                line[pixel] += fraction * weight;
            }
        }
    };
    let mut elements = vec![0.0f32; maps.len() * pixels * pixels];
    let make = &|maps: &[Affine], elements: &mut [f32]| {
        // Weights of all input pixels, by row of samples and column of the output.
        let mut downsampled = vec![0.0f64; height.sampled() * columns * pixels];
        let (mut column_line, mut row_line) = (vec![0.0; columns], vec![0.0; rows]);
        let mut result = vec![0.0f64; pixels];
        for (map, elements) in maps.iter().zip(elements.chunks_exact_mut(pixels * pixels)) {
            downsampled.fill(0.0);
            for (sample, [x, y]) in positions(*map, &width, &height).into_iter().enumerate() {
                along(x, &across, &mut column_line);
                along(y, &down, &mut row_line);
                let (row, column) = (sample / width.sampled(), sample % width.sampled());
                // The sample in column 2c + t + 1 is multiplied by tap t for the output's column c.
                for tap in 0..TAPS {
                    let Some(twice) = column.checked_sub(tap + 1).filter(|twice| twice.is_multiple_of(2) && twice / 2 < columns) else { continue };
                    let into = &mut downsampled[(row * columns + twice / 2) * pixels..][..pixels];
                    for (line, &y) in into.chunks_exact_mut(columns).zip(&row_line) {
                        if y != 0.0 {
                            let factor = y * width.filter[tap];
                            for (value, x) in line.iter_mut().zip(&column_line) {
                                *value += factor * x;
                            }
                        }
                    }
                }
            }
            for row in 0..rows {
                for column in 0..columns {
                    result.fill(0.0);
                    for (tap, weight) in height.filter.iter().enumerate() {
                        let from = &downsampled[((2 * row + tap + 1) * columns + column) * pixels..][..pixels];
                        for (value, from) in result.iter_mut().zip(from) {
                            *value += weight * from;
                        }
                    }
                    for (source, value) in result.iter().enumerate() {
                        elements[source * pixels + row * columns + column] = *value as f32;
                    }
                }
            }
        }
    };
    let maps_per_thread = maps.len().div_ceil(std::thread::available_parallelism().map_or(1, usize::from)).max(1);
    std::thread::scope(|scope| {
        for (maps, elements) in maps.chunks(maps_per_thread).zip(elements.chunks_mut(maps_per_thread * pixels * pixels)) {
            scope.spawn(move || make(maps, elements));
        }
    });
    Kind::Matrix(Tensor::from_data(TensorData::new(elements, [maps.len(), pixels, pixels]), device))
}

fn steps(maps: &[Affine], [rows, columns]: [usize; 2], device: &Device) -> Kind {
    let (height, width) = (Axis::new(rows), Axis::new(columns));
    let fixed = |elements: Vec<f32>, shape: [usize; 2]| Tensor::<4>::from_data(TensorData::new(elements, [1, 1, shape[0], shape[1]]), device);
    let count = height.sampled() * width.sampled();
    let mut corners: [(Vec<i32>, Vec<f32>); 4] = std::array::from_fn(|_| (Vec::with_capacity(maps.len() * count), Vec::new()));
    for map in maps {
        for [x, y] in positions(*map, &width, &height) {
            let (left, above) = (x.floor(), y.floor());
            for (corner, (indices, weights)) in corners.iter_mut().enumerate() {
                let (column, row) = (left + (corner % 2) as f64, above + (corner / 2) as f64);
                let inside = column >= 0.0 && row >= 0.0 && column < width.upsampled() as f64 && row < height.upsampled() as f64;
                let weight = (1.0 - (x - column).abs()) * (1.0 - (y - row).abs());
                indices.push(if inside { (row as usize * width.upsampled() + column as usize) as i32 } else { 0 });
                weights.push(if inside { weight as f32 } else { 0.0 });
            }
        }
    }
    let samples = corners
        .into_iter()
        .map(|(indices, weights)| {
            let shape = [maps.len(), 1, count];
            (Tensor::from_data(TensorData::new(indices, shape), device), Tensor::from_data(TensorData::new(weights, shape), device))
        })
        .collect();
    Kind::Steps {
        upsampling: [fixed(height.upsampling_matrix(), [height.upsampled(), rows]), fixed(width.upsampling_matrix(), [width.upsampled(), columns])],
        samples,
        downsampling: [fixed(height.downsampling_matrix(), [rows, height.sampled()]), fixed(width.downsampling_matrix(), [columns, width.sampled()])],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use onestep_noise::{Stream, normal};

    fn warped(map: Affine, x: &[f32], size: [usize; 2]) -> Vec<f32> {
        let device = Device::flex();
        let input = Tensor::<4>::from_data(TensorData::new(x.to_vec(), [1, 1, size[0], size[1]]), &device);
        Warp::new(&[map], size, &device).apply(input).to_data().try_to_vec().unwrap()
    }

    fn noise(size: [usize; 2]) -> Vec<f32> {
        normal(1, Stream::Training, 0, size[0] * size[1])
    }

    fn furthest(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    }

    #[test]
    fn the_identity_changes_nothing() {
        for size in [[8, 8], [16, 16], [5, 9], [24, 20], [64, 64]] {
            let x = noise(size);
            assert!(furthest(&warped(Affine::IDENTITY, &x, size), &x) < 1e-5, "{size:?}");
        }
    }

    #[test]
    fn translations_by_whole_pixels_reflect_at_the_edge() {
        for size in [[8, 8], [20, 24]] {
            let x = noise(size);
            let found = warped(Affine::translation(-1.0, 0.0), &x, size);
            for row in 0..size[0] {
                let (found, x) = (&found[row * size[1]..][..size[1]], &x[row * size[1]..][..size[1]]);
                assert!(furthest(&found[1..], &x[..size[1] - 1]) < 1e-5, "{size:?}");
                assert!((found[0] - x[1]).abs() < 1e-5, "reflected at the edge, {size:?}");
            }
        }
    }

    #[test]
    fn smooth_images_are_mapped_as_their_function_is() {
        let size = [64, 64];
        let image = |x: f64, y: f64| ((x - 6.0) * 0.13).sin() + (y * 0.09 + 1.0).cos() * (x * 0.05).cos();
        let at = |map: Affine| -> Vec<f32> {
            (0..64 * 64)
                .map(|index| {
                    let [x, y] = map.apply((index % 64) as f64 - 31.5, (index / 64) as f64 - 31.5);
                    image(x, y) as f32
                })
                .collect()
        };
        let map = Affine::rotation(0.4).of(Affine::scale(0.9, 0.8)).of(Affine::translation(1.3, -0.7));
        let (found, expected) = (warped(map, &at(Affine::IDENTITY), size), at(map));
        // Away from the edges, where the padding differs from the function.
        for row in 20..44 {
            for column in 20..44 {
                let index = row * 64 + column;
                assert!((found[index] - expected[index]).abs() < 0.02, "{row} {column}: {} {}", found[index], expected[index]);
            }
        }
    }

    #[test]
    fn the_matrix_and_the_separate_steps_are_the_same_map() {
        let device = Device::flex();
        let size = [12, 16];
        let maps: Vec<Affine> = (0..8)
            .map(|i| {
                let i = f64::from(i);
                Affine::scale(-1.0, 1.0)
                    .of(Affine::rotation(0.7 * i))
                    .of(Affine::scale(0.7 + 0.1 * i, 1.2 - 0.05 * i))
                    .of(Affine::translation(i - 3.5, 0.3 * i))
            })
            .collect();
        let x = Tensor::<4>::from_data(TensorData::new(normal(2, Stream::Training, 0, 8 * 3 * 12 * 16), [8, 3, 12, 16]), &device);
        let of = |kind| Warp { kind, size }.apply(x.clone()).to_data().try_to_vec::<f32>().unwrap();
        assert!(furthest(&of(matrix(&maps, size, &device)), &of(steps(&maps, size, &device))) < 1e-4);
    }
}
