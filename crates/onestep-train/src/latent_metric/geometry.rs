//! Geometric changes of latents as linear maps: flips, rotations, scalings and shifts, resampled with a wavelet's low-pass filter so that
//! fine detail does not alias (StyleGAN2-ADA, Karras et al. 2020, appendix B.2).
//!
//! A latent is mirrored outwards by its size less one, doubled with the filter, sampled bilinearly where the map says, and halved with the
//! filter. Every step is linear and all but the sampling work on rows and columns alone. Mirroring by as much as possible, and not by
//! what the draw of a batch needs, keeps every shape the same in every step.

use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::device;

/// Taps of the filter: the twelve of the symlet 6, whose sum is √2.
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
/// Pixels around the image that the halving filter reads.
const MARGIN: usize = TAPS / 4;
/// Largest side for which a map is kept as one matrix from pixels to pixels: beyond it that would be megabytes for each sample.
const LARGEST_MATRIX: usize = 16;

/// A map of the plane in homogeneous coordinates, from pixels of the result to pixels of the source; the origin is the image's centre,
/// x points right and y down.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine(pub [[f64; 3]; 3]);

impl Affine {
    /// Nothing moves.
    pub const IDENTITY: Self = Self::scale(1.0, 1.0);

    /// Scales the axes.
    pub const fn scale(x: f64, y: f64) -> Self {
        Self([[x, 0.0, 0.0], [0.0, y, 0.0], [0.0, 0.0, 1.0]])
    }

    /// Turns by an angle in radians.
    pub fn rotation(angle: f64) -> Self {
        let (sin, cos) = angle.sin_cos();
        Self([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
    }

    /// Moves by pixels.
    pub const fn translation(x: f64, y: f64) -> Self {
        Self([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])
    }

    /// First `other`, then this: the matrix product `self · other`.
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

/// One axis of a latent of `size` pixels: what is fixed about mirroring, doubling and halving.
struct Axis {
    size: usize,
    /// Pixels after mirroring.
    mirrored: usize,
    filter: [f64; TAPS],
}

impl Axis {
    fn new(size: usize) -> Self {
        Self { size, mirrored: 3 * size - 2, filter: filter() }
    }

    /// Samples after doubling.
    fn doubled(&self) -> usize {
        2 * self.mirrored
    }

    /// Samples before halving.
    fn sampled(&self) -> usize {
        2 * (self.size + 2 * MARGIN)
    }

    /// The pixel that stands at a place of the mirrored axis.
    fn source(&self, mirrored: usize) -> usize {
        let last = self.size - 1;
        // Counted from the image's first pixel, which stands at `last`.
        if mirrored < last {
            last - mirrored
        } else if mirrored <= 2 * last {
            mirrored - last
        } else {
            3 * last - mirrored
        }
    }

    /// Pixels and weights that make up a sample of the doubled axis: zeros between the pixels, then the filter with a gain of two.
    fn doubling(&self, sample: usize, weights: &mut Vec<(usize, f64)>) {
        weights.clear();
        for (tap, weight) in self.filter.iter().rev().enumerate() {
            // The filter begins six samples before its result.
            let Some(place) = (sample + tap).checked_sub(TAPS / 2) else { continue };
            if place.is_multiple_of(2) && place < self.doubled() {
                weights.push((self.source(place / 2), 2.0 * weight));
            }
        }
    }

    /// The doubling as a matrix [doubled,size], row-major.
    fn doubling_matrix(&self) -> Vec<f32> {
        let mut matrix = vec![0.0; self.doubled() * self.size];
        let mut weights = Vec::new();
        for sample in 0..self.doubled() {
            self.doubling(sample, &mut weights);
            for &(pixel, weight) in &weights {
                matrix[sample * self.size + pixel] += weight as f32;
            }
        }
        matrix
    }

    /// The halving as a matrix [size,sampled], row-major.
    fn halving_matrix(&self) -> Vec<f32> {
        let mut matrix = vec![0.0; self.size * self.sampled()];
        for pixel in 0..self.size {
            for (tap, weight) in self.filter.iter().enumerate() {
                matrix[pixel * self.sampled() + 2 * pixel + tap + 1] = *weight as f32;
            }
        }
        matrix
    }
}

/// Where in the doubled image a sample before halving is taken, [x, y].
fn places(map: Affine, width: &Axis, height: &Axis) -> Vec<[f64; 2]> {
    // From samples of the result to samples of the doubled source, both counted from their centres.
    let doubled = Affine::scale(2.0, 2.0).of(map).of(Affine::scale(0.5, 0.5));
    let doubled = Affine::translation(-0.5, -0.5).of(doubled).of(Affine::translation(0.5, 0.5));
    let centre = |samples: usize| samples as f64 / 2.0 - 0.5;
    let (columns, rows) = (width.sampled(), height.sampled());
    let mut places = Vec::with_capacity(columns * rows);
    for row in 0..rows {
        for column in 0..columns {
            let [x, y] = doubled.apply(column as f64 - centre(columns), row as f64 - centre(rows));
            places.push([x + centre(width.doubled()), y + centre(height.doubled())]);
        }
    }
    places
}

/// The two samples around a place, with their weights; beyond the edge there are zeros.
fn around(place: f64, samples: usize) -> impl Iterator<Item = (usize, f64)> {
    let before = place.floor();
    let part = place - before;
    [(before, 1.0 - part), (before + 1.0, part)]
        .into_iter()
        .filter(move |(sample, _)| *sample >= 0.0 && *sample < samples as f64)
        .map(|(sample, weight)| (sample as usize, weight))
}

/// The maps of a batch, ready to be applied to latents [N,C,H,W] as often as wanted.
pub struct Warp {
    kind: Kind,
    size: [usize; 2],
}

enum Kind {
    /// [N,H·W,H·W], from pixels of the source (rows) to pixels of the result.
    Matrix(Tensor<3>),
    /// Doubling, sampling and halving one after the other.
    Steps {
        /// Rows, columns: [1,1,doubled,size].
        doubling: [Tensor<4>; 2],
        /// Flat places in the doubled image, [N,1,samples], and their weights.
        samples: Vec<(Tensor<3, Int>, Tensor<3>)>,
        /// Rows, columns: [1,1,size,sampled].
        halving: [Tensor<4>; 2],
    },
}

impl Warp {
    /// For latents of `size` = [rows, columns], one map per sample.
    ///
    /// # Panics
    /// If a side is below 2.
    pub fn new(maps: &[Affine], size: [usize; 2], device: &Device) -> Self {
        assert!(size[0] > 1 && size[1] > 1, "a latent of {size:?} cannot be mirrored");
        let is_small = size[0].max(size[1]) <= LARGEST_MATRIX;
        let kind = if is_small && device::is_processor(device) { matrix(maps, size, device) } else { steps(maps, size, device) };
        Self { kind, size }
    }

    /// Latents [N,C,H,W] to the same shape.
    pub fn apply(&self, x: Tensor<4>) -> Tensor<4> {
        let [batch, channels, height, width] = x.dims();
        debug_assert_eq!([height, width], self.size);
        match &self.kind {
            Kind::Matrix(matrix) => x.reshape([batch, channels, height * width]).matmul(matrix.clone()).reshape([batch, channels, height, width]),
            Kind::Steps { doubling: [rows, columns], samples, halving: [halve_rows, halve_columns] } => {
                let doubled = rows.clone().matmul(x).matmul(columns.clone().swap_dims(2, 3));
                let [_, _, h, w] = doubled.dims();
                let doubled = doubled.reshape([batch, channels, h * w]);
                let mut sampled: Option<Tensor<3>> = None;
                for (places, weights) in samples {
                    let part = doubled.clone().gather(2, places.clone().repeat_dim(1, channels)) * weights.clone();
                    sampled = Some(sampled.map_or(part.clone(), |sum| sum + part));
                }
                let [_, _, _, rows] = halve_rows.dims();
                let [_, _, _, columns] = halve_columns.dims();
                let sampled = sampled.unwrap_or_else(|| doubled.zeros_like());
                halve_rows.clone().matmul(sampled.reshape([batch, channels, rows, columns])).matmul(halve_columns.clone().swap_dims(2, 3))
            }
        }
    }
}

/// Each map as one matrix, made in f64: first what each sample reads of the source, then the halving along columns, then along rows.
fn matrix(maps: &[Affine], [rows, columns]: [usize; 2], device: &Device) -> Kind {
    let (height, width) = (Axis::new(rows), Axis::new(columns));
    let pixels = rows * columns;
    let doubling = |axis: &Axis| -> Vec<Vec<(usize, f64)>> {
        let mut weights = Vec::new();
        (0..axis.doubled())
            .map(|sample| {
                axis.doubling(sample, &mut weights);
                weights.clone()
            })
            .collect()
    };
    let (down, across) = (doubling(&height), doubling(&width));
    let along = |place: f64, doubling: &[Vec<(usize, f64)>], line: &mut [f64]| {
        line.fill(0.0);
        for (sample, part) in around(place, doubling.len()) {
            for &(pixel, weight) in &doubling[sample] {
                line[pixel] += part * weight;
            }
        }
    };
    let mut elements = vec![0.0f32; maps.len() * pixels * pixels];
    let make = &|maps: &[Affine], elements: &mut [f32]| {
        // By row of samples and column of the result: weights of all pixels of the source.
        let mut halved = vec![0.0f64; height.sampled() * columns * pixels];
        let (mut column_line, mut row_line) = (vec![0.0; columns], vec![0.0; rows]);
        let mut result = vec![0.0f64; pixels];
        for (map, elements) in maps.iter().zip(elements.chunks_exact_mut(pixels * pixels)) {
            halved.fill(0.0);
            for (sample, [x, y]) in places(*map, &width, &height).into_iter().enumerate() {
                along(x, &across, &mut column_line);
                along(y, &down, &mut row_line);
                let (row, column) = (sample / width.sampled(), sample % width.sampled());
                // This sample is tap t of the result's column c where 2c + t + 1 is its own.
                for tap in 0..TAPS {
                    let Some(twice) = column.checked_sub(tap + 1).filter(|twice| twice.is_multiple_of(2) && twice / 2 < columns) else { continue };
                    let into = &mut halved[(row * columns + twice / 2) * pixels..][..pixels];
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
                        let from = &halved[((2 * row + tap + 1) * columns + column) * pixels..][..pixels];
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
    let share = maps.len().div_ceil(std::thread::available_parallelism().map_or(1, usize::from)).max(1);
    std::thread::scope(|scope| {
        for (maps, elements) in maps.chunks(share).zip(elements.chunks_mut(share * pixels * pixels)) {
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
        for [x, y] in places(*map, &width, &height) {
            let (left, above) = (x.floor(), y.floor());
            for (corner, (places, weights)) in corners.iter_mut().enumerate() {
                let (column, row) = (left + (corner % 2) as f64, above + (corner / 2) as f64);
                let inside = column >= 0.0 && row >= 0.0 && column < width.doubled() as f64 && row < height.doubled() as f64;
                let weight = (1.0 - (x - column).abs()) * (1.0 - (y - row).abs());
                places.push(if inside { (row as usize * width.doubled() + column as usize) as i32 } else { 0 });
                weights.push(if inside { weight as f32 } else { 0.0 });
            }
        }
    }
    let samples = corners
        .into_iter()
        .map(|(places, weights)| {
            let shape = [maps.len(), 1, count];
            (Tensor::from_data(TensorData::new(places, shape), device), Tensor::from_data(TensorData::new(weights, shape), device))
        })
        .collect();
    Kind::Steps {
        doubling: [fixed(height.doubling_matrix(), [height.doubled(), rows]), fixed(width.doubling_matrix(), [width.doubled(), columns])],
        samples,
        halving: [fixed(height.halving_matrix(), [rows, height.sampled()]), fixed(width.halving_matrix(), [columns, width.sampled()])],
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
    fn whole_shifts_move_and_mirror() {
        for size in [[8, 8], [20, 24]] {
            let x = noise(size);
            let found = warped(Affine::translation(-1.0, 0.0), &x, size);
            for row in 0..size[0] {
                let (found, x) = (&found[row * size[1]..][..size[1]], &x[row * size[1]..][..size[1]]);
                assert!(furthest(&found[1..], &x[..size[1] - 1]) < 1e-5, "{size:?}");
                assert!((found[0] - x[1]).abs() < 1e-5, "mirrored at the edge, {size:?}");
            }
        }
    }

    #[test]
    fn smooth_images_turn_as_they_should() {
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
        // Away from the edges, where the mirrored image is another.
        for row in 20..44 {
            for column in 20..44 {
                let index = row * 64 + column;
                assert!((found[index] - expected[index]).abs() < 0.02, "{row} {column}: {} {}", found[index], expected[index]);
            }
        }
    }

    /// The matrix of a small latent and the steps of a large one are the same map.
    #[test]
    fn both_forms_agree() {
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
