//! Operations that move elements: most are other views of the same memory.

use onestep_program::{Node, Op, Program, ValueId};
use onestep_shaders as shaders;

use super::{Destination, Lowering, Params, UNIT, View, around, constant, elements, order, unit_strides};
use crate::{error::RunError, plan::axes::IndexBox};

/// For every value that is a part of a concatenation, and of that alone: its place there.
pub(super) fn destinations(program: &Program) -> Vec<Option<Destination>> {
    let mut computed = vec![false; program.values.len()];
    program.nodes.iter().for_each(|node| computed[node.output.index()] = true);
    let mut destinations = vec![None; program.values.len()];
    for node in &program.nodes {
        let Op::Concat { axis } = node.op else { continue };
        let mut at = 0;
        for &part in &node.inputs {
            let shape = &program.value(part).shape;
            let once = node.inputs.iter().filter(|&&other| other == part).count() == 1;
            if once && computed[part.index()] && destinations[part.index()].is_none() {
                let mut start = vec![0; shape.len()];
                start[axis] = at;
                destinations[part.index()] = Some(Destination { whole: node.output, start });
            }
            at += shape[axis];
        }
    }
    destinations
}

impl Lowering<'_> {
    /// A copy of a box from one view to another; `keep` says which lanes beside it stay as they are.
    pub(super) fn copy(&mut self, shape: &[usize], source: &View, sink: &View, keep: usize) -> Result<(), RunError> {
        if elements(shape) == 0 {
            return Ok(());
        }
        if source.bound == sink.bound {
            // No kernel reads what it writes.
            let between = self.units(shape, source.inner.or(sink.inner).unwrap_or(shape.len().saturating_sub(1)))?;
            self.copy(shape, source, &between, 0)?;
            return self.copy(shape, &between, sink, keep);
        }
        let kernel = self.form(match (source.raw, sink.raw) {
            (false, false) => &shaders::COPY,
            (true, false) => &shaders::COPY_IN,
            (false, true) => &shaders::COPY_OUT,
            (true, true) => &shaders::COPY_RAW,
        });
        // A scalar is a row of one.
        let scalar = [1];
        let (shape, source, sink) = match shape.is_empty() {
            true => (
                &scalar[..],
                &View { strides: vec![1], ..source.clone() },
                &View { strides: vec![1], inner: (!sink.raw).then_some(0), ..sink.clone() },
            ),
            false => (shape, source, sink),
        };
        let inner = match (sink.raw, sink.inner) {
            (true, _) => shape.len() - 1,
            (false, Some(inner)) => inner,
            (false, None) => sink.strides.iter().position(|&stride| stride == 1).unwrap_or(shape.len() - 1),
        };
        let (outer, per) = (around(shape, inner), if sink.raw { 1 } else { UNIT });
        let lengths: Vec<usize> = outer.iter().map(|&axis| shape[axis]).collect();
        let of_source: Vec<usize> = outer.iter().map(|&axis| source.strides[axis]).collect();
        let of_sink: Vec<usize> = outer.iter().map(|&axis| sink.strides[axis] / per).collect();
        let merged = IndexBox::merged(&lengths, [&of_source, &of_sink]);
        let shift = if sink.raw { 0 } else { sink.start % UNIT };
        let units = if sink.raw { shape[inner] } else { (shift + shape[inner]).div_ceil(UNIT) };
        let mut params = Params::new(kernel);
        params.set("rank", merged.shape.len());
        params.set("units", units);
        params.set("length", shape[inner]);
        params.set("x_start", source.start);
        params.set("x_inner", source.strides[inner]);
        params.set("y_start", sink.start / per);
        params.set("shift", shift);
        params.set("keep", keep);
        params.flag("whole", !source.raw && source.inner == Some(inner) && shift == 0 && keep == 0);
        params.list("shape", &merged.shape);
        params.list("x_strides", &merged.strides[0]);
        params.list("y_strides", &merged.strides[1]);
        self.items(kernel, params, vec![("x", source.bound), ("y", sink.bound)], elements(&merged.shape) * units);
        Ok(())
    }

    /// A result that is another view of its input: of each of the ways in which that lies in memory.
    pub(super) fn moved(&mut self, node: &Node, x: ValueId, turn: impl Fn(&View) -> Option<View>) -> Result<bool, RunError> {
        self.view(x)?;
        let views: Vec<View> = self.views[x.index()].iter().filter_map(turn).collect();
        let found = !views.is_empty();
        // One in units first, for whoever takes the first.
        let (units, others): (Vec<View>, Vec<View>) = views.into_iter().partition(|view| view.inner.is_some());
        self.views[node.output.index()] = units.into_iter().chain(others).collect();
        Ok(found)
    }

    pub(super) fn reshape(&mut self, node: &Node) -> Result<(), RunError> {
        let x = self.input(node, 0)?;
        let (own, to) = (self.shape(x), self.shape(node.output));
        if elements(own) == 0 {
            self.views[node.output.index()] = vec![View { inner: None, ..View::raw(self.view(x)?.bound, to) }];
            return Ok(());
        }
        if !self.moved(node, x, |view| view.reshaped(own, to))? {
            let bound = self.raw(x)?;
            self.views[node.output.index()] = vec![View::raw(bound, to)];
        }
        Ok(())
    }

    /// Each pixel repeated: the image with two more axes along which nothing moves.
    pub(super) fn upsample(&mut self, node: &Node, scale: [usize; 2]) -> Result<(), RunError> {
        let x = self.input(node, 0)?;
        let (own, to) = (self.shape(x), self.shape(node.output));
        let x = self.along(x, 1)?;
        let y = self.output(node, &order(4, 1), &[&x])?;
        let shape = [own[0], own[1], own[2], scale[0], own[3], scale[1]];
        let (xs, ys) = (&x.strides, &y.strides);
        debug_assert_eq!(elements(&shape), elements(to));
        let source = View { strides: vec![xs[0], xs[1], xs[2], 0, xs[3], 0], ..x.clone() };
        let sink = View { strides: vec![ys[0], ys[1], ys[2] * scale[0], ys[2], ys[3] * scale[1], ys[3]], ..y.clone() };
        self.copy(&shape, &source, &sink, 0)
    }

    pub(super) fn pad(&mut self, node: &Node, padding: &[[usize; 2]], value: f32) -> Result<(), RunError> {
        let id = self.input(node, 0)?;
        let (inside, shape) = (self.shape(id), self.shape(node.output));
        let inner = self.inner_or(id, shape.len().saturating_sub(1))?;
        let x = self.view(id)?;
        let y = self.units(shape, inner)?;
        self.views[node.output.index()] = vec![y.clone()];
        self.fill(shape, inner, &y, value);
        let start: Vec<usize> = padding.iter().map(|padding| padding[0]).collect();
        let sink = View { inner: Some(inner), ..y.part(shape, &start, inside) };
        let keep = constant(&shaders::COPY, "KEEP_BEFORE")? | constant(&shaders::COPY, "KEEP_AFTER")?;
        self.copy(inside, &x, &sink, keep)
    }

    /// The same value in all of a tensor that lies dense in units.
    pub(super) fn fill(&mut self, shape: &[usize], inner: usize, y: &View, value: f32) {
        let kernel = self.form(&shaders::FILL);
        let length = shape.get(inner).copied().unwrap_or(1);
        let units = length.div_ceil(UNIT);
        let mut params = Params::new(kernel);
        params.set("units", units.max(1));
        params.set("length", length);
        params.float("value", value);
        let outer: usize = around(shape, inner).iter().map(|&axis| shape[axis]).product();
        self.items(kernel, params, vec![("y", y.bound)], outer * units);
    }

    /// The place of a value in the concatenation that it is a part of: if it lies in the order that its operation writes, and nothing
    /// that the operation reads lies in the same memory.
    pub(super) fn place_in_whole(&mut self, id: ValueId, order: &[usize], reads: &[&View]) -> Result<Option<View>, RunError> {
        let Some(Destination { whole, start }) = &self.destinations[id.index()] else { return Ok(None) };
        let (whole, start) = (*whole, start.clone());
        let (shape, whole_shape) = (self.shape(id), self.shape(whole));
        if elements(whole_shape) == 0 {
            return Ok(None);
        }
        if self.views[whole.index()].is_empty() {
            let view = self.units_in(whole_shape, order)?;
            self.views[whole.index()].push(view);
        }
        let all = self.views[whole.index()][0].clone();
        let part = all.part(whole_shape, &start, shape);
        let fits = part.inner.is_some() && part.inner == order.last().copied() && reads.iter().all(|read| read.bound != all.bound);
        Ok(fits.then_some(part))
    }

    pub(super) fn concat(&mut self, node: &Node, axis: usize) -> Result<(), RunError> {
        let shape = self.shape(node.output);
        if self.views[node.output.index()].is_empty() {
            let first = self.input(node, 0)?;
            let inner = self.inner_or(first, axis)?;
            let view = self.units(shape, inner)?;
            self.views[node.output.index()].push(view);
        }
        let whole = self.views[node.output.index()][0].clone();
        let mut start = vec![0; shape.len()];
        // What cuts units is written in order, each part clearing what follows it in its last unit, unless that is there already.
        let mut there: Vec<bool> = Vec::new();
        for &part in &node.inputs {
            let place = whole.part(shape, &start, self.shape(part));
            there.push(self.view(part)? == place);
            start[axis] += self.shape(part)[axis];
        }
        start[axis] = 0;
        for (&part, &there) in node.inputs.iter().zip(&there) {
            let own = self.shape(part);
            if !there {
                let source = self.view(part)?;
                let sink = View { inner: whole.inner, ..whole.part(shape, &start, own) };
                let cuts = whole.inner == Some(axis) && !(start[axis].is_multiple_of(UNIT) && own[axis].is_multiple_of(UNIT));
                let keep = if cuts { constant(&shaders::COPY, "KEEP_BEFORE")? } else { 0 };
                self.copy(own, &source, &sink, keep)?;
            }
            start[axis] += own[axis];
        }
        Ok(())
    }
}

/// Units of all axes of tensors that lie in units along `inner`, merged: the innermost last.
pub(super) fn units_of<const TENSORS: usize>(shape: &[usize], inner: usize, views: [&View; TENSORS]) -> IndexBox<TENSORS> {
    let outer = around(shape, inner);
    let mut lengths: Vec<usize> = outer.iter().map(|&axis| shape[axis]).collect();
    lengths.push(shape.get(inner).copied().unwrap_or(1).div_ceil(UNIT));
    let strides: Vec<Vec<usize>> = views
        .iter()
        .map(|view| {
            let splat = view.inner.is_none();
            unit_strides(view, &outer).into_iter().chain([usize::from(!splat)]).collect()
        })
        .collect();
    IndexBox::merged(&lengths, std::array::from_fn(|tensor| strides[tensor].as_slice()))
}
