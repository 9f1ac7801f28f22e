//! One call of a matrix kernel.

use onestep_program::{Activation, DType, ValueId};
use onestep_shaders::{self as shaders, Flags, Kernel};

use super::super::super::{axes::IndexBox, params::Params, weights::Layout};
use super::super::{
    layout::{BLOCK, View},
    lowering::Lowering,
    step::{Resource, StoredRows, activation, constant},
};
use super::tiles::{Size, Staging, Tiling, row_tiles};
use crate::error::RunError;

/// A tensor as the matrix kernels address it: channel blocks at the pixels of [N, H, W].
#[derive(Clone, Debug)]
pub(super) struct PixelView {
    pub(super) resource: Resource,
    /// In blocks.
    pub(super) start: usize,
    /// Blocks between neighbours along N, H, W.
    pub(super) strides: [usize; 3],
}

impl PixelView {
    /// A blocked view of an image [N, C, H, W].
    pub(super) fn of_image(view: &View) -> Self {
        Self { resource: view.resource, start: view.start / BLOCK, strides: [0, 2, 3].map(|axis| view.strides[axis] / BLOCK) }
    }

    pub(super) fn absent() -> Self {
        Self { resource: Resource::Absent, start: 0, strides: [0; 3] }
    }

    /// Sets start and strides among a kernel's parameters.
    pub(super) fn set(&self, params: &mut Params, name: &str) {
        params.set(&format!("{name}_start"), self.start);
        for (axis, stride) in ["n", "y", "x"].into_iter().zip(self.strides) {
            params.set(&format!("{name}_{axis}"), stride);
        }
    }
}

/// The geometry of a convolution.
#[derive(Clone, Debug)]
pub(super) struct Taps {
    /// H, W of x.
    pub(super) input: [usize; 2],
    pub(super) kernel: [usize; 2],
    pub(super) stride: [usize; 2],
    /// Rows of zeros above x, columns of zeros to the left.
    pub(super) padding: [i32; 2],
    pub(super) dilation: [usize; 2],
}

impl Taps {
    fn set(&self, params: &mut Params) {
        for (name, value) in [
            ("height", self.input[0]),
            ("width", self.input[1]),
            ("kernel_height", self.kernel[0]),
            ("kernel_width", self.kernel[1]),
            ("stride_y", self.stride[0]),
            ("stride_x", self.stride[1]),
            ("dilation_y", self.dilation[0]),
            ("dilation_x", self.dilation[1]),
        ] {
            params.set(name, value);
        }
        params.integer("pad_top", self.padding[0]);
        params.integer("pad_left", self.padding[1]);
    }
}

/// The weights of a product, [columns, depth, taps].
#[derive(Clone, Copy, Debug)]
pub(super) enum Matrix<'v> {
    /// A weight, from an element on.
    Weight(ValueId, usize),
    /// A view of a computed tensor.
    Computed(&'v View),
}

/// One call of a matrix kernel.
pub(super) struct Product<'v> {
    /// N, Ho, Wo.
    pub(super) rows: [usize; 3],
    /// Output channels.
    pub(super) columns: usize,
    /// Input channels.
    pub(super) depth: usize,
    pub(super) x: PixelView,
    pub(super) matrix: Matrix<'v>,
    /// Absent for linear layers, products and pointwise convolutions.
    pub(super) taps: Option<Taps>,
    pub(super) bias: Option<ValueId>,
    pub(super) act: Activation,
    /// True for GEGLU: half of the columns are gates, and y = values · gelu(gates) has the other half.
    pub(super) gated: bool,
    pub(super) residual: Option<PixelView>,
    pub(super) y: PixelView,
    /// If y is one of the four phases of an image of twice the height and width: that image, and the number of the phase.
    pub(super) phase: Option<(PixelView, usize)>,
}

impl Product<'_> {
    fn size(&self) -> Size {
        let taps = self.taps.as_ref();
        let overlapping = taps.filter(|taps| taps.stride == [1, 1] && taps.dilation == [1, 1]);
        Size {
            rows: self.rows,
            columns: self.columns,
            depth: self.depth,
            taps: taps.map_or(1, |taps| taps.kernel[0] * taps.kernel[1]),
            convolution: taps.is_some(),
            overlapping_width: overlapping.map(|taps| taps.kernel[1]),
            gated: self.gated,
        }
    }

    fn residual(&self) -> PixelView {
        self.residual.clone().unwrap_or_else(PixelView::absent)
    }

    /// Sets the parameters of shared/epilogue.wgsl.
    fn set_epilogue(&self, params: &mut Params, kernel: &Kernel) -> Result<(), RunError> {
        params.set("out_height", self.rows[1]);
        params.set("out_width", self.rows[2]);
        params.set("act", constant(kernel, if self.gated { "ACT_GEGLU" } else { activation(self.act) })?);
        self.y.set(params, "y");
        self.residual().set(params, "residual");
        params.flag("has_bias", self.bias.is_some());
        params.flag("has_residual", self.residual.is_some());
        Ok(())
    }
}

impl Lowering<'_> {
    /// Adds the dispatches of a product.
    pub(super) fn product(&mut self, product: &Product<'_>) -> Result<(), RunError> {
        let size = product.size();
        if size.row_count() == 0 || product.columns == 0 {
            return Ok(());
        }
        let f16_weights = match product.matrix {
            Matrix::Weight(id, _) => self.is_f16_weight(id) && self.capabilities.variants.f16_weights,
            Matrix::Computed(_) => false,
        } || self.options.f16_activations;
        let tiling = self.tiling(&size, f16_weights)?;
        let weights = self.weight_panels(product, &size, tiling.panel_blocks * BLOCK, f16_weights)?;
        let bias = match product.bias {
            Some(id) => self.padded_vector(id, size.column_blocks().next_multiple_of(self.tile_columns()?) * BLOCK)?,
            None => Resource::Absent,
        };
        let mut params = Params::new(tiling.kernel);
        for (name, value) in [
            ("rows", size.row_count()),
            ("row_tiles", tiling.row_tiles),
            ("count", tiling.count()),
            ("column_blocks", size.column_blocks()),
            ("depth_blocks", size.depth_blocks()),
            ("panel_blocks", tiling.panel_blocks),
        ] {
            params.set(name, value);
        }
        product.x.set(&mut params, "x");
        product.set_epilogue(&mut params, tiling.kernel)?;
        if let Some(taps) = &product.taps {
            taps.set(&mut params);
        }
        let Some(staging) = tiling.staging else {
            let bindings =
                vec![("x", product.x.resource), ("w", weights), ("bias", bias), ("residual", product.residual().resource), ("y", product.y.resource)];
            self.dispatch_invocations(tiling.kernel, params, bindings, tiling.count());
            return Ok(());
        };
        params.set("depth_steps", staging.depth_steps);
        params.set("steps", (size.taps * staging.depth_steps).div_ceil(staging.k_slices));
        self.staged_product(product, &size, &tiling, staging, params, [weights, bias])
    }

    /// The dispatch of a kernel that stages k, or the two of split-K.
    fn staged_product(
        &mut self,
        product: &Product<'_>,
        size: &Size,
        tiling: &Tiling,
        staging: Staging,
        params: Params,
        [weights, bias]: [Resource; 2],
    ) -> Result<(), RunError> {
        let residual = product.residual().resource;
        if staging.k_slices == 1 {
            let bindings = vec![("x", product.x.resource), ("w", weights), ("bias", bias), ("residual", residual), ("y", product.y.resource)];
            self.dispatch(tiling.kernel, params, bindings, tiling.count());
            return self.record_stored_rows(product, size);
        }
        let (rows, column_blocks) = (size.row_count(), size.column_blocks());
        let partial = self.allocate(staging.k_slices * rows * column_blocks * BLOCK, 4)?;
        let bindings = vec![("x", product.x.resource), ("w", weights), ("bias", Resource::Absent), ("residual", Resource::Absent), ("y", partial)];
        self.dispatch(tiling.kernel, params, bindings, tiling.count());
        self.steps.last_mut().into_iter().for_each(|step| step.k_slices = staging.k_slices);
        let kernel = self.kernel("split_sum", Flags::NONE)?;
        let mut params = Params::new(kernel);
        params.set("rows", rows);
        params.set("slices", staging.k_slices);
        params.set("column_blocks", column_blocks);
        product.set_epilogue(&mut params, kernel)?;
        let bindings = vec![("x", partial), ("bias", bias), ("residual", residual), ("y", product.y.resource)];
        self.dispatch_invocations(kernel, params, bindings, if product.gated { rows * column_blocks / 2 } else { rows * column_blocks });
        self.record_stored_rows(product, size)
    }

    /// Notes at the last step which rows it stores, if a variant of its kernel can also write the statistics of a group norm.
    fn record_stored_rows(&mut self, product: &Product<'_>, size: &Size) -> Result<(), RunError> {
        let count = size.row_count();
        let [n, height, width] = product.rows;
        let (whole, rows, first) = match &product.phase {
            _ if product.gated => return Ok(()),
            // The phases of several images are not contiguous.
            Some(_) if n > 1 => return Ok(()),
            Some((whole, phase)) => (whole, [n, 2 * height, 2 * width], phase * count),
            None => (&product.y, product.rows, 0),
        };
        let Some(step) = self.steps.last_mut() else { return Ok(()) };
        if let Some(kernel) = step.kernel.with(Flags::STATS) {
            step.stored = Some(StoredRows {
                y: whole.resource,
                rows: IndexBox::merged(&rows, [&whole.strides]),
                start: whole.start,
                column_blocks: size.column_blocks(),
                first,
                count,
                workgroups: row_tiles(kernel, product.rows)? * size.column_blocks().div_ceil(constant(kernel, "COLUMNS")?),
            });
        }
        Ok(())
    }

    /// The weights of a product in panels of `panel` columns: packed on upload if they are a weight, otherwise copied on the GPU.
    fn weight_panels(&mut self, product: &Product<'_>, size: &Size, panel: usize, f16: bool) -> Result<Resource, RunError> {
        let Size { columns, depth, taps, .. } = *size;
        match product.matrix {
            Matrix::Weight(id, start) => {
                let layout = Layout::Panels { start, columns, depth, taps, panel, gated: product.gated };
                Ok(Resource::Weight(self.weight(id, layout, if f16 { DType::F16 } else { DType::F32 })?))
            }
            Matrix::Computed(view) => {
                let padded = [columns.div_ceil(panel), taps, depth.next_multiple_of(BLOCK), panel];
                let packed = self.allocate_blocked(&padded, 3)?;
                self.fill(&padded, 3, &packed, 0.0)?;
                let keep = constant(&shaders::COPY, "KEEP_AFTER")?;
                for first in (0..columns).step_by(panel) {
                    let shape = [(columns - first).min(panel), depth, taps];
                    let source = view.part(&[columns, depth, taps], &[first, 0, 0], &shape);
                    let start = packed.start + first / panel * packed.strides[0];
                    let sink = View { block_axis: Some(0), start, strides: vec![1, packed.strides[2], packed.strides[1]], ..packed.clone() };
                    self.copy(&shape, &source, &sink, keep)?;
                }
                Ok(packed.resource)
            }
        }
    }
}
