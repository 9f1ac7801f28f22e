//! Products of two computed tensors.

use onestep_program::{Activation, Node};
use onestep_shaders::Flags;

use super::super::super::{
    axes::{IndexBox, broadcast_strides},
    params::Params,
};
use super::super::{
    layout::{BLOCK, View, elements},
    lowering::Lowering,
    step::constant,
};
use super::product::{Matrix, PixelView, Product};
use crate::error::RunError;

impl Lowering<'_> {
    /// `y[m, n] = Σ_k a[m, k] · b[n, k]` by the matrix kernels; the block axes are k of a and n of y.
    pub(in crate::plan::lower) fn matrix_product(
        &mut self,
        [rows, columns, depth]: [usize; 3],
        a: &View,
        b: &View,
        y: &View,
    ) -> Result<(), RunError> {
        let pixels = |view: &View| PixelView { resource: view.resource, start: view.start / BLOCK, strides: [0, 0, view.strides[0] / BLOCK] };
        let matrix = View { strides: vec![b.strides[0], b.strides[1], 0], block_axis: None, ..b.clone() };
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

    /// A batched product, by a kernel that packs nothing.
    pub(in crate::plan::lower) fn mat_mul(&mut self, node: &Node) -> Result<(), RunError> {
        let (a, b) = (self.input(node, 0)?, self.input(node, 1)?);
        let (a_shape, b_shape, shape) = (self.shape(a), self.shape(b), self.shape(node.output));
        let (a_last, b_last) = (a_shape.len() - 1, b_shape.len() - 1);
        let (a, b) = (self.blocked(a, a_last)?, self.blocked(b, b_last)?);
        let y = self.allocate_blocked(shape, shape.len() - 1)?;
        self.set_view(node, y.clone());
        if elements(shape) == 0 {
            return Ok(());
        }
        let batch_rank = shape.len() - 2;
        let (rows, depth, column_blocks) = (shape[batch_rank], a_shape[a_last], shape[batch_rank + 1].div_ceil(BLOCK));
        let batch = &shape[..batch_rank];
        // Blocks between whole matrices: the strides of the view, or 0 where an axis is broadcast.
        let matrix_strides = |operand: &[usize], view: &View| -> Vec<usize> {
            let operand = &operand[..operand.len() - 2];
            let new = batch_rank - operand.len();
            let broadcast = broadcast_strides(operand, batch);
            (0..batch_rank)
                .map(|axis| if axis < new || (broadcast[axis] == 0 && operand[axis - new] == 1) { 0 } else { view.strides[axis - new] / BLOCK })
                .collect()
        };
        let (a_strides, b_strides) = (matrix_strides(a_shape, &a), matrix_strides(b_shape, &b));
        let merged = IndexBox::merged(batch, [&a_strides, &b_strides]);
        let kernel = self.kernel("mat_mul", Flags::NONE)?;
        let row_tiles = rows.div_ceil(constant(kernel, "ROWS")?);
        let mut params = Params::new(kernel);
        params.set("row_tiles", row_tiles);
        params.set("rows", rows);
        params.set("column_blocks", column_blocks);
        params.set("depth", depth);
        params.set("a_start", a.start / BLOCK);
        params.set("a_row", a.strides[a_last - 1] / BLOCK);
        params.set("c_start", b.start / BLOCK);
        params.set("c_row", b.strides[b_last - 1] / BLOCK);
        params.set("rank", merged.shape.len());
        params.list("shape", &merged.shape);
        params.list("a_strides", &merged.strides[0]);
        params.list("c_strides", &merged.strides[1]);
        let bindings = vec![("a", a.resource), ("c", b.resource), ("y", y.resource)];
        self.dispatch_invocations(kernel, params, bindings, column_blocks * row_tiles * elements(&merged.shape));
        Ok(())
    }
}
