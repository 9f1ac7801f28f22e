//! Functions of one or two tensors, element by element.

use onestep_program::{Node, ValueId};
use onestep_shaders::Flags;

use super::super::params::Params;
use super::{
    layout::{BLOCK, View, dim_order, elements, merged_blocks},
    lowering::Lowering,
    step::constant,
};
use crate::error::RunError;

impl Lowering<'_> {
    /// A function of one tensor; `kind` is a constant of the kernel.
    pub(super) fn unary(&mut self, node: &Node, kind: &str, a: f32, b: f32) -> Result<(), RunError> {
        let id = self.input(node, 0)?;
        let shape = self.shape(id);
        let block_axis = self.block_axis_or(id, shape.len().saturating_sub(1))?;
        let x = self.blocked(id, block_axis)?;
        let y = self.output(node, &dim_order(shape.len(), block_axis), &[&x])?;
        self.apply_unary(shape, block_axis, kind, [a, b], &x, &y)
    }

    /// A function of one tensor, from view to view; both have the block axis `block_axis`.
    pub(super) fn apply_unary(
        &mut self,
        shape: &[usize],
        block_axis: usize,
        kind: &str,
        [a, b]: [f32; 2],
        x: &View,
        y: &View,
    ) -> Result<(), RunError> {
        if elements(shape) == 0 {
            return Ok(());
        }
        let kernel = self.kernel("unary", Flags::NONE)?;
        let (x, y) = (&scalar_view(shape, x), &scalar_view(shape, y));
        let merged = merged_blocks(shape, block_axis, [x, y]);
        let length = shape.get(block_axis).copied().unwrap_or(1);
        let mut params = Params::new(kernel);
        params.set("kind", constant(kernel, kind)?);
        params.float("a", a);
        params.float("b", b);
        params.set("blocks", length.div_ceil(BLOCK));
        params.set("length", length);
        params.set("rank", merged.shape.len());
        params.set("x_start", x.start / BLOCK);
        params.set("y_start", y.start / BLOCK);
        params.list("shape", &merged.shape);
        params.list("x_strides", &merged.strides[0]);
        params.list("y_strides", &merged.strides[1]);
        self.dispatch_invocations(kernel, params, vec![("x", x.resource), ("y", y.resource)], elements(&merged.shape));
        Ok(())
    }

    /// A function of two tensors that broadcast to the result's shape; `kind` is a constant of the kernel.
    pub(super) fn binary(&mut self, node: &Node, kind: &str) -> Result<(), RunError> {
        let (a, b) = (self.input(node, 0)?, self.input(node, 1)?);
        let shape = self.shape(node.output);
        let last = shape.len().saturating_sub(1);
        // The block axis of the operand that is not broadcast.
        let block_axis = match (self.shape(a) == shape, self.shape(b) == shape) {
            (true, _) => self.block_axis_or(a, last)?,
            (false, true) => self.block_axis_or(b, last)?,
            (false, false) => last,
        };
        let a = self.operand(a, shape, block_axis)?;
        let b = self.operand(b, shape, block_axis)?;
        let y = self.output(node, &dim_order(shape.len(), block_axis), &[&a, &b])?;
        self.apply_binary(shape, block_axis, kind, &a, &b, &y)
    }

    /// A tensor as an operand of a result of `shape`: with the same block axis, or with none if it is broadcast along that axis (a splat).
    fn operand(&mut self, id: ValueId, shape: &[usize], block_axis: usize) -> Result<View, RunError> {
        let operand_shape = self.shape(id);
        if operand_shape == shape {
            return if shape.is_empty() { self.scalar(id) } else { self.blocked(id, block_axis) };
        }
        let new = shape.len() - operand_shape.len();
        // Its shape with leading axes of length 1.
        let full: Vec<usize> = std::iter::repeat_n(1, new).chain(operand_shape.iter().copied()).collect();
        let view = self.view(id)?;
        let expanded = View { block_axis: view.block_axis.map(|axis| axis + new), strides: view.broadcast(operand_shape, &full).strides, ..view };
        let blocked = self.blocked_view(&full, &expanded, block_axis)?;
        let splat = full[block_axis] != shape[block_axis];
        Ok(View { block_axis: (!splat).then_some(block_axis), ..blocked.broadcast(&full, shape) })
    }

    /// A tensor without axes as one block.
    fn scalar(&mut self, id: ValueId) -> Result<View, RunError> {
        let view = self.view(id)?;
        if !view.plain {
            return Ok(view);
        }
        let copy = self.allocate_blocked(&[], 0)?;
        self.copy(&[], &view, &copy, 0)?;
        Ok(copy)
    }

    /// A function of two tensors, from views to a view. Views without a block axis are splats along `block_axis`.
    pub(super) fn apply_binary(&mut self, shape: &[usize], block_axis: usize, kind: &str, a: &View, b: &View, y: &View) -> Result<(), RunError> {
        if elements(shape) == 0 {
            return Ok(());
        }
        let kernel = self.kernel("binary", Flags::NONE)?;
        let (a, b, y) = (&scalar_view(shape, a), &scalar_view(shape, b), &scalar_view(shape, y));
        let merged = merged_blocks(shape, block_axis, [a, b, y]);
        let length = shape.get(block_axis).copied().unwrap_or(1);
        let mut params = Params::new(kernel);
        params.set("kind", constant(kernel, kind)?);
        params.set("blocks", length.div_ceil(BLOCK));
        params.set("length", length);
        params.set("rank", merged.shape.len());
        for (name, splat, view) in [("a_start", "a_splat", a), ("b_start", "b_splat", b)] {
            params.set(name, view.start / BLOCK);
            params.flag(splat, view.block_axis.is_none());
        }
        params.set("y_start", y.start / BLOCK);
        params.list("shape", &merged.shape);
        params.list("a_strides", &merged.strides[0]);
        params.list("b_strides", &merged.strides[1]);
        params.list("y_strides", &merged.strides[2]);
        self.dispatch_invocations(kernel, params, vec![("a", a.resource), ("b", b.resource), ("y", y.resource)], elements(&merged.shape));
        Ok(())
    }

    /// GEGLU: `a · gelu(b)` of the two halves of the last axis.
    pub(super) fn geglu(&mut self, node: &Node) -> Result<(), RunError> {
        let id = self.input(node, 0)?;
        let (whole, shape) = (self.shape(id), self.shape(node.output));
        let last = shape.len() - 1;
        let view = self.view(id)?;
        let mut start = vec![0; shape.len()];
        let a = self.blocked_view(shape, &view.part(whole, &start, shape), last)?;
        start[last] = shape[last];
        let b = self.blocked_view(shape, &view.part(whole, &start, shape), last)?;
        let y = self.output(node, &dim_order(shape.len(), last), &[&a, &b])?;
        self.apply_binary(shape, last, "GEGLU", &a, &b, &y)
    }
}

/// A tensor without axes is one block; its view gets a block axis so that it is not taken for a splat.
fn scalar_view(shape: &[usize], view: &View) -> View {
    match shape.is_empty() {
        true => View { block_axis: Some(0), ..view.clone() },
        false => view.clone(),
    }
}
