//! Group norm and layer norm.

use onestep_program::{Activation, Node, ValueId};
use onestep_shaders::{self as shaders, Flags};

use super::super::{axes::IndexBox, params::Params};
use super::{
    layout::{BLOCK, View, block_strides, dim_order, elements, outer_dims},
    lowering::Lowering,
    reduction::Rows,
    step::{Resource, Statistics, activation, constant},
};
use crate::error::RunError;

/// The statistics of chunks of channels.
struct StatisticsView {
    resource: Resource,
    /// The first channel, in elements.
    start: usize,
    /// Elements of a vector: from the means to the squared deviations.
    width: usize,
}

/// Rows of a chunk of statistics: as many as the matrix kernels write them for.
fn chunk_rows() -> Result<usize, RunError> {
    constant(&shaders::GEMM_TILE_R64_STATS, "STATS_ROWS")
}

/// Sets start and strides of an image among a kernel's parameters.
pub(super) fn set_image(params: &mut Params, name: &str, view: &View, strides: &[usize]) {
    params.set(&format!("{name}_start"), view.start / BLOCK);
    params.set(&format!("{name}_n"), view.strides[0] / BLOCK);
    params.set(&format!("{name}_y"), strides[0]);
    params.set(&format!("{name}_x"), strides[1]);
}

impl Lowering<'_> {
    /// Three steps: statistics of chunks of pixels, a factor and an offset for each channel, and their application. The first is skipped if the
    /// products that computed x can write the statistics.
    pub(super) fn group_norm(&mut self, node: &Node, groups: usize, epsilon: f32, act: Activation) -> Result<(), RunError> {
        let (id, gamma, beta) = (self.input(node, 0)?, self.input(node, 1)?, self.input(node, 2)?);
        let shape = self.shape(id);
        let (batch, pixels) = (shape[0], elements(&shape[2..]));
        let mut x = self.blocked(id, 1)?;
        let mut y = self.output(node, &dim_order(shape.len(), 1), &[&x])?;
        if elements(shape) == 0 {
            return Ok(());
        }
        let spatial: Vec<usize> = (2..shape.len()).collect();
        let merge = |x: &View, y: &View| IndexBox::merged(&shape[2..], [&block_strides(x, &spatial), &block_strides(y, &spatial)]);
        let mut merged = merge(&x, &y);
        if merged.shape.len() > 2 {
            // The kernels have two pixel axes; dense tensors need one.
            let copy = self.allocate_blocked(shape, 1)?;
            self.copy(shape, &x, &copy, 0)?;
            x = copy;
            y = self.allocate_blocked(shape, 1)?;
            self.set_view(node, y.clone());
            merged = merge(&x, &y);
        }
        if merged.shape.len() == 1 {
            merged.shape.insert(0, 1);
            merged.strides.iter_mut().for_each(|strides| strides.insert(0, 0));
        }
        let (height, width) = (merged.shape[0], merged.shape[1]);
        let statistics = match self.statistics_of_products(&x, shape)? {
            Some(statistics) => statistics,
            None => self.channel_statistics(&x, shape, width, &merged.strides[0])?,
        };
        let (gamma, beta) = (self.plain(gamma)?, self.plain(beta)?);
        let scale = self.group_scale(shape, groups, epsilon, &statistics, [gamma, beta])?;
        let kernel = self.kernel("scale_shift", Flags::NONE)?;
        let blocks = shape[1].div_ceil(BLOCK);
        let mut params = Params::new(kernel);
        params.set("blocks", blocks);
        params.set("height", height);
        params.set("width", width);
        params.set("act", constant(kernel, activation(act))?);
        params.set("scale_start", 0);
        set_image(&mut params, "x", &x, &merged.strides[0]);
        set_image(&mut params, "y", &y, &merged.strides[1]);
        self.dispatch_invocations(kernel, params, vec![("x", x.resource), ("scale", scale), ("y", y.resource)], batch * pixels * blocks);
        Ok(())
    }

    /// Step 1 as a separate dispatch: mean and squared deviations of every channel over chunks of pixels.
    fn channel_statistics(&mut self, x: &View, shape: &[usize], width: usize, strides: &[usize]) -> Result<StatisticsView, RunError> {
        let kernel = self.kernel("channel_stats", Flags::NONE)?;
        let (batch, pixels, blocks, chunk) = (shape[0], elements(&shape[2..]), shape[1].div_ceil(BLOCK), chunk_rows()?);
        let chunks = pixels.div_ceil(chunk);
        let resource = self.allocate(batch * chunks * constant(kernel, "STAT_VECTORS")? * blocks * BLOCK, 4)?;
        let mut params = Params::new(kernel);
        params.set("blocks", blocks);
        params.set("chunks", chunks);
        params.set("chunk", chunk);
        params.set("pixels", pixels);
        params.set("width", width);
        params.set("stats_start", 0);
        set_image(&mut params, "x", x, strides);
        self.dispatch_invocations(kernel, params, vec![("x", x.resource), ("stats", resource)], batch * chunks * blocks);
        Ok(StatisticsView { resource, start: 0, width: blocks * BLOCK })
    }

    /// Step 2: mean, factor and offset of every channel.
    fn group_scale(
        &mut self,
        shape: &[usize],
        groups: usize,
        epsilon: f32,
        statistics: &StatisticsView,
        [gamma, beta]: [Resource; 2],
    ) -> Result<Resource, RunError> {
        let kernel = &shaders::GROUP_SCALE;
        let (batch, channels, pixels, chunk) = (shape[0], shape[1], elements(&shape[2..]), chunk_rows()?);
        let padded = channels.next_multiple_of(BLOCK);
        let scale = self.allocate(batch * constant(kernel, "SCALE_VECTORS")? * padded, 4)?;
        let mut params = Params::new(kernel);
        params.set("groups", groups);
        params.set("group_channels", channels / groups);
        params.set("channels", channels);
        params.set("padded", padded);
        params.set("chunks", pixels.div_ceil(chunk));
        params.set("chunk", chunk);
        params.set("pixels", pixels);
        params.set("stats_start", statistics.start);
        params.set("stats_width", statistics.width);
        params.float("epsilon", epsilon);
        let bindings = vec![("stats", statistics.resource), ("gamma", gamma), ("beta", beta), ("scale", scale)];
        self.dispatch_invocations(kernel, params, bindings, batch * groups);
        Ok(scale)
    }

    /// Lets the products that stored a tensor also write its statistics; none if they did not store all of it, or not in whole chunks.
    ///
    /// The statistics cover all blocks of the memory's pixels, so the parts of a concatenation share them with the whole.
    fn statistics_of_products(&mut self, x: &View, shape: &[usize]) -> Result<Option<StatisticsView>, RunError> {
        let (chunk, vectors) = (chunk_rows()?, constant(&shaders::GROUP_SCALE, "STAT_VECTORS")?);
        let axes = outer_dims(shape, 1);
        let lengths: Vec<usize> = axes.iter().map(|&axis| shape[axis]).collect();
        let rows = IndexBox::merged(&lengths, [&block_strides(x, &axes)]);
        let (count, pixels): (usize, usize) = (lengths.iter().product(), lengths[1..].iter().product());
        let (start, blocks) = (x.start / BLOCK, shape[1].div_ceil(BLOCK));
        let width = rows.strides[0].last().copied().unwrap_or(0).max(1);
        let (offset, base) = (start % width, start - start % width);
        if offset + blocks > width || (shape[0] > 1 && pixels % chunk != 0) {
            return Ok(None);
        }
        let mut writers = Vec::new();
        let mut covered = 0;
        for (number, step) in self.steps.iter().enumerate() {
            let Some(stored) = &step.stored else { continue };
            let ends_chunk = |row: usize| row == count || row.is_multiple_of(chunk);
            let inside = stored.start >= start && stored.start + stored.column_blocks <= start + blocks;
            let whole_chunks = ends_chunk(stored.first) && ends_chunk(stored.first + stored.count);
            if stored.y == x.resource && stored.rows == rows && inside && whole_chunks {
                writers.push((number, stored.first / chunk * vectors * width + stored.start - base));
                covered += stored.column_blocks * stored.count;
            }
        }
        if covered != blocks * count {
            return Ok(None);
        }
        let known = self.statistics.iter().find(|known| known.y == x.resource && known.start == base && known.rows == rows);
        let resource = match known.map(|known| known.resource) {
            Some(resource) => resource,
            None => {
                let resource = self.allocate(count.div_ceil(chunk) * vectors * width * BLOCK, 4)?;
                self.statistics.push(Statistics { y: x.resource, start: base, rows, resource });
                resource
            }
        };
        for (number, stats_start) in writers {
            let step = &mut self.steps[number];
            // None for a step that writes its statistics already.
            let Some(kernel) = step.kernel.with(Flags::STATS).filter(|kernel| kernel.name != step.kernel.name) else { continue };
            step.kernel = kernel;
            step.params.extend(kernel);
            step.params.set("stats_start", stats_start);
            step.params.set("stats_blocks", width);
            step.bindings.push(("stats", resource));
            step.per_invocation = false;
            step.workgroups = step.stored.as_ref().map_or(step.workgroups, |stored| stored.workgroups);
        }
        Ok(Some(StatisticsView { resource, start: offset * BLOCK, width: width * BLOCK }))
    }

    pub(super) fn layer_norm(&mut self, node: &Node, epsilon: f32, affine: bool) -> Result<(), RunError> {
        let id = self.input(node, 0)?;
        let parameters = if affine { Some((self.input(node, 1)?, self.input(node, 2)?)) } else { None };
        let shape = self.shape(id);
        let last = shape.len() - 1;
        let x = self.blocked(id, last)?;
        let y = self.output(node, &dim_order(shape.len(), last), &[&x])?;
        // The kernel applies gamma and beta if they are weights; computed ones are applied by separate dispatches.
        let (stored, computed) = match parameters {
            Some((gamma, beta)) if self.is_weight(gamma) && self.is_weight(beta) => (Some((gamma, beta)), None),
            other => (None, other),
        };
        let padded = shape[last].next_multiple_of(BLOCK);
        let (gamma, beta) = match stored {
            Some((gamma, beta)) => (self.padded_vector(gamma, padded)?, self.padded_vector(beta, padded)?),
            None => (Resource::Absent, Resource::Absent),
        };
        let normalised = if computed.is_none() { y.clone() } else { self.allocate_blocked(shape, last)? };
        let rows = Rows { shape, axis: last, x: &x, y: &normalised, others: vec![("gamma", gamma), ("beta", beta)] };
        self.reduce_rows("layer_norm", rows, |params| {
            params.float("epsilon", epsilon);
            params.flag("affine", stored.is_some());
        })?;
        if let Some((gamma, beta)) = computed {
            let scaled = self.allocate_blocked(shape, last)?;
            let gamma = self.per_channel(gamma, shape, last)?;
            self.apply_binary(shape, last, "MUL", &normalised, &gamma, &scaled)?;
            let beta = self.per_channel(beta, shape, last)?;
            self.apply_binary(shape, last, "ADD", &scaled, &beta, &y)?;
        }
        Ok(())
    }

    /// A vector along one axis of a result of `shape`, as an operand.
    pub(super) fn per_channel(&mut self, id: ValueId, shape: &[usize], axis: usize) -> Result<View, RunError> {
        let vector = self.blocked(id, 0)?;
        let mut strides = vec![0; shape.len()];
        strides[axis] = 1;
        Ok(View { block_axis: Some(axis), strides, ..vector })
    }
}
