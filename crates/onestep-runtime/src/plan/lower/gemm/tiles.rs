//! Which kernel computes a product, and its tiles. Every tile size is a constant of the kernel.

use onestep_shaders::{self as shaders, Flags, Kernel, find};

use super::super::super::variants::{CooperativeMatrix, MatrixVariant};
use super::super::{layout::BLOCK, lowering::Lowering, step::constant};
use crate::error::RunError;

/// Workgroups that keep a GPU busy.
const BUSY_WORKGROUPS: usize = 128;

/// The most slices of k: more cost more in adding up than they gain.
const MAX_SLICES: usize = 16;

/// The fewest rows, columns and products per sum for workgroup tiles. With less, most of a tile would be empty.
const MIN_TILE_SIDE: usize = 32;

/// The fewest rows for 128-row tiles.
const MIN_ROWS_OF_TILE_128: usize = 1024;

/// The fewest pixels of a row for row strips.
const MIN_STRIP_ROW: usize = 6;

/// The size of a product, as far as it decides about the kernel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    /// N, Ho, Wo: their product is the number of rows.
    pub(super) rows: [usize; 3],
    /// Output channels.
    pub(super) columns: usize,
    /// Input channels.
    pub(super) depth: usize,
    /// Taps of the convolution kernel; 1 without one.
    pub(super) taps: usize,
    /// True for a convolution with taps.
    pub(super) convolution: bool,
    /// The width of the convolution kernel if neighbouring pixels share taps: with stride and dilation 1.
    pub(super) overlapping_width: Option<usize>,
    /// True if half of the columns are gates.
    pub(super) gated: bool,
}

impl Size {
    pub(super) fn row_count(&self) -> usize {
        self.rows.iter().product()
    }

    pub(super) fn column_blocks(&self) -> usize {
        self.columns.div_ceil(BLOCK)
    }

    pub(super) fn depth_blocks(&self) -> usize {
        self.depth.div_ceil(BLOCK)
    }
}

/// A kernel and the grid of its tiles.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tiling {
    pub(super) kernel: &'static Kernel,
    pub(super) row_tiles: usize,
    pub(super) column_tiles: usize,
    /// Column blocks of a panel of the packed weights.
    pub(super) panel_blocks: usize,
    /// For kernels that stage k in workgroup memory.
    pub(super) staging: Option<Staging>,
}

/// How a kernel walks over k.
#[derive(Clone, Copy, Debug)]
pub(super) struct Staging {
    /// Steps over the channels of one tap.
    pub(super) depth_steps: usize,
    /// Slices of k; more than one for split-K.
    pub(super) k_slices: usize,
}

impl Tiling {
    fn of(kernel: &'static Kernel, size: &Size) -> Result<Self, RunError> {
        let columns = constant(kernel, "COLUMNS")?;
        let (row_tiles, column_tiles) = (row_tiles(kernel, size.rows)?, size.column_blocks().div_ceil(columns));
        Ok(Self { kernel, row_tiles, column_tiles, panel_blocks: columns, staging: None })
    }

    pub(super) fn count(&self) -> usize {
        self.row_tiles * self.column_tiles
    }
}

/// Tiles of a matrix kernel along the rows N, Ho, Wo. A row strip does not reach beyond its row.
pub(in crate::plan::lower) fn row_tiles(kernel: &Kernel, rows: [usize; 3]) -> Result<usize, RunError> {
    match kernel.constant("PIXELS") {
        Some(pixels) => Ok(rows[0] * rows[1] * rows[2].div_ceil(pixels as usize)),
        None => Ok(rows.iter().product::<usize>().div_ceil(constant(kernel, "ROWS")?)),
    }
}

/// Into how many slices k is split: until about [`BUSY_WORKGROUPS`] run, with two steps per slice at least.
fn k_slices(tiles: usize, steps: usize) -> usize {
    let wanted = (BUSY_WORKGROUPS / tiles.max(1)).clamp(1, MAX_SLICES).min(steps / 2).max(1);
    // Rounding up the steps of a slice may leave the last slices empty.
    steps.div_ceil(steps.div_ceil(wanted))
}

impl Lowering<'_> {
    /// The kernel for a product, by the adapter's kernel variant and the product's size.
    pub(super) fn tiling(&self, size: &Size, f16_weights: bool) -> Result<Tiling, RunError> {
        let variant = self.capabilities.variants.matrix;
        let fills_tiles = size.row_count() >= MIN_TILE_SIDE && size.columns >= MIN_TILE_SIDE && size.depth * size.taps >= MIN_TILE_SIDE;
        let flags = Flags::TAPS.when(size.convolution) | Flags::WEIGHT_F16.when(f16_weights);
        match variant {
            MatrixVariant::Register => self.register_tiling(size, flags),
            _ if !fills_tiles => self.register_tiling(size, flags),
            _ => self.workgroup_tiling(size, flags),
        }
    }

    /// Tiles in registers: row strips where neighbouring pixels share taps, otherwise rows.
    fn register_tiling(&self, size: &Size, flags: Flags) -> Result<Tiling, RunError> {
        let thin = self.kernel("gemm_register_c8", flags)?;
        let kernel = match self.strip_kernel(size, flags)? {
            Some(strip) => strip,
            None if size.columns > constant(thin, "COLUMNS")? * BLOCK => self.kernel("gemm_register_c16", flags)?,
            None => thin,
        };
        let tiling = Tiling::of(kernel, size)?;
        // Panels of several tiles, so that products of a weight can share one packing.
        let panel_blocks = (tiling.panel_blocks * tiling.column_tiles).min(self.tile_columns()?);
        Ok(Tiling { panel_blocks, ..tiling })
    }

    /// The row-strip kernel for a convolution; none if its taps do not overlap, its width has no kernel, or most of a strip would be empty.
    fn strip_kernel(&self, size: &Size, flags: Flags) -> Result<Option<&'static Kernel>, RunError> {
        let row = size.rows[2];
        let Some(width) = size.overlapping_width.filter(|_| row >= MIN_STRIP_ROW) else { return Ok(None) };
        let flags = flags | self.activation_flags();
        let [Some(long), Some(short)] = ["long", "short"].map(|strip| find(&format!("conv_strip_{strip}_k{width}"), flags)) else {
            return Ok(None);
        };
        let [long_pixels, short_pixels] = [constant(long, "PIXELS")?, constant(short, "PIXELS")?];
        let long_fits = row.next_multiple_of(long_pixels) <= row.next_multiple_of(short_pixels) + row / 4;
        Ok(Some(if long_fits { long } else { short }))
    }

    /// Tiles in workgroup memory, or cooperative matrices if the adapter's variant and the product allow them.
    fn workgroup_tiling(&self, size: &Size, flags: Flags) -> Result<Tiling, RunError> {
        let variant = self.capabilities.variants.matrix;
        if variant == MatrixVariant::Tile128 && size.row_count() >= MIN_ROWS_OF_TILE_128 {
            let tile128 = Tiling::of(self.kernel("gemm_tile_r128", flags)?, size)?;
            if tile128.count() >= BUSY_WORKGROUPS {
                return self.staged(tile128, size, 1);
            }
        }
        let tiling = Tiling::of(self.kernel("gemm_tile_r64", flags)?, size)?;
        let slices = k_slices(tiling.count(), size.taps * self.depth_steps(tiling.kernel, size)?);
        if slices > 1 {
            return self.staged(Tiling::of(self.kernel("gemm_tile_r64", flags | Flags::SPLIT)?, size)?, size, slices);
        }
        if let MatrixVariant::Cooperative(matrix) = variant
            && !size.gated
            && let Some(kernel) = find(cooperative_family(matrix), flags | self.activation_flags())
        {
            return self.staged(Tiling::of(kernel, size)?, size, 1);
        }
        self.staged(tiling, size, 1)
    }

    fn staged(&self, tiling: Tiling, size: &Size, k_slices: usize) -> Result<Tiling, RunError> {
        let depth_steps = self.depth_steps(tiling.kernel, size)?;
        Ok(Tiling { staging: Some(Staging { depth_steps, k_slices }), ..tiling })
    }

    /// Steps of a kernel over the channels of one tap.
    fn depth_steps(&self, kernel: &Kernel, size: &Size) -> Result<usize, RunError> {
        Ok(size.depth_blocks().div_ceil(constant(kernel, "DEPTH")?).max(1))
    }

    /// Column blocks of a workgroup tile: of the widest panels, and the padding of a bias.
    pub(super) fn tile_columns(&self) -> Result<usize, RunError> {
        constant(&shaders::GEMM_TILE_R64, "COLUMNS")
    }
}

/// The kernel family of a kind of cooperative matrices. The f16 families have no variant for f32 weights, which they would round.
fn cooperative_family(matrix: CooperativeMatrix) -> &'static str {
    match matrix {
        CooperativeMatrix::F16x16 => "gemm_coop_f16_16x16",
        CooperativeMatrix::F16x8 => "gemm_coop_f16_8x8",
        CooperativeMatrix::F32x8 => "gemm_coop_f32_8x8",
    }
}
