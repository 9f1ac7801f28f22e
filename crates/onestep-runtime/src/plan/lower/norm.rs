//! Group norm and layer norm.

use onestep_program::{Activation, Node, ValueId};
use onestep_shaders as shaders;

use super::{Bound, Lowering, Params, Statistics, UNIT, View, activation, around, constant, elements, order, unit_strides};
use crate::{error::RunError, plan::axes::IndexBox};

/// Pixels that one invocation of the first step sums: rows of which the matrix kernel leaves statistics.
pub(super) const CHUNK: usize = 64;

/// Where the statistics of chunks of channels lie.
struct Source {
    bound: Bound,
    /// The first channel, and from the means to the squared differences, in elements.
    start: usize,
    width: usize,
}

impl Lowering<'_> {
    pub(super) fn group_norm(&mut self, node: &Node, groups: usize, epsilon: f32, act: Activation) -> Result<(), RunError> {
        let (id, gamma, beta) = (self.input(node, 0)?, self.input(node, 1)?, self.input(node, 2)?);
        let shape = self.shape(id);
        let (batch, channels, pixels) = (shape[0], shape[1], elements(&shape[2..]));
        let units = channels.div_ceil(UNIT);
        let mut x = self.along(id, 1)?;
        let mut y = self.output(node, &order(shape.len(), 1), &[&x])?;
        if elements(shape) == 0 {
            return Ok(());
        }
        let spatial: Vec<usize> = (2..shape.len()).collect();
        let planes = |view: &View| unit_strides(view, &spatial);
        let mut merged = IndexBox::merged(&shape[2..], [&planes(&x), &planes(&y)]);
        if merged.shape.len() > 2 {
            // More axes than the kernels count through: dense tensors have one.
            let copy = self.units(shape, 1)?;
            self.copy(shape, &x, &copy, 0)?;
            x = copy;
            y = self.units(shape, 1)?;
            self.views[node.output.index()] = vec![y.clone()];
            merged = IndexBox::merged(&shape[2..], [&planes(&x), &planes(&y)]);
        }
        if merged.shape.len() == 1 {
            merged.shape.insert(0, 1);
            merged.strides.iter_mut().for_each(|strides| strides.insert(0, 0));
        }
        let (height, width) = (merged.shape[0], merged.shape[1]);
        let at = |params: &mut Params, name: &str, view: &View, strides: &[usize]| {
            params.set(&format!("{name}_start"), view.start / UNIT);
            params.set(&format!("{name}_n"), view.strides[0] / UNIT);
            params.set(&format!("{name}_y"), strides[0]);
            params.set(&format!("{name}_x"), strides[1]);
        };
        let chunks = pixels.div_ceil(CHUNK);
        let source = match self.left_by_products(&x, shape)? {
            Some(source) => source,
            None => {
                let bound = self.tenant(batch * chunks * 2 * units * UNIT, 4)?;
                let kernel = self.form(&shaders::CHANNEL_STATS);
                let mut params = Params::new(kernel);
                params.set("units", units);
                params.set("chunks", chunks);
                params.set("chunk", CHUNK);
                params.set("pixels", pixels);
                params.set("width", width);
                params.set("stats_start", 0);
                at(&mut params, "x", &x, &merged.strides[0]);
                self.items(kernel, params, vec![("x", x.bound), ("stats", bound)], batch * chunks * units);
                Source { bound, start: 0, width: units * UNIT }
            }
        };
        let scale = self.tenant(batch * 3 * units * UNIT, 4)?;
        let kernel = &shaders::GROUP_SCALE;
        let mut params = Params::new(kernel);
        params.set("groups", groups);
        params.set("group_channels", channels / groups);
        params.set("channels", channels);
        params.set("padded", units * UNIT);
        params.set("chunks", chunks);
        params.set("chunk", CHUNK);
        params.set("pixels", pixels);
        params.set("stats_start", source.start);
        params.set("stats_width", source.width);
        params.float("epsilon", epsilon);
        let (gamma, beta) = (self.raw(gamma)?, self.raw(beta)?);
        self.items(kernel, params, vec![("stats", source.bound), ("gamma", gamma), ("beta", beta), ("scale", scale)], batch * groups);
        let kernel = self.form(&shaders::SCALE_SHIFT);
        let mut params = Params::new(kernel);
        params.set("units", units);
        params.set("height", height);
        params.set("width", width);
        params.set("act", constant(kernel, activation(act))?);
        params.set("scale_start", 0);
        at(&mut params, "x", &x, &merged.strides[0]);
        at(&mut params, "y", &y, &merged.strides[1]);
        self.items(kernel, params, vec![("x", x.bound), ("scale", scale), ("y", y.bound)], batch * pixels * units);
        Ok(())
    }

    /// Has the products that stored a tensor leave its statistics too, where they stored all of it and in whole chunks.
    ///
    /// Statistics are kept for every unit of the memory's pixels: parts of a concatenation share them with the whole.
    fn left_by_products(&mut self, x: &View, shape: &[usize]) -> Result<Option<Source>, RunError> {
        let axes = around(shape, 1);
        let lengths: Vec<usize> = axes.iter().map(|&axis| shape[axis]).collect();
        let rows = IndexBox::merged(&lengths, [&unit_strides(x, &axes)]);
        let (count, pixels): (usize, usize) = (lengths.iter().product(), lengths[1..].iter().product());
        let (start, units) = (x.start / UNIT, shape[1].div_ceil(UNIT));
        let width = rows.strides[0].last().copied().unwrap_or(0).max(1);
        let (from, base) = (start % width, start - start % width);
        if from + units > width || (shape[0] > 1 && pixels % CHUNK != 0) {
            return Ok(None);
        }
        let mut writers = Vec::new();
        let mut covered = 0;
        for (number, step) in self.steps.iter().enumerate() {
            let Some(stored) = &step.stored else { continue };
            let ends = |at: usize| at == count || at.is_multiple_of(CHUNK);
            let inside = stored.start >= start && stored.start + stored.columns <= start + units;
            if stored.y == x.bound && stored.rows == rows && inside && ends(stored.first) && ends(stored.first + stored.count) {
                writers.push((number, stored.first / CHUNK * 2 * width + stored.start - base));
                covered += stored.columns * stored.count;
            }
        }
        if covered != units * count {
            return Ok(None);
        }
        let known = self.statistics.iter().find(|known| known.y == x.bound && known.start == base && known.rows == rows).map(|known| known.bound);
        let bound = match known {
            Some(bound) => bound,
            None => {
                let bound = self.tenant(count.div_ceil(CHUNK) * 2 * width * UNIT, 4)?;
                self.statistics.push(Statistics { y: x.bound, start: base, rows, bound });
                bound
            }
        };
        for (number, at) in writers {
            let step = &mut self.steps[number];
            // One that has them already leaves them in the same place.
            let Some(kernel) = step.kernel.statistics else { continue };
            step.kernel = kernel;
            step.params.extend(kernel);
            step.params.set("stats_start", at);
            step.params.set("stats_units", width);
            step.bound.push(("stats", bound));
            if let Some(groups) = step.stored.as_ref().and_then(|stored| stored.groups) {
                step.groups = groups;
            }
        }
        Ok(Some(Source { bound, start: from * UNIT, width: width * UNIT }))
    }

    pub(super) fn layer_norm(&mut self, node: &Node, epsilon: f32, affine: bool) -> Result<(), RunError> {
        let id = self.input(node, 0)?;
        let parameters = if affine { Some((self.input(node, 1)?, self.input(node, 2)?)) } else { None };
        let shape = self.shape(id);
        let last = shape.len() - 1;
        let x = self.along(id, last)?;
        let y = self.output(node, &order(shape.len(), last), &[&x])?;
        // Parameters that are computed are multiplied and added by themselves.
        let (stored, computed) = match parameters {
            Some((gamma, beta)) if self.is_weight(gamma) && self.is_weight(beta) => (Some((gamma, beta)), None),
            other => (None, other),
        };
        let padded = shape[last].next_multiple_of(UNIT);
        let (of_gamma, of_beta) = match stored {
            Some((gamma, beta)) => (self.vector(gamma, padded)?, self.vector(beta, padded)?),
            None => (Bound::Absent, Bound::Absent),
        };
        let plain = if computed.is_none() { y.clone() } else { self.units(shape, last)? };
        let kernels = (&shaders::LAYER_NORM, &shaders::LAYER_NORM_SERIAL);
        self.rows(kernels, shape, last, &x, &plain, vec![("gamma", of_gamma), ("beta", of_beta)], |params| {
            params.float("epsilon", epsilon);
            params.flag("affine", stored.is_some());
        })?;
        if let Some((gamma, beta)) = computed {
            let scaled = self.units(shape, last)?;
            let gamma = self.per_channel(gamma, shape, last)?;
            self.combine(shape, last, "MUL", &plain, &gamma, &scaled)?;
            let beta = self.per_channel(beta, shape, last)?;
            self.combine(shape, last, "ADD", &scaled, &beta, &y)?;
        }
        Ok(())
    }

    /// A vector along axis `axis` of a result of `shape`, as an operand.
    pub(super) fn per_channel(&mut self, id: ValueId, shape: &[usize], axis: usize) -> Result<View, RunError> {
        let units = self.along(id, 0)?;
        let mut strides = vec![0; shape.len()];
        strides[axis] = 1;
        Ok(View { inner: Some(axis), strides, ..units })
    }
}
