//! Operations that reduce rows: softmax, sums, and the kernel of layer norm.

use onestep_program::Node;
use onestep_shaders::Flags;

use super::super::{axes::IndexBox, params::Params, variants::RowVariant};
use super::{
    layout::{BLOCK, View, block_strides, dim_order, elements, outer_dims},
    lowering::Lowering,
    step::{Bindings, constant},
};
use crate::error::RunError;

/// The longest row in blocks that one invocation reduces on a GPU: a workgroup would be mostly idle.
const SHORT_ROW: usize = 4;

/// The longest row in blocks that one invocation reduces on a software adapter, where a barrier costs more than an iteration.
const SERIAL_ROW: usize = 256;

/// Rows of x along its block axis, and where their results go.
pub(super) struct Rows<'v> {
    /// The shape of x.
    pub(super) shape: &'v [usize],
    /// The block axis of x and y.
    pub(super) axis: usize,
    pub(super) x: &'v View,
    pub(super) y: &'v View,
    /// The bindings besides x and y.
    pub(super) others: Bindings,
}

impl Lowering<'_> {
    /// Adds a dispatch of a kernel family that reduces rows; `set` sets the parameters that other families do not have.
    pub(super) fn reduce_rows(&mut self, family: &str, rows: Rows<'_>, set: impl FnOnce(&mut Params)) -> Result<(), RunError> {
        let Rows { shape, axis, x, y, others } = rows;
        let (length, blocks) = (shape[axis], shape[axis].div_ceil(BLOCK));
        if elements(shape) == 0 {
            return Ok(());
        }
        let serial = blocks <= SHORT_ROW || (self.capabilities.variants.rows == RowVariant::Invocation && blocks <= SERIAL_ROW);
        let kernel = self.kernel(family, Flags::SERIAL.when(serial))?;
        let outer = outer_dims(shape, axis);
        let lengths: Vec<usize> = outer.iter().map(|&axis| shape[axis]).collect();
        let merged = IndexBox::merged(&lengths, [&block_strides(x, &outer), &block_strides(y, &outer)]);
        let mut params = Params::new(kernel);
        set(&mut params);
        let count = elements(&merged.shape);
        params.set("rows", count);
        params.set("rank", merged.shape.len());
        params.set("blocks", blocks);
        params.set("length", length);
        params.set("iterations", blocks.div_ceil(constant(kernel, "LANES")?));
        params.set("x_start", x.start / BLOCK);
        params.set("y_start", y.start / BLOCK);
        params.list("shape", &merged.shape);
        params.list("x_strides", &merged.strides[0]);
        params.list("y_strides", &merged.strides[1]);
        let bindings = others.into_iter().chain([("x", x.resource), ("y", y.resource)]).collect();
        self.dispatch(kernel, params, bindings, count.div_ceil(constant(kernel, "ROWS")?));
        Ok(())
    }

    /// A softmax along the block axis, from view to view.
    pub(super) fn softmax_rows(&mut self, shape: &[usize], axis: usize, x: &View, y: &View) -> Result<(), RunError> {
        self.reduce_rows("softmax", Rows { shape, axis, x, y, others: Vec::new() }, |_| ())
    }

    /// A sum, mean or maximum along an axis; `kind` is a constant of the kernel.
    pub(super) fn reduce(&mut self, node: &Node, kind: &str, axis: usize) -> Result<(), RunError> {
        let id = self.input(node, 0)?;
        let shape = self.shape(id);
        let x = self.blocked(id, axis)?;
        let y = self.output(node, &dim_order(shape.len(), axis), &[&x])?;
        let kind = constant(self.kernel("reduce", Flags::NONE)?, kind)?;
        self.reduce_rows("reduce", Rows { shape, axis, x: &x, y: &y, others: Vec::new() }, |params| params.set("kind", kind))
    }
}
