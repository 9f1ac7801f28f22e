//! Matrix products: one inner loop under convolutions, linears and attention.
//!
//! `c += a·b` is computed in tiles of [`ROWS`] rows and [`VECTORS`] vectors of columns, whose sums stay in registers. a is read as it lies,
//! one element of each row for all columns; b lies in panels as wide as a tile, so that its vectors follow each other in memory. Weights
//! become panels when a program is loaded, patches of pictures while it runs.

use pulp::{Arch, Simd, WithSimd};

/// Rows of a tile: twelve sums, two vectors of b and one element of a fill sixteen registers. A browser's engine needs some of them for
/// products that it cannot add in one instruction.
const ROWS: usize = if cfg!(target_arch = "wasm32") { 4 } else { 6 };
/// Vectors in a row of a tile.
pub(crate) const VECTORS: usize = 2;
/// Products summed in one go: a panel so deep stays in the first cache.
pub(crate) const DEPTH: usize = 256;

/// Columns of a panel on this processor.
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

/// A matrix [K,N] as panels: of each [`panel_width`] columns all rows, one after the other, with zeros beyond N.
pub(crate) struct Panels {
    /// K.
    depth: usize,
    /// N.
    columns: usize,
    width: usize,
    elements: Vec<f32>,
}

impl Panels {
    /// Of a matrix [N,K], which is stored transposed.
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

    /// Of a matrix [K,N].
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

    /// `c += a·b` with a [M,K] and c [M,N], b being these panels.
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
                multiply_panel(Product { rows, a: &a[part * DEPTH..], a_stride: self.depth, panel, c, c_stride: self.columns, columns });
            }
        }
    }
}

/// `c += a·panel`.
pub(crate) struct Product<'a> {
    pub(crate) rows: usize,
    /// Row i begins at `i · a_stride`.
    pub(crate) a: &'a [f32],
    pub(crate) a_stride: usize,
    /// K rows of [`panel_width`] columns.
    pub(crate) panel: &'a [f32],
    /// Row i begins at `i · c_stride`.
    pub(crate) c: &'a mut [f32],
    pub(crate) c_stride: usize,
    /// Columns of the panel that c has; at most its width.
    pub(crate) columns: usize,
}

pub(crate) fn multiply_panel(product: Product<'_>) {
    Arch::new().dispatch(product);
}

impl WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (vectors, _) = S::as_simd_f32s(self.panel);
        let (panel, _) = vectors.as_chunks::<VECTORS>();
        let mut row = 0;
        while row < self.rows {
            let a = &self.a[row * self.a_stride..];
            let c = &mut self.c[row * self.c_stride..];
            let (strides, columns) = ([self.a_stride, self.c_stride], self.columns);
            match self.rows - row {
                1 => tile::<S, 1>(simd, panel, a, c, strides, columns),
                2 => tile::<S, 2>(simd, panel, a, c, strides, columns),
                3 => tile::<S, 3>(simd, panel, a, c, strides, columns),
                4 => tile::<S, 4>(simd, panel, a, c, strides, columns),
                #[cfg(not(target_arch = "wasm32"))]
                5 => tile::<S, 5>(simd, panel, a, c, strides, columns),
                _ => tile::<S, ROWS>(simd, panel, a, c, strides, columns),
            }
            row += ROWS;
        }
    }
}

#[inline(always)]
fn tile<S: Simd, const R: usize>(simd: S, panel: &[[S::f32s; VECTORS]], a: &[f32], c: &mut [f32], [a_stride, c_stride]: [usize; 2], columns: usize) {
    let rows: [&[f32]; R] = std::array::from_fn(|row| &a[row * a_stride..][..panel.len()]);
    let mut sums = [[simd.splat_f32s(0.0); VECTORS]; R];
    for (k, b) in panel.iter().enumerate() {
        for (row, sums) in rows.iter().zip(&mut sums) {
            let a = simd.splat_f32s(row[k]);
            for (sum, &b) in sums.iter_mut().zip(b) {
                *sum = simd.mul_add_e_f32s(a, b, *sum);
            }
        }
    }
    for (row, sums) in sums.iter().enumerate() {
        let c = &mut c[row * c_stride..][..columns];
        if columns == VECTORS * S::F32_LANES {
            let (vectors, _) = S::as_mut_simd_f32s(c);
            for (vector, &sum) in vectors.iter_mut().zip(sums) {
                *vector = simd.add_f32s(*vector, sum);
            }
        } else {
            for (piece, &sum) in c.chunks_mut(S::F32_LANES).zip(sums) {
                simd.partial_store_f32s(piece, simd.add_f32s(simd.partial_load_f32s(piece), sum));
            }
        }
    }
}
