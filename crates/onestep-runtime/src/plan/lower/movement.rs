//! Operations that move elements. Most are other views of the same memory.

use onestep_program::{Node, ValueId};
use onestep_shaders::{self as shaders, Flags};

use super::super::{axes::IndexBox, params::Params};
use super::{
    concat_slots::ConcatSlot,
    layout::{BLOCK, View, block_strides, dim_order, elements, outer_dims},
    lowering::Lowering,
    norm::set_image,
    step::constant,
};
use crate::error::RunError;

impl Lowering<'_> {
    /// Copies from view to view. `keep` is KEEP_BEFORE, KEEP_AFTER, both or 0: which elements of partly written blocks keep their values.
    pub(super) fn copy(&mut self, shape: &[usize], source: &View, sink: &View, keep: usize) -> Result<(), RunError> {
        if elements(shape) == 0 {
            return Ok(());
        }
        if source.resource == sink.resource {
            // A kernel cannot read the buffer that it writes.
            let between = self.allocate_blocked(shape, source.block_axis.or(sink.block_axis).unwrap_or(shape.len().saturating_sub(1)))?;
            self.copy(shape, source, &between, 0)?;
            return self.copy(shape, &between, sink, keep);
        }
        let kernel = self.kernel("copy", Flags::PLAIN_IN.when(source.plain) | Flags::PLAIN_OUT.when(sink.plain))?;
        // A scalar is a row of one element.
        let scalar = [1];
        let (shape, source, sink) = match shape.is_empty() {
            true => (
                &scalar[..],
                &View { strides: vec![1], ..source.clone() },
                &View { strides: vec![1], block_axis: (!sink.plain).then_some(0), ..sink.clone() },
            ),
            false => (shape, source, sink),
        };
        let innermost = match (sink.plain, sink.block_axis) {
            (true, _) => shape.len() - 1,
            (false, Some(axis)) => axis,
            (false, None) => sink.strides.iter().position(|&stride| stride == 1).unwrap_or(shape.len() - 1),
        };
        let (outer, width) = (outer_dims(shape, innermost), if sink.plain { 1 } else { BLOCK });
        let lengths: Vec<usize> = outer.iter().map(|&axis| shape[axis]).collect();
        let source_strides: Vec<usize> = outer.iter().map(|&axis| source.strides[axis]).collect();
        let sink_strides: Vec<usize> = outer.iter().map(|&axis| sink.strides[axis] / width).collect();
        let merged = IndexBox::merged(&lengths, [&source_strides, &sink_strides]);
        let shift = if sink.plain { 0 } else { sink.start % BLOCK };
        let blocks = if sink.plain { shape[innermost] } else { (shift + shape[innermost]).div_ceil(BLOCK) };
        let mut params = Params::new(kernel);
        params.set("rank", merged.shape.len());
        params.set("blocks", blocks);
        params.set("length", shape[innermost]);
        params.set("x_start", source.start);
        params.set("x_inner", source.strides[innermost]);
        params.set("y_start", sink.start / width);
        params.set("shift", shift);
        params.set("keep_outside", keep);
        params.flag("blockwise", !source.plain && source.block_axis == Some(innermost) && shift == 0 && keep == 0);
        params.list("shape", &merged.shape);
        params.list("x_strides", &merged.strides[0]);
        params.list("y_strides", &merged.strides[1]);
        self.dispatch_invocations(kernel, params, vec![("x", source.resource), ("y", sink.resource)], elements(&merged.shape) * blocks);
        Ok(())
    }

    /// Makes the result of an operation a view of its input: one for each view of the input that `change` can express. False if there is none.
    fn alias(&mut self, node: &Node, x: ValueId, change: impl Fn(&View) -> Option<View>) -> Result<bool, RunError> {
        self.view(x)?;
        let views: Vec<View> = self.views[x.index()].iter().filter_map(change).collect();
        let found = !views.is_empty();
        // Blocked views first, because most operations take the first view.
        let (blocked, others): (Vec<View>, Vec<View>) = views.into_iter().partition(|view| view.block_axis.is_some());
        self.views[node.output.index()] = blocked.into_iter().chain(others).collect();
        Ok(found)
    }

    pub(super) fn slice(&mut self, node: &Node, start: &[usize]) -> Result<(), RunError> {
        let x = self.input(node, 0)?;
        let (whole, shape) = (self.shape(x), self.shape(node.output));
        self.alias(node, x, |view| Some(view.part(whole, start, shape)))?;
        Ok(())
    }

    pub(super) fn permute(&mut self, node: &Node, axes: &[usize]) -> Result<(), RunError> {
        let x = self.input(node, 0)?;
        self.alias(node, x, |view| Some(view.permuted(axes)))?;
        Ok(())
    }

    pub(super) fn expand(&mut self, node: &Node) -> Result<(), RunError> {
        let x = self.input(node, 0)?;
        let (shape, to) = (self.shape(x), self.shape(node.output));
        self.alias(node, x, |view| Some(view.broadcast(shape, to)))?;
        Ok(())
    }

    pub(super) fn reshape(&mut self, node: &Node) -> Result<(), RunError> {
        let x = self.input(node, 0)?;
        let (shape, to) = (self.shape(x), self.shape(node.output));
        if elements(shape) == 0 {
            let resource = self.view(x)?.resource;
            self.set_view(node, View { block_axis: None, ..View::plain(resource, to) });
            return Ok(());
        }
        if !self.alias(node, x, |view| view.reshaped(shape, to))? {
            let resource = self.plain(x)?;
            self.set_view(node, View::plain(resource, to));
        }
        Ok(())
    }

    /// Nearest-neighbour upsampling. If every pixel is repeated equally often, it is a copy from a view with two more axes of stride 0.
    pub(super) fn upsample(&mut self, node: &Node) -> Result<(), RunError> {
        let x = self.input(node, 0)?;
        let (from, to) = (self.shape(x), self.shape(node.output));
        let x = self.blocked(x, 1)?;
        let y = self.output(node, &dim_order(4, 1), &[&x])?;
        if elements(to) == 0 {
            return Ok(());
        }
        if !(to[2].is_multiple_of(from[2]) && to[3].is_multiple_of(from[3])) {
            return self.upsample_to_size(from, to, &x, &y);
        }
        let scale = [to[2] / from[2], to[3] / from[3]];
        let shape = [from[0], from[1], from[2], scale[0], from[3], scale[1]];
        let (xs, ys) = (&x.strides, &y.strides);
        debug_assert_eq!(elements(&shape), elements(to));
        let source = View { strides: vec![xs[0], xs[1], xs[2], 0, xs[3], 0], ..x.clone() };
        let sink = View { strides: vec![ys[0], ys[1], ys[2] * scale[0], ys[2], ys[3] * scale[1], ys[3]], ..y.clone() };
        self.copy(&shape, &source, &sink, 0)
    }

    /// Nearest-neighbour upsampling that repeats some pixels more often than others.
    fn upsample_to_size(&mut self, from: &[usize], to: &[usize], x: &View, y: &View) -> Result<(), RunError> {
        let kernel = self.kernel("upsample_nearest", Flags::NONE)?;
        let blocks = to[1].div_ceil(BLOCK);
        let mut params = Params::new(kernel);
        params.set("blocks", blocks);
        params.set("height", to[2]);
        params.set("width", to[3]);
        params.set("last_row", from[2] - 1);
        params.set("last_column", from[3] - 1);
        params.float("row_ratio", from[2] as f32 / to[2] as f32);
        params.float("column_ratio", from[3] as f32 / to[3] as f32);
        for (name, view) in [("x", x), ("y", y)] {
            set_image(&mut params, name, view, &block_strides(view, &[2, 3]));
        }
        self.dispatch_invocations(kernel, params, vec![("x", x.resource), ("y", y.resource)], to[0] * to[2] * to[3] * blocks);
        Ok(())
    }

    pub(super) fn pad(&mut self, node: &Node, padding: &[[usize; 2]], value: f32) -> Result<(), RunError> {
        let id = self.input(node, 0)?;
        let (inside, shape) = (self.shape(id), self.shape(node.output));
        let block_axis = self.block_axis_or(id, shape.len().saturating_sub(1))?;
        let x = self.view(id)?;
        let y = self.allocate_blocked(shape, block_axis)?;
        self.set_view(node, y.clone());
        self.fill(shape, block_axis, &y, value)?;
        let start: Vec<usize> = padding.iter().map(|padding| padding[0]).collect();
        let sink = View { block_axis: Some(block_axis), ..y.part(shape, &start, inside) };
        let keep = constant(&shaders::COPY, "KEEP_BEFORE")? | constant(&shaders::COPY, "KEEP_AFTER")?;
        self.copy(inside, &x, &sink, keep)
    }

    /// Sets all of a whole blocked tensor to one value.
    pub(super) fn fill(&mut self, shape: &[usize], block_axis: usize, y: &View, value: f32) -> Result<(), RunError> {
        let kernel = self.kernel("fill", Flags::NONE)?;
        let length = shape.get(block_axis).copied().unwrap_or(1);
        let blocks = length.div_ceil(BLOCK);
        let mut params = Params::new(kernel);
        params.set("blocks", blocks.max(1));
        params.set("length", length);
        params.float("value", value);
        let outer: usize = outer_dims(shape, block_axis).iter().map(|&axis| shape[axis]).product();
        self.dispatch_invocations(kernel, params, vec![("y", y.resource)], outer * blocks);
        Ok(())
    }

    /// The view of a value in the concatenation that it is a part of; none if the dim order differs from the one that the operation writes, or if
    /// the operation reads the same memory.
    pub(super) fn slot_view(&mut self, id: ValueId, order: &[usize], reads: &[&View]) -> Result<Option<View>, RunError> {
        let Some(ConcatSlot { whole, start }) = &self.concat_slots[id.index()] else { return Ok(None) };
        let (whole, start) = (*whole, start.clone());
        let (shape, whole_shape) = (self.shape(id), self.shape(whole));
        if elements(whole_shape) == 0 {
            return Ok(None);
        }
        if self.views[whole.index()].is_empty() {
            let view = self.allocate_ordered(whole_shape, order)?;
            self.views[whole.index()].push(view);
        }
        let all = self.views[whole.index()][0].clone();
        let part = all.part(whole_shape, &start, shape);
        let fits = part.block_axis.is_some() && part.block_axis == order.last().copied() && reads.iter().all(|read| read.resource != all.resource);
        Ok(fits.then_some(part))
    }

    pub(super) fn concat(&mut self, node: &Node, axis: usize) -> Result<(), RunError> {
        let shape = self.shape(node.output);
        if self.views[node.output.index()].is_empty() {
            let first = self.input(node, 0)?;
            let block_axis = self.block_axis_or(first, axis)?;
            let view = self.allocate_blocked(shape, block_axis)?;
            self.views[node.output.index()].push(view);
        }
        let whole = self.views[node.output.index()][0].clone();
        let mut start = vec![0; shape.len()];
        // Parts that were computed in their slots need no copy.
        let mut in_slot: Vec<bool> = Vec::new();
        for &part in &node.inputs {
            let slot = whole.part(shape, &start, self.shape(part));
            in_slot.push(self.view(part)? == slot);
            start[axis] += self.shape(part)[axis];
        }
        start[axis] = 0;
        for (&part, &in_slot) in node.inputs.iter().zip(&in_slot) {
            let part_shape = self.shape(part);
            if !in_slot {
                let source = self.view(part)?;
                let sink = View { block_axis: whole.block_axis, ..whole.part(shape, &start, part_shape) };
                // Parts that cut blocks are copied in order, and each zeroes the rest of its last block.
                let cuts = whole.block_axis == Some(axis) && !(start[axis].is_multiple_of(BLOCK) && part_shape[axis].is_multiple_of(BLOCK));
                let keep = if cuts { constant(&shaders::COPY, "KEEP_BEFORE")? } else { 0 };
                self.copy(part_shape, &source, &sink, keep)?;
            }
            start[axis] += part_shape[axis];
        }
        Ok(())
    }
}
