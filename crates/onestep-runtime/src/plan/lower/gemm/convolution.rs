//! Convolutions.

use onestep_program::{Activation, Node, Op, ValueId};

use super::super::super::params::Params;
use super::super::{
    layout::{BLOCK, View, elements},
    lowering::Lowering,
    step::{Resource, activation, constant},
};
use super::{
    epilogue::Epilogue,
    product::{Matrix, PixelView, Product, Taps},
};
use crate::error::RunError;

/// The kernels compute pixel coordinates as i32. They reach past an image by its padding, the taps, and a tile of pixels past the last one.
const MAX_COORDINATE: usize = 1 << 30;

/// Pixels past the last one that a tile may compute.
const TILE_OVERRUN: usize = 8;

/// The geometry of an [`Op::Conv2d`].
struct Geometry {
    stride: [usize; 2],
    /// Zeros above, to the left, below, to the right.
    padding: [usize; 4],
    dilation: [usize; 2],
    groups: usize,
}

impl Geometry {
    /// True if all coordinates of taps fit into the kernels' integers.
    fn is_in_range(&self, x: &[usize], w: &[usize]) -> bool {
        (0..2).all(|axis| {
            let reach = || {
                let taps = w[2 + axis].checked_mul(self.dilation[axis])?;
                let overrun = self.stride[axis].checked_mul(TILE_OVERRUN)?;
                x[2 + axis].checked_add(self.padding[axis])?.checked_add(self.padding[axis + 2])?.checked_add(taps)?.checked_add(overrun)
            };
            reach().is_some_and(|reach| reach < MAX_COORDINATE)
        })
    }
}

impl Lowering<'_> {
    /// A convolution: a matrix product over taps and channels or, with groups, the kernel `conv2d_direct`.
    pub(in crate::plan::lower) fn conv2d(&mut self, node: &Node) -> Result<(), RunError> {
        let Op::Conv2d { stride, padding, dilation, groups, bias, act, residual } = node.op else {
            return Err(RunError::internal(format!("{}: the operation is no conv2d", self.location())));
        };
        let geometry = Geometry { stride, padding, dilation, groups };
        let (x, w) = (self.input(node, 0)?, self.input(node, 1)?);
        let (xs, ws, ys) = (self.shape(x), self.shape(w), self.shape(node.output));
        if !geometry.is_in_range(xs, ws) {
            return Err(RunError::unsupported(format!(
                "{}: padding, stride or dilation exceeds the 30-bit coordinates of the kernels",
                self.location()
            )));
        }
        if groups != 1 {
            return self.grouped_conv2d(node, &geometry, [bias, residual], act);
        }
        let epilogue = self.epilogue(node, bias, act, residual)?;
        let x = self.blocked(x, 1)?;
        let computed = if self.is_weight(w) { None } else { Some(self.view(w)?) };
        let (depth, taps) = (ws[1], ws[2] * ws[3]);
        let matrix = match &computed {
            Some(view) => Some(match view.reshaped(ws, &[ws[0], depth, taps]) {
                Some(view) => view,
                None => View::plain(self.plain(w)?, &[ws[0], depth, taps]),
            }),
            None => None,
        };
        let pointwise = ws[2..] == [1, 1] && stride == [1, 1] && padding == [0; 4];
        let residual = self.fused_residual(&epilogue, 1)?;
        let reads: Vec<&View> = [Some(&x), residual.as_ref(), computed.as_ref()].into_iter().flatten().collect();
        let y = self.product_output(node, &epilogue, 1, &reads)?;
        self.product(&Product {
            rows: [ys[0], ys[2], ys[3]],
            columns: ws[0],
            depth,
            x: PixelView::of_image(&x),
            matrix: matrix.as_ref().map_or(Matrix::Weight(w, 0), Matrix::Computed),
            taps: (!pointwise).then(|| Taps {
                input: [xs[2], xs[3]],
                kernel: [ws[2], ws[3]],
                stride,
                padding: [padding[0] as i32, padding[1] as i32],
                dilation,
            }),
            bias: epilogue.bias,
            act: epilogue.fused_act(),
            gated: false,
            residual: residual.as_ref().map(PixelView::of_image),
            y: PixelView::of_image(&y),
            phase: None,
        })?;
        self.apply_deferred_bias(node, &epilogue, 1, &y)
    }

    /// An upsampling by 2 fused with a convolution: four convolutions, one for each parity of the output's rows and columns (phase).
    pub(in crate::plan::lower) fn up_conv2d(&mut self, node: &Node, bias: bool, act: Activation, residual: bool) -> Result<(), RunError> {
        let (x, w) = (self.input(node, 0)?, self.input(node, 1)?);
        let (xs, ws) = (self.shape(x), self.shape(w));
        if xs[2].max(xs[3]) >= MAX_COORDINATE / 2 {
            return Err(RunError::unsupported(format!("{}: the image exceeds the 30-bit coordinates of the kernels", self.location())));
        }
        let epilogue = self.epilogue(node, bias, act, residual)?;
        let x = self.blocked(x, 1)?;
        let residual = self.fused_residual(&epilogue, 1)?;
        let computed = if self.is_weight(w) { None } else { Some(self.plain(w)?) };
        let reads: Vec<&View> = [Some(&x), residual.as_ref()].into_iter().flatten().collect();
        let y = self.product_output(node, &epilogue, 1, &reads)?;
        for phase in 0..4 {
            self.up_conv2d_phase(&epilogue, phase, xs, ws, (w, computed), [&x, &y], residual.as_ref())?;
        }
        self.apply_deferred_bias(node, &epilogue, 1, &y)
    }

    /// One phase of an upsampling convolution: a convolution of 2x2 taps that writes every second row and column.
    #[allow(clippy::too_many_arguments, reason = "the loop of `up_conv2d` has one body")]
    fn up_conv2d_phase(
        &mut self,
        epilogue: &Epilogue,
        phase: usize,
        xs: &[usize],
        ws: &[usize],
        (w, computed): (ValueId, Option<Resource>),
        [x, y]: [&View; 2],
        residual: Option<&View>,
    ) -> Result<(), RunError> {
        let (columns, depth) = (ws[1], ws[2]);
        let (down, right) = (phase / 2, phase % 2);
        let start = phase * columns * depth * 4;
        let matrix = computed.map(|resource| View { start, ..View::plain(resource, &[columns, depth, 4]) });
        let every_second = |image: &View| {
            let pixels = PixelView::of_image(image);
            PixelView {
                start: pixels.start + down * pixels.strides[1] + right * pixels.strides[2],
                strides: [pixels.strides[0], 2 * pixels.strides[1], 2 * pixels.strides[2]],
                ..pixels
            }
        };
        self.product(&Product {
            rows: [xs[0], xs[2], xs[3]],
            columns,
            depth,
            x: PixelView::of_image(x),
            matrix: matrix.as_ref().map_or(Matrix::Weight(w, start), Matrix::Computed),
            taps: Some(Taps {
                input: [xs[2], xs[3]],
                kernel: [2, 2],
                stride: [1, 1],
                padding: [1 - down as i32, 1 - right as i32],
                dilation: [1, 1],
            }),
            bias: epilogue.bias,
            act: epilogue.fused_act(),
            gated: false,
            residual: residual.map(every_second),
            y: every_second(y),
            phase: Some((PixelView::of_image(y), phase)),
        })
    }

    /// A convolution in groups of channels, without a matrix product: every output element is computed by itself.
    fn grouped_conv2d(&mut self, node: &Node, geometry: &Geometry, [bias, residual]: [bool; 2], act: Activation) -> Result<(), RunError> {
        let (x, w) = (self.input(node, 0)?, self.input(node, 1)?);
        let (xs, ws, ys) = (self.shape(x), self.shape(w), self.shape(node.output));
        let (weights, flags) = self.plain_or_f16(w)?;
        let kernel = self.kernel("conv2d_direct", flags)?;
        let bias_resource = if bias { self.plain(self.input(node, 2)?)? } else { Resource::Absent };
        let x = self.blocked(x, 1)?;
        let residual_view = if residual { Some(self.blocked(self.input(node, 2 + usize::from(bias))?, 1)?) } else { None };
        let residual_pixels = residual_view.as_ref().map_or_else(PixelView::absent, PixelView::of_image);
        let y = self.allocate_blocked(ys, 1)?;
        self.set_view(node, y.clone());
        let blocks = ys[1].div_ceil(BLOCK);
        let Geometry { stride, padding, dilation, groups } = geometry;
        let mut params = Params::new(kernel);
        for (name, value) in [
            ("blocks", blocks),
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
            ("pad_top", padding[0]),
            ("pad_left", padding[1]),
            ("dilation_y", dilation[0]),
            ("dilation_x", dilation[1]),
            // In elements, unlike those of the matrix kernels.
            ("x_start", x.start),
            ("x_n", x.strides[0]),
            ("x_y", x.strides[2]),
            ("x_x", x.strides[3]),
            ("act", constant(kernel, activation(act))?),
        ] {
            params.set(name, value);
        }
        residual_pixels.set(&mut params, "residual");
        params.flag("has_bias", bias);
        params.flag("has_residual", residual);
        let bindings = vec![("x", x.resource), ("w", weights), ("bias", bias_resource), ("residual", residual_pixels.resource), ("y", y.resource)];
        let count = if elements(ys) == 0 { 0 } else { ys[0] * ys[2] * ys[3] * blocks };
        self.dispatch_invocations(kernel, params, bindings, count);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use onestep_program::{Node, Op, Program, ValueId};

    use super::Lowering;
    use crate::{
        error::ErrorKind,
        plan::{Capabilities, PlanOptions},
    };

    #[test]
    fn another_operation_is_refused() {
        let version = onestep_program::program::VERSION;
        let program = Program { version, name: "empty".into(), values: Vec::new(), inputs: Vec::new(), outputs: Vec::new(), nodes: Vec::new() };
        let capabilities = Capabilities::default();
        let mut lowering = Lowering::new(&program, &capabilities, PlanOptions::default(), 1 << 20).unwrap();
        let node = Node { op: Op::MatMul, inputs: Vec::new(), output: ValueId(0) };
        assert_eq!(lowering.conv2d(&node).unwrap_err().kind(), ErrorKind::Internal);
    }
}
