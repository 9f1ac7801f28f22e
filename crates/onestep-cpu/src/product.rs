//! Matrix products: the inner loop of convolutions, linear layers and attention.
//!
//! `a·b` is computed in tiles of [`ROWS`] rows and [`VECTORS`] SIMD vectors of columns; the sums stay in registers. b is packed into panels of
//! a tile's width, so that its vectors are contiguous; a is read in row-major order or packed into strips of a tile's height. Weights are
//! packed when a program is loaded, image patches while it runs.
//!
//! Not by a GEMM crate: those take matrices in memory, so the patches of a whole image would be written out before the product.

use pulp::{Arch, Simd, WithSimd};

/// Rows of a tile: twelve sums, two vectors of b and one element of a fill sixteen registers. V8 keeps fewer values in registers and is at most
/// half as fast with six rows as with four, with or without fused multiply-add.
const ROWS: usize = if cfg!(target_arch = "wasm32") { 4 } else { 6 };
/// SIMD vectors per row of a tile.
pub(crate) const VECTORS: usize = 2;
/// Rows of a panel that are summed at a time, so that they stay in the L1 cache.
pub(crate) const DEPTH: usize = 256;

/// Columns of a panel on this CPU.
pub(crate) fn panel_width() -> usize {
    struct Width;
    impl WithSimd for Width {
        type Output = usize;
        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> usize {
            VECTORS * S::F32_LANES
        }
    }
    Arch::new().dispatch(Width)
}

/// A matrix [K,N] packed into panels: all rows of each [`panel_width`] columns, padded with zeros to a multiple of that width.
pub(crate) struct Panels {
    /// K.
    depth: usize,
    /// N.
    columns: usize,
    width: usize,
    elements: Vec<f32>,
}

impl Panels {
    /// Number of stored elements, including padding.
    pub(crate) fn elements(&self) -> usize {
        self.elements.len()
    }

    /// Packs the transpose of a row-major matrix [N,K].
    pub(crate) fn transposed(matrix: &[f32], columns: usize, depth: usize) -> Self {
        let width = panel_width();
        let mut elements = vec![0.0; columns.div_ceil(width) * width * depth];
        for (column, values) in matrix.chunks_exact(depth.max(1)).enumerate() {
            let panel = &mut elements[column / width * width * depth..];
            for (row, &value) in panel.chunks_exact_mut(width).zip(values) {
                row[column % width] = value;
            }
        }
        Self { depth, columns, width, elements }
    }

    /// Packs a row-major matrix [K,N].
    pub(crate) fn new(matrix: &[f32], depth: usize, columns: usize) -> Self {
        let width = panel_width();
        let mut elements = vec![0.0; columns.div_ceil(width) * width * depth];
        for (index, panel) in elements.chunks_exact_mut((width * depth).max(1)).enumerate() {
            let first = index * width;
            let count = width.min(columns - first);
            for (row, values) in panel.chunks_exact_mut(width).zip(matrix.chunks_exact(columns)) {
                row[..count].copy_from_slice(&values[first..first + count]);
            }
        }
        Self { depth, columns, width, elements }
    }

    /// N.
    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// `c += a·b` with a [M,K], c [M,N] and these panels as b.
    pub(crate) fn multiply(&self, a: &[f32], c: &mut [f32]) {
        if self.depth == 0 || self.columns == 0 {
            return;
        }
        let rows = a.len() / self.depth;
        for (index, panel) in self.elements.chunks_exact(self.width * self.depth).enumerate() {
            let first = index * self.width;
            for (part, panel) in panel.chunks(self.width * DEPTH).enumerate() {
                let c = &mut c[first..];
                let columns = self.width.min(self.columns - first);
                let a = Left::Plain { elements: &a[part * DEPTH..], stride: self.depth };
                multiply_panel(Product { rows, a, panel, c, c_stride: self.columns, columns, add: true });
            }
        }
    }
}

/// A matrix [M,K] packed into strips: all columns of each [`ROWS`] rows; the last strip may have fewer rows.
pub(crate) struct Strips {
    /// M.
    rows: usize,
    /// K.
    depth: usize,
    elements: Vec<f32>,
}

impl Strips {
    /// Number of stored elements.
    pub(crate) fn elements(&self) -> usize {
        self.elements.len()
    }

    /// Packs a row-major matrix [M,K].
    pub(crate) fn new(matrix: &[f32], rows: usize, depth: usize) -> Self {
        let mut elements = Vec::with_capacity(matrix.len());
        for strip in matrix.chunks((ROWS * depth).max(1)) {
            for column in 0..depth {
                elements.extend(strip[column..].iter().step_by(depth));
            }
        }
        Self { rows, depth, elements }
    }

    /// M.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// K.
    pub(crate) fn depth(&self) -> usize {
        self.depth
    }
}

/// The left operand of a product.
#[derive(Clone, Copy)]
pub(crate) enum Left<'a> {
    /// Row-major: row i begins at `i · stride`.
    Plain { elements: &'a [f32], stride: usize },
    /// The columns of `strips` from `first` on.
    Strips { strips: &'a Strips, first: usize },
}

/// `c = a·panel`, or `c += a·panel` if `add`.
pub(crate) struct Product<'a> {
    pub(crate) rows: usize,
    pub(crate) a: Left<'a>,
    /// K rows of [`panel_width`] columns.
    pub(crate) panel: &'a [f32],
    /// Row i begins at `i · c_stride`.
    pub(crate) c: &'a mut [f32],
    pub(crate) c_stride: usize,
    /// Columns of c; at most the width of the panel.
    pub(crate) columns: usize,
    /// True to add to c, false to overwrite it.
    pub(crate) add: bool,
}

pub(crate) fn multiply_panel(product: Product<'_>) {
    Arch::new().dispatch(product);
}

impl WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let mut row = 0;
        while row < self.rows {
            let to = Target { elements: &mut self.c[row * self.c_stride..], stride: self.c_stride, columns: self.columns, add: self.add };
            match self.rows - row {
                1 => tile::<S, 1>(simd, self.panel, self.a, row, to),
                2 => tile::<S, 2>(simd, self.panel, self.a, row, to),
                3 => tile::<S, 3>(simd, self.panel, self.a, row, to),
                #[cfg(not(target_arch = "wasm32"))]
                4 => tile::<S, 4>(simd, self.panel, self.a, row, to),
                #[cfg(not(target_arch = "wasm32"))]
                5 => tile::<S, 5>(simd, self.panel, self.a, row, to),
                _ => tile::<S, ROWS>(simd, self.panel, self.a, row, to),
            }
            row += ROWS;
        }
    }
}

/// Destination of a tile.
struct Target<'a> {
    elements: &'a mut [f32],
    stride: usize,
    columns: usize,
    add: bool,
}

#[inline(always)]
fn tile<S: Simd, const R: usize>(simd: S, panel: &[f32], a: Left<'_>, row: usize, to: Target<'_>) {
    let (vectors, _) = S::as_simd_f32s(panel);
    let (panel, _) = vectors.as_chunks::<VECTORS>();
    let mut sums = [[simd.splat_f32s(0.0); VECTORS]; R];
    match a {
        Left::Plain { elements, stride } => {
            let rows: [&[f32]; R] = std::array::from_fn(|index| &elements[(row + index) * stride..][..panel.len()]);
            for (k, b) in panel.iter().enumerate() {
                let mut a = [0.0; R];
                for (a, row) in a.iter_mut().zip(rows) {
                    *a = row[k];
                }
                add_products(simd, &a, b, &mut sums);
            }
        }
        Left::Strips { strips, first } => {
            let (columns, _) = strips.elements[row * strips.depth + first * R..].as_chunks::<R>();
            for (a, b) in columns.iter().zip(panel) {
                add_products(simd, a, b, &mut sums);
            }
        }
    }
    for (row, sums) in sums.iter().enumerate() {
        let c = &mut to.elements[row * to.stride..][..to.columns];
        if to.columns == VECTORS * S::F32_LANES {
            let (vectors, _) = S::as_mut_simd_f32s(c);
            for (vector, &sum) in vectors.iter_mut().zip(sums) {
                *vector = if to.add { simd.add_f32s(*vector, sum) } else { sum };
            }
        } else {
            for (part, &sum) in c.chunks_mut(S::F32_LANES).zip(sums) {
                let sum = if to.add { simd.add_f32s(simd.partial_load_f32s(part), sum) } else { sum };
                simd.partial_store_f32s(part, sum);
            }
        }
    }
}

/// Adds the outer product of one column of a and one row of b.
#[inline(always)]
fn add_products<S: Simd, const R: usize>(simd: S, a: &[f32; R], b: &[S::f32s; VECTORS], sums: &mut [[S::f32s; VECTORS]; R]) {
    for (&a, sums) in a.iter().zip(sums) {
        let a = simd.splat_f32s(a);
        for (sum, &b) in sums.iter_mut().zip(b) {
            *sum = simd.mul_add_e_f32s(a, b, *sum);
        }
    }
}
