//! Convolutions, linear layers and products: all are the matrix kernel over rows of pixels.

use onestep_program::{Activation, DType, Node, Op, ValueId};
use onestep_shaders::{self as shaders, Kernel};

use super::{Bound, Lowering, Params, Stored, UNIT, View, activation, around, constant, elements, order, unit_strides};
use crate::{
    error::RunError,
    plan::{Cooperative, Layout, MatrixForm, axes::IndexBox, axes::broadcast_strides},
};

/// Columns of the panels in which weights are packed for the tiles that workgroups share.
const PANEL: usize = 64;

/// A tensor as the matrix kernel sees it: units of channels at the pixels of [N, H, W].
#[derive(Clone, Debug)]
struct Pixels {
    bound: Bound,
    /// In units.
    start: usize,
    /// Units between neighbours along N, H, W.
    strides: [usize; 3],
}

impl Pixels {
    /// A view [N, C, H, W] in units of channels.
    fn of_image(view: &View) -> Self {
        Self { bound: view.bound, start: view.start / UNIT, strides: [0, 2, 3].map(|axis| view.strides[axis] / UNIT) }
    }

    fn nothing() -> Self {
        Self { bound: Bound::Absent, start: 0, strides: [0; 3] }
    }
}

/// The kernel of a convolution and how it walks.
#[derive(Clone, Debug)]
struct Taps {
    /// H, W of x.
    input: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
    /// Zeros above and to the left.
    before: [i32; 2],
    dilation: [usize; 2],
}

/// A form of the convolution over strips of a row.
struct Strip {
    pixels: usize,
    /// Units of channels.
    columns: usize,
    kernels: [&'static Kernel; 3],
}

impl Taps {
    /// The form of the kernel over strips that suits rows of that many pixels: none where most of a strip would be empty, or where
    /// neighbouring pixels share no taps.
    fn strip(&self, width: usize) -> Option<Strip> {
        if self.stride != [1, 1] || self.dilation != [1, 1] || width < 6 {
            return None;
        }
        let long = width.next_multiple_of(16) <= width.next_multiple_of(8) + width / 4;
        let kernels = match (self.kernel[1], long) {
            (3, true) => [&shaders::CONV_ROWS, &shaders::CONV_ROWS_F16, &shaders::CONV_ROWS_NARROW],
            (3, false) => [&shaders::CONV_ROWS_SHORT, &shaders::CONV_ROWS_SHORT_F16, &shaders::CONV_ROWS_SHORT_NARROW],
            (2, true) => [&shaders::CONV_ROWS_TWO, &shaders::CONV_ROWS_TWO_F16, &shaders::CONV_ROWS_TWO_NARROW],
            (2, false) => [&shaders::CONV_ROWS_SHORT_TWO, &shaders::CONV_ROWS_SHORT_TWO_F16, &shaders::CONV_ROWS_SHORT_TWO_NARROW],
            _ => return None,
        };
        Some(if long { Strip { pixels: 16, columns: 2, kernels } } else { Strip { pixels: 8, columns: 4, kernels } })
    }
}

/// A weight matrix [columns, depth · taps] on its way to the kernel.
#[derive(Clone, Copy, Debug)]
enum Matrix<'v> {
    /// A weight of the files, or that part of it that starts at an element.
    Weight(ValueId, usize),
    /// A computed tensor [columns, depth, taps]: its view as such.
    Computed(&'v View),
}

/// One call of the matrix kernel.
struct Product<'v> {
    /// N, Ho, Wo.
    rows: [usize; 3],
    columns: usize,
    /// Input channels.
    depth: usize,
    x: Pixels,
    matrix: Matrix<'v>,
    taps: Option<Taps>,
    bias: Option<ValueId>,
    act: Activation,
    /// Half of the columns are gates: y = values · gelu(gates), and has the other half.
    gated: bool,
    residual: Option<Pixels>,
    y: Pixels,
    /// The image of twice the height and width of which y is one of four phases, and which.
    phase: Option<(Pixels, usize)>,
}

impl<'a> Lowering<'a> {
    /// The matrix kernel, in the form that suits the adapter and the size.
    fn product(&mut self, product: &Product<'_>) -> Result<(), RunError> {
        let rows: usize = product.rows.iter().product();
        if rows == 0 || product.columns == 0 {
            return Ok(());
        }
        let (columns, depth) = (product.columns.div_ceil(UNIT), product.depth.div_ceil(UNIT));
        let taps = product.taps.as_ref().map_or(1, |taps| taps.kernel[0] * taps.kernel[1]);
        let form = self.capabilities.forms.matrix;
        let shared = form != MatrixForm::Register && rows >= 32 && product.columns >= 32 && product.depth * taps >= 32;
        let tall = shared && form == MatrixForm::Tall && rows >= 1024 && rows.div_ceil(128) * columns.div_ceil(16) >= WORKGROUPS;
        let wide = product.columns > 8;
        let strip = if shared { None } else { product.taps.as_ref().and_then(|taps| taps.strip(product.rows[2])) };
        let half = match product.matrix {
            Matrix::Weight(id, _) => self.is_half(id) && self.capabilities.forms.halves,
            Matrix::Computed(_) => false,
        } || self.options.narrow;
        let (row_tiles, column_tile) = match (shared, &strip, wide) {
            (true, _, _) => (rows.div_ceil(if tall { 128 } else { 64 }), 16),
            (false, Some(strip), _) => (product.rows[0] * product.rows[1] * product.rows[2].div_ceil(strip.pixels), strip.columns),
            (false, None, true) => (rows.div_ceil(8), 4),
            (false, None, false) => (rows.div_ceil(8), 2),
        };
        let column_tiles = columns.div_ceil(column_tile);
        let chunks = depth.div_ceil(if tall { 4 } else { 8 }).max(1);
        let slices = if shared { slices(row_tiles * column_tiles, taps * chunks) } else { 1 };
        let cooperative = match form {
            MatrixForm::Cooperative(form) if shared && slices == 1 && !product.gated => {
                cooperative(form, product.taps.is_some(), half, self.options.narrow)
            }
            _ => None,
        };
        let kernel = match (cooperative, &strip) {
            (Some(kernel), _) => kernel,
            (None, Some(strip)) => of_storage(strip.kernels, half, self.options.narrow),
            (None, None) if tall => of_storage(tall_kernels(product.taps.is_some()), half, self.options.narrow),
            (None, None) => of_storage(kernels(shared, product.taps.is_some(), wide, slices > 1), half, self.options.narrow),
        };
        let panel = if shared { PANEL } else { (column_tile * UNIT * column_tiles).min(PANEL) };
        let weight = self.panels(product, taps, panel, half)?;
        let bias = match product.bias {
            Some(id) => self.vector(id, columns.next_multiple_of(16) * UNIT)?,
            None => Bound::Absent,
        };
        let residual = product.residual.clone().unwrap_or_else(Pixels::nothing);
        let mut params = Params::new(kernel);
        for (name, value) in [
            ("rows", rows),
            ("row_tiles", row_tiles),
            ("count", row_tiles * column_tiles),
            ("columns", columns),
            ("depth", depth),
            ("panel", panel / UNIT),
        ] {
            params.set(name, value);
        }
        place(&mut params, "x", &product.x);
        epilogue(&mut params, kernel, product, &residual)?;
        if let Some(taps) = &product.taps {
            for (name, value) in [
                ("height", taps.input[0]),
                ("width", taps.input[1]),
                ("kernel_height", taps.kernel[0]),
                ("kernel_width", taps.kernel[1]),
                ("stride_y", taps.stride[0]),
                ("stride_x", taps.stride[1]),
                ("dilation_y", taps.dilation[0]),
                ("dilation_x", taps.dilation[1]),
            ] {
                params.set(name, value);
            }
            params.integer("top", taps.before[0]);
            params.integer("left", taps.before[1]);
        }
        if !shared {
            let bound = vec![("x", product.x.bound), ("w", weight), ("bias", bias), ("residual", residual.bound), ("y", product.y.bound)];
            let groups = (row_tiles * column_tiles).div_ceil(kernel.workgroup_size[0].max(1) as usize);
            self.step(kernel, params, bound, groups, 1);
            return Ok(());
        }
        let chunks = depth.div_ceil(constant(kernel, "DEPTH")?).max(1);
        params.set("chunks", chunks);
        params.set("steps", (taps * chunks).div_ceil(slices));
        if slices == 1 {
            let bound = vec![("x", product.x.bound), ("w", weight), ("bias", bias), ("residual", residual.bound), ("y", product.y.bound)];
            self.step(kernel, params, bound, row_tiles * column_tiles, 1);
            self.remember(product, None);
            return Ok(());
        }
        let partial = self.tenant(slices * rows * columns * UNIT, 4)?;
        let bound = vec![("x", product.x.bound), ("w", weight), ("bias", Bound::Absent), ("residual", Bound::Absent), ("y", partial)];
        self.step(kernel, params, bound, row_tiles * column_tiles, slices);
        let kernel = self.form(&shaders::SPLIT_SUM);
        let mut params = Params::new(kernel);
        params.set("rows", rows);
        params.set("slices", slices);
        params.set("columns", columns);
        epilogue(&mut params, kernel, product, &residual)?;
        let bound = vec![("x", partial), ("bias", bias), ("residual", residual.bound), ("y", product.y.bound)];
        self.items(kernel, params, bound, if product.gated { rows * columns / 2 } else { rows * columns });
        self.remember(product, Some(row_tiles * column_tiles));
        Ok(())
    }

    /// Notes what the step that ends a product stores; with statistics it has that many workgroups, if others than without.
    fn remember(&mut self, product: &Product<'_>, groups: Option<usize>) {
        let count: usize = product.rows.iter().product();
        let [n, height, width] = product.rows;
        let (whole, rows, first) = match &product.phase {
            _ if product.gated => return,
            // The phases of several images do not follow each other.
            Some(_) if n > 1 => return,
            Some((whole, phase)) => (whole, [n, 2 * height, 2 * width], phase * count),
            None => (&product.y, product.rows, 0),
        };
        if let Some(step) = self.steps.last_mut().filter(|step| step.kernel.statistics.is_some()) {
            step.stored = Some(Stored {
                y: whole.bound,
                rows: IndexBox::merged(&rows, [&whole.strides]),
                start: whole.start,
                columns: product.columns.div_ceil(UNIT),
                first,
                count,
                groups,
            });
        }
    }

    /// The weights of a product in panels: packed when they are uploaded, or copied when they are computed.
    fn panels(&mut self, product: &Product<'_>, taps: usize, panel: usize, half: bool) -> Result<Bound, RunError> {
        let (columns, depth) = (product.columns, product.depth);
        match product.matrix {
            Matrix::Weight(id, start) => {
                let layout = Layout::Panels { start, columns, depth, taps, panel, gated: product.gated };
                Ok(Bound::Weight(self.weight(id, layout, if half { DType::F16 } else { DType::F32 })?))
            }
            Matrix::Computed(view) => {
                let padded = [columns.div_ceil(panel), taps, depth.next_multiple_of(UNIT), panel];
                let packed = self.units(&padded, 3)?;
                self.fill(&padded, 3, &packed, 0.0);
                for first in (0..columns).step_by(panel) {
                    let shape = [(columns - first).min(panel), depth, taps];
                    let source = view.part(&[columns, depth, taps], &[first, 0, 0], &shape);
                    let start = packed.start + first / panel * packed.strides[0];
                    let sink = View { inner: Some(0), start, strides: vec![1, packed.strides[2], packed.strides[1]], ..packed.clone() };
                    let keep = constant(&shaders::COPY, "KEEP_AFTER")?;
                    self.copy(&shape, &source, &sink, keep)?;
                }
                Ok(packed.bound)
            }
        }
    }

    /// A bias that is computed cannot be packed: then bias, activation and residual follow the sum by themselves.
    fn finish_apart(
        &mut self,
        node: &Node,
        sum: &View,
        channel: usize,
        bias: ValueId,
        act: Activation,
        residual: Option<ValueId>,
    ) -> Result<(), RunError> {
        let shape = self.shape(node.output);
        let inner = channel;
        let bias = self.per_channel(bias, shape, channel)?;
        let mut value = self.units(shape, inner)?;
        self.combine(shape, inner, "ADD", sum, &bias, &value)?;
        let kind = match act {
            Activation::None => None,
            Activation::Relu => Some("RELU"),
            Activation::Silu => Some("SILU"),
            Activation::Gelu => Some("GELU"),
            Activation::QuickGelu => Some("QUICK_GELU"),
        };
        if let Some(kind) = kind {
            let active = self.units(shape, inner)?;
            self.apply(shape, inner, kind, [0.0; 2], &value, &active)?;
            value = active;
        }
        if let Some(residual) = residual {
            let residual = self.along(residual, inner)?;
            let whole = self.units(shape, inner)?;
            self.combine(shape, inner, "ADD", &value, &residual, &whole)?;
            value = whole;
        }
        self.views[node.output.index()] = vec![value];
        Ok(())
    }

    pub(super) fn conv2d(&mut self, node: &Node) -> Result<(), RunError> {
        let Op::Conv2d { stride, padding, dilation, groups, bias, act, residual } = &node.op else { return Ok(()) };
        let (x, w) = (self.input(node, 0)?, self.input(node, 1)?);
        let (xs, ws, ys) = (self.shape(x), self.shape(w), self.shape(node.output));
        // Coordinates are computed in 32 signed bits.
        let reach = |axis: usize| {
            let taps = ws[2 + axis].checked_mul(dilation[axis])?.checked_add(stride[axis].checked_mul(8)?)?;
            xs[2 + axis].checked_add(padding[axis])?.checked_add(padding[axis + 2])?.checked_add(taps).filter(|&reach| reach < 1 << 30)
        };
        if reach(0).is_none() || reach(1).is_none() {
            return Err(RunError::unsupported(format!("{}: padding, stride or dilation is beyond what a kernel's indices reach", self.place())));
        }
        let bias = if *bias { Some(self.input(node, 2)?) } else { None };
        let residual = if *residual { Some(self.input(node, 2 + usize::from(bias.is_some()))?) } else { None };
        if *groups != 1 {
            return self.grouped(node, x, w, bias, residual);
        }
        let x = self.along(x, 1)?;
        let computed = (!self.is_weight(w)).then(|| self.view(w)).transpose()?;
        let (depth, taps) = (ws[1], ws[2] * ws[3]);
        let flat = match &computed {
            Some(view) => Some(match view.reshaped(ws, &[ws[0], depth, taps]) {
                Some(view) => view,
                None => View::raw(self.raw(w)?, &[ws[0], depth, taps]),
            }),
            None => None,
        };
        let pointwise = ws[2..] == [1, 1] && *stride == [1, 1] && *padding == [0; 4];
        let apart = bias.filter(|&bias| !self.is_weight(bias));
        let residual_view = match residual.filter(|_| apart.is_none()) {
            Some(id) => Some(self.along(id, 1)?),
            None => None,
        };
        let reads: Vec<&View> = [Some(&x), residual_view.as_ref(), computed.as_ref()].into_iter().flatten().collect();
        let y = match apart {
            Some(_) => self.units(ys, 1)?,
            None => self.output(node, &order(4, 1), &reads)?,
        };
        self.product(&Product {
            rows: [ys[0], ys[2], ys[3]],
            columns: ws[0],
            depth,
            x: Pixels::of_image(&x),
            matrix: flat.as_ref().map_or(Matrix::Weight(w, 0), Matrix::Computed),
            taps: (!pointwise).then(|| Taps {
                input: [xs[2], xs[3]],
                kernel: [ws[2], ws[3]],
                stride: *stride,
                before: [padding[0] as i32, padding[1] as i32],
                dilation: *dilation,
            }),
            bias: bias.filter(|_| apart.is_none()),
            act: if apart.is_some() { Activation::None } else { *act },
            gated: false,
            residual: residual_view.as_ref().map(Pixels::of_image),
            y: Pixels::of_image(&y),
            phase: None,
        })?;
        match apart {
            Some(bias) => self.finish_apart(node, &y, 1, bias, *act, residual),
            None => Ok(()),
        }
    }

    /// An upsampling by 2 with the convolution behind it: four convolutions, one for each parity of the output's rows and columns.
    pub(super) fn up_conv2d(&mut self, node: &Node, bias: bool, act: Activation, residual: bool) -> Result<(), RunError> {
        let (x, w) = (self.input(node, 0)?, self.input(node, 1)?);
        let (xs, ws, ys) = (self.shape(x), self.shape(w), self.shape(node.output));
        if xs[2].max(xs[3]) >= 1 << 29 {
            return Err(RunError::unsupported(format!("{}: the image is beyond what a kernel's indices reach", self.place())));
        }
        let bias = if bias { Some(self.input(node, 2)?) } else { None };
        let residual = if residual { Some(self.input(node, 2 + usize::from(bias.is_some()))?) } else { None };
        let x = self.along(x, 1)?;
        let apart = bias.filter(|&bias| !self.is_weight(bias));
        let of_residual = match residual.filter(|_| apart.is_none()) {
            Some(id) => Some(self.along(id, 1)?),
            None => None,
        };
        let computed = if self.is_weight(w) { None } else { Some(self.raw(w)?) };
        let reads: Vec<&View> = [Some(&x), of_residual.as_ref()].into_iter().flatten().collect();
        let y = match apart {
            Some(_) => self.units(ys, 1)?,
            None => self.output(node, &order(4, 1), &reads)?,
        };
        let (columns, depth) = (ws[1], ws[2]);
        for phase in 0..4 {
            let (down, right) = (phase / 2, phase % 2);
            let start = phase * columns * depth * 4;
            let matrix = computed.map(|bound| View { start, ..View::raw(bound, &[columns, depth, 4]) });
            let every_other = |pixels: Pixels| Pixels {
                start: pixels.start + down * pixels.strides[1] + right * pixels.strides[2],
                strides: [pixels.strides[0], 2 * pixels.strides[1], 2 * pixels.strides[2]],
                ..pixels
            };
            self.product(&Product {
                rows: [xs[0], xs[2], xs[3]],
                columns,
                depth,
                x: Pixels::of_image(&x),
                matrix: matrix.as_ref().map_or(Matrix::Weight(w, start), Matrix::Computed),
                taps: Some(Taps {
                    input: [xs[2], xs[3]],
                    kernel: [2, 2],
                    stride: [1, 1],
                    before: [1 - down as i32, 1 - right as i32],
                    dilation: [1, 1],
                }),
                bias: bias.filter(|_| apart.is_none()),
                act: if apart.is_some() { Activation::None } else { act },
                gated: false,
                residual: of_residual.as_ref().map(Pixels::of_image).map(every_other),
                y: every_other(Pixels::of_image(&y)),
                phase: Some((Pixels::of_image(&y), phase)),
            })?;
        }
        match apart {
            Some(bias) => self.finish_apart(node, &y, 1, bias, act, residual),
            None => Ok(()),
        }
    }

    /// A convolution in groups of channels: no matrix, every output by itself.
    fn grouped(&mut self, node: &Node, x: ValueId, w: ValueId, bias: Option<ValueId>, residual: Option<ValueId>) -> Result<(), RunError> {
        let Op::Conv2d { stride, padding, dilation, groups, act, .. } = &node.op else { return Ok(()) };
        let (xs, ws, ys) = (self.shape(x), self.shape(w), self.shape(node.output));
        let half = self.is_half(w);
        let kernel = match (half, self.options.narrow) {
            (false, false) => &shaders::CONV2D,
            (true, false) => &shaders::CONV2D_F16,
            (false, true) => &shaders::CONV2D_NARROW,
            (true, true) => &shaders::CONV2D_F16_NARROW,
        };
        let weight = if half { Bound::Weight(self.weight(w, Layout::Plain, DType::F16)?) } else { self.raw(w)? };
        let of_bias = bias.map_or(Ok(Bound::Absent), |id| self.raw(id))?;
        let x = self.along(x, 1)?;
        let of_residual = match residual {
            Some(id) => Pixels::of_image(&self.along(id, 1)?),
            None => Pixels::nothing(),
        };
        let y = self.units(ys, 1)?;
        self.views[node.output.index()] = vec![y.clone()];
        let units = ys[1].div_ceil(UNIT);
        let mut params = Params::new(kernel);
        for (name, value) in [
            ("units", units),
            ("group_channels", ws[1]),
            ("out_channels", ws[0]),
            ("group_out_channels", ws[0] / groups),
            ("height", xs[2]),
            ("width", xs[3]),
            ("out_height", ys[2]),
            ("out_width", ys[3]),
            ("kernel_height", ws[2]),
            ("kernel_width", ws[3]),
            ("stride_y", stride[0]),
            ("stride_x", stride[1]),
            ("top", padding[0]),
            ("left", padding[1]),
            ("dilation_y", dilation[0]),
            ("dilation_x", dilation[1]),
            ("x_start", x.start),
            ("x_n", x.strides[0]),
            ("x_y", x.strides[2]),
            ("x_x", x.strides[3]),
            ("act", constant(kernel, activation(*act))?),
        ] {
            params.set(name, value);
        }
        place(&mut params, "residual", &of_residual);
        params.flag("has_bias", bias.is_some());
        params.flag("has_residual", residual.is_some());
        let bound = vec![("x", x.bound), ("w", weight), ("bias", of_bias), ("residual", of_residual.bound), ("y", y.bound)];
        self.items(kernel, params, bound, if elements(ys) == 0 { 0 } else { ys[0] * ys[2] * ys[3] * units });
        Ok(())
    }

    /// The operation that multiplies the values of a linear layer by its gates, where the layer can do that itself: when nothing else reads
    /// its result, and nothing follows its sums but a bias that is packed.
    pub(super) fn gate_of(&self, node: &Node) -> Option<&'a Node> {
        let Op::Linear { bias, act: Activation::None, residual: false } = node.op else { return None };
        let packed = |index: usize| node.inputs.get(index).is_some_and(|&id| self.is_weight(id));
        let is_output = self.program.outputs.iter().any(|port| port.value == node.output);
        let mut readers = self.program.nodes.iter().filter(|reader| reader.inputs.contains(&node.output));
        let gate = readers.next().filter(|reader| matches!(reader.op, Op::Geglu) && !is_output && packed(1) && (!bias || packed(2)))?;
        let whole = self.shape(gate.output).last().is_some_and(|half| half.is_multiple_of(UNIT));
        (whole && readers.next().is_none()).then_some(gate)
    }

    /// A linear layer, with the gates of its values if `gate` is what applies them.
    pub(super) fn linear(&mut self, node: &Node, bias: bool, act: Activation, residual: bool, gate: Option<&Node>) -> Result<(), RunError> {
        let (x, w) = (self.input(node, 0)?, self.input(node, 1)?);
        let target = gate.unwrap_or(node);
        let (xs, shape, ws) = (self.shape(x), self.shape(target.output), self.shape(w));
        let bias = if bias { Some(self.input(node, 2)?) } else { None };
        let residual = if residual { Some(self.input(node, 2 + usize::from(bias.is_some()))?) } else { None };
        let apart = bias.filter(|&bias| !self.is_weight(bias));
        let last = shape.len() - 1;
        let mut x = self.along(x, last)?;
        let computed = (!self.is_weight(w)).then(|| self.view(w)).transpose()?;
        let mut of_residual = match residual.filter(|_| apart.is_none()) {
            Some(id) => Some(self.along(id, last)?),
            None => None,
        };
        let reads: Vec<&View> = [Some(&x), of_residual.as_ref(), computed.as_ref()].into_iter().flatten().collect();
        let mut y = match apart {
            Some(_) => self.units(shape, last)?,
            None => self.output(target, &order(shape.len(), last), &reads)?,
        };
        let outer = around(shape, last);
        let lengths: Vec<usize> = outer.iter().map(|&axis| shape[axis]).collect();
        let merge = |x: &View, y: &View, residual: &Option<View>| {
            let of_residual = residual.as_ref().map_or_else(|| vec![0; outer.len()], |view| unit_strides(view, &outer));
            IndexBox::merged(
                &lengths,
                [&unit_strides(x, &outer), &unit_strides(y, &outer), &if residual.is_some() { of_residual } else { unit_strides(y, &outer) }],
            )
        };
        let mut merged = merge(&x, &y, &of_residual);
        if merged.shape.len() > 3 {
            // More axes of rows than the kernel counts through: dense tensors have one.
            let dense = self.units(xs, last)?;
            self.copy(xs, &x, &dense, 0)?;
            x = dense;
            if let Some(view) = &of_residual {
                let dense = self.units(shape, last)?;
                self.copy(shape, view, &dense, 0)?;
                of_residual = Some(dense);
            }
            y = self.units(shape, last)?;
            self.views[target.output.index()] = vec![y.clone()];
            merged = merge(&x, &y, &of_residual);
        }
        while merged.shape.len() < 3 {
            merged.shape.insert(0, 1);
            merged.strides.iter_mut().for_each(|strides| strides.insert(0, 0));
        }
        let pixels = |view: &View, tensor: usize| Pixels {
            bound: view.bound,
            start: view.start / UNIT,
            strides: std::array::from_fn(|axis| merged.strides[tensor][axis]),
        };
        let flat = computed.as_ref().map(|view| View { strides: view.strides.iter().copied().chain([0]).collect(), ..view.clone() });
        self.product(&Product {
            rows: std::array::from_fn(|axis| merged.shape[axis]),
            columns: ws[0],
            depth: ws[1],
            x: pixels(&x, 0),
            matrix: flat.as_ref().map_or(Matrix::Weight(w, 0), Matrix::Computed),
            taps: None,
            bias: bias.filter(|_| apart.is_none()),
            act: if apart.is_some() { Activation::None } else { act },
            gated: gate.is_some(),
            residual: of_residual.as_ref().map(|view| pixels(view, 2)),
            y: pixels(&y, 1),
            phase: None,
        })?;
        match apart {
            Some(bias) => self.finish_apart(node, &y, last, bias, act, residual),
            None => Ok(()),
        }
    }

    /// `y[m, n] = Σ_k a[m, k] · b[n, k]` of computed matrices: a and y in units along their second axis.
    pub(super) fn product_of(&mut self, [rows, columns, depth]: [usize; 3], a: &View, b: &View, y: &View) -> Result<(), RunError> {
        let pixels = |view: &View| Pixels { bound: view.bound, start: view.start / UNIT, strides: [0, 0, view.strides[0] / UNIT] };
        let matrix = View { strides: vec![b.strides[0], b.strides[1], 0], inner: None, ..b.clone() };
        self.product(&Product {
            rows: [1, 1, rows],
            columns,
            depth,
            x: pixels(a),
            matrix: Matrix::Computed(&matrix),
            taps: None,
            bias: None,
            act: Activation::None,
            gated: false,
            residual: None,
            y: pixels(y),
            phase: None,
        })
    }

    pub(super) fn mat_mul(&mut self, node: &Node) -> Result<(), RunError> {
        let (a, b) = (self.input(node, 0)?, self.input(node, 1)?);
        let (of_a, of_b, shape) = (self.shape(a), self.shape(b), self.shape(node.output));
        let (a_last, b_last) = (of_a.len() - 1, of_b.len() - 1);
        let (a, b) = (self.along(a, a_last)?, self.along(b, b_last)?);
        let y = self.units(shape, shape.len() - 1)?;
        self.views[node.output.index()] = vec![y.clone()];
        if elements(shape) == 0 {
            return Ok(());
        }
        let lead = shape.len() - 2;
        let (rows, depth, columns) = (shape[lead], of_a[a_last], shape[lead + 1].div_ceil(UNIT));
        let batch = &shape[..lead];
        // Units between whole matrices: the strides of the view where the axis is not repeated.
        let of_matrices = |own: &[usize], view: &View| -> Vec<usize> {
            let own = &own[..own.len() - 2];
            let new = lead - own.len();
            let repeats = broadcast_strides(own, batch);
            (0..lead)
                .map(|axis| if axis < new || (repeats[axis] == 0 && own[axis - new] == 1) { 0 } else { view.strides[axis - new] / UNIT })
                .collect()
        };
        let (a_strides, b_strides) = (of_matrices(of_a, &a), of_matrices(of_b, &b));
        let merged = IndexBox::merged(batch, [&a_strides, &b_strides]);
        let kernel = self.form(&shaders::MAT_MUL);
        let row_tiles = rows.div_ceil(constant(kernel, "ROWS")?);
        let mut params = Params::new(kernel);
        params.set("row_tiles", row_tiles);
        params.set("rows", rows);
        params.set("columns", columns);
        params.set("depth", depth);
        params.set("a_start", a.start / UNIT);
        params.set("a_row", a.strides[a_last - 1] / UNIT);
        params.set("c_start", b.start / UNIT);
        params.set("c_row", b.strides[b_last - 1] / UNIT);
        params.set("rank", merged.shape.len());
        params.list("shape", &merged.shape);
        params.list("a_strides", &merged.strides[0]);
        params.list("c_strides", &merged.strides[1]);
        self.items(kernel, params, vec![("a", a.bound), ("c", b.bound), ("y", y.bound)], columns * row_tiles * elements(&merged.shape));
        Ok(())
    }
}

/// What the end of every form of the matrix kernel wants to know: shared/epilogue.wgsl.
fn epilogue(params: &mut Params, kernel: &'static Kernel, product: &Product<'_>, residual: &Pixels) -> Result<(), RunError> {
    params.set("out_height", product.rows[1]);
    params.set("out_width", product.rows[2]);
    params.set("act", constant(kernel, if product.gated { "ACT_GEGLU" } else { activation(product.act) })?);
    place(params, "y", &product.y);
    place(params, "residual", residual);
    params.flag("has_bias", product.bias.is_some());
    params.flag("has_residual", product.residual.is_some());
    Ok(())
}

/// Start and strides of a tensor among a kernel's parameters.
fn place(params: &mut Params, name: &str, pixels: &Pixels) {
    params.set(&format!("{name}_start"), pixels.start);
    for (axis, stride) in ["n", "y", "x"].into_iter().zip(pixels.strides) {
        params.set(&format!("{name}_{axis}"), stride);
    }
}

/// Workgroups that keep a GPU busy.
const WORKGROUPS: usize = 128;

/// Into how many slices k is split: until about that many workgroups run, none of them with fewer than two steps.
fn slices(tiles: usize, steps: usize) -> usize {
    let wanted = (WORKGROUPS / tiles.max(1)).clamp(1, 16).min(steps / 2).max(1);
    // What the rounding up of the steps leaves.
    steps.div_ceil(steps.div_ceil(wanted))
}

/// The variants of the matrix kernel: for weights in 32 bits, in 16, and for activations in 16.
fn kernels(shared: bool, taps: bool, wide: bool, split: bool) -> [&'static Kernel; 3] {
    match (shared, taps, wide, split) {
        (false, false, true, _) => [&shaders::GEMM, &shaders::GEMM_F16, &shaders::GEMM_NARROW],
        (false, false, false, _) => [&shaders::GEMM_THIN, &shaders::GEMM_THIN_F16, &shaders::GEMM_THIN_NARROW],
        (false, true, true, _) => [&shaders::GEMM_TAPS, &shaders::GEMM_TAPS_F16, &shaders::GEMM_TAPS_NARROW],
        (false, true, false, _) => [&shaders::GEMM_TAPS_THIN, &shaders::GEMM_TAPS_THIN_F16, &shaders::GEMM_TAPS_THIN_NARROW],
        (true, false, _, false) => [&shaders::GEMM_TILE, &shaders::GEMM_TILE_F16, &shaders::GEMM_TILE_NARROW],
        (true, false, _, true) => [&shaders::GEMM_TILE_SPLIT, &shaders::GEMM_TILE_SPLIT_F16, &shaders::GEMM_TILE_SPLIT_NARROW],
        (true, true, _, false) => [&shaders::GEMM_TILE_TAPS, &shaders::GEMM_TILE_TAPS_F16, &shaders::GEMM_TILE_TAPS_NARROW],
        (true, true, _, true) => [&shaders::GEMM_TILE_TAPS_SPLIT, &shaders::GEMM_TILE_TAPS_SPLIT_F16, &shaders::GEMM_TILE_TAPS_SPLIT_NARROW],
    }
}

/// The variant for an adapter's own matrices; none for weights that its matrices would round.
#[cfg(not(target_arch = "wasm32"))]
fn cooperative(form: Cooperative, taps: bool, half: bool, narrow: bool) -> Option<&'static Kernel> {
    let halves = |[halves, narrows]: [&'static Kernel; 2]| half.then(|| of_storage([halves, halves, narrows], half, narrow));
    match (form, taps) {
        (Cooperative::Halves16, false) => halves([&shaders::GEMM_HALVES_16_F16, &shaders::GEMM_HALVES_16_NARROW]),
        (Cooperative::Halves16, true) => halves([&shaders::GEMM_HALVES_16_TAPS_F16, &shaders::GEMM_HALVES_16_TAPS_NARROW]),
        (Cooperative::Halves8, false) => halves([&shaders::GEMM_HALVES_8_F16, &shaders::GEMM_HALVES_8_NARROW]),
        (Cooperative::Halves8, true) => halves([&shaders::GEMM_HALVES_8_TAPS_F16, &shaders::GEMM_HALVES_8_TAPS_NARROW]),
        (Cooperative::Floats8, taps) => {
            let plain = [&shaders::GEMM_FLOATS_8, &shaders::GEMM_FLOATS_8_F16, &shaders::GEMM_FLOATS_8_NARROW];
            let of_taps = [&shaders::GEMM_FLOATS_8_TAPS, &shaders::GEMM_FLOATS_8_TAPS_F16, &shaders::GEMM_FLOATS_8_TAPS_NARROW];
            Some(of_storage(if taps { of_taps } else { plain }, half, narrow))
        }
    }
}

/// Browsers have no such matrices, and their module no such kernels.
#[cfg(target_arch = "wasm32")]
fn cooperative(_: Cooperative, _: bool, _: bool, _: bool) -> Option<&'static Kernel> {
    None
}

/// The variants of the matrix kernel in tiles of 128 rows.
fn tall_kernels(taps: bool) -> [&'static Kernel; 3] {
    match taps {
        false => [&shaders::GEMM_TALL, &shaders::GEMM_TALL_F16, &shaders::GEMM_TALL_NARROW],
        true => [&shaders::GEMM_TALL_TAPS, &shaders::GEMM_TALL_TAPS_F16, &shaders::GEMM_TALL_TAPS_NARROW],
    }
}

/// The one of three variants that reads what is stored.
fn of_storage([plain, halves, narrows]: [&'static Kernel; 3], half: bool, narrow: bool) -> &'static Kernel {
    match (narrow, half) {
        (true, _) => narrows,
        (false, true) => halves,
        (false, false) => plain,
    }
}
