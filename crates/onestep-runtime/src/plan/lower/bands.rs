//! Row bands: splits a dispatch that is too large into several over fewer rows.
//!
//! A dispatch is too large if one of its tensors exceeds the adapter's largest storage binding, or if it would take so long that it stalls the
//! screen. A **row band** is the same kernel over part of the rows; it binds a **window** of each tensor, the bytes that those rows need. Every
//! element is computed by the same operations in the same order, so the result is bit-identical. A window starts at a multiple of
//! [`ALIGNMENT`]; the distance from there to the band's first row becomes the tensor's start in the kernel's parameters.

use std::ops::Range;

use onestep_shaders::{Flags, GROUP_SCALE, SCALE_SHIFT};

use super::super::{memory::ALIGNMENT, params::Params};
use super::{
    gemm::row_tiles,
    layout::BLOCK,
    lowering::Lowering,
    step::{Resource, Step, Window, binding_size, constant, invocations},
};
use crate::error::RunError;

/// A range of indices along each axis of an [`IndexSpace`].
type Band = Vec<Range<usize>>;

/// The index space of a step, outermost axis first, and how its tensors are addressed.
struct IndexSpace {
    kind: Kind,
    shape: Vec<usize>,
    /// For each axis that can be split, outermost first: bands start at multiples of this.
    granules: Vec<usize>,
    /// Floating-point operations per index.
    flops: u64,
    tensors: Vec<TensorAccess>,
}

/// Which parameters describe the index space of a kernel.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// N, Ho, Wo of shared/gemm.wgsl. With taps, bands are of whole image rows, and rows next to them are read too.
    Product { taps: bool },
    /// N, H, W of scale_shift.
    Pixels,
    /// N and the chunks of channel_stats.
    Chunks,
    /// The axes of `shape`.
    Box,
}

/// How a kernel addresses a tensor: in items of `width` bytes.
struct TensorAccess {
    name: &'static str,
    width: u64,
    start: usize,
    strides: Vec<usize>,
    /// Items that are accessed at each index.
    extent: usize,
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl Lowering<'_> {
    /// A step as few row bands as the adapter's limits allow; usually one, the step itself.
    pub(super) fn split_into_bands(&self, step: Step) -> Result<Vec<Step>, RunError> {
        let limit = self.capabilities.max_storage_binding;
        let size = step.bindings.iter().map(|&(_, resource)| self.bound_size(resource)).max().unwrap_or(0);
        let space = IndexSpace::of(&step, self.block_bytes())?;
        let takes_long = |band: &Band, space: &IndexSpace| {
            band.iter().fold(space.flops, |flops, range| flops.saturating_mul(range.len() as u64)) > self.capabilities.max_flops
        };
        let all: Band = space.iter().flat_map(|space| &space.shape).map(|&length| 0..length).collect();
        if size <= limit && !space.as_ref().is_some_and(|space| takes_long(&all, space)) {
            return Ok(vec![step]);
        }
        let bands = space.and_then(|space| {
            let fits = |band: &Band| {
                // A band that cannot be split further may take long, but it must fit into the bindings.
                let smallest = band[..space.granules.len()].iter().all(|range| range.len() <= 1);
                (smallest || !takes_long(band, &space))
                    && step.bindings.iter().all(|&(name, resource)| match space.tensors.iter().find(|tensor| tensor.name == name) {
                        Some(tensor) => {
                            let (window, _) = self.window(&step.params, &space, tensor, band, resource);
                            window.end - window.start <= limit
                        }
                        None => self.bound_size(resource) <= limit,
                    })
            };
            let bands = space.split(&all, 0, &fits)?;
            Some((space, bands))
        });
        match bands {
            Some((space, bands)) => {
                let count = bands.len() as u64;
                let steps = bands.iter().map(|band| self.band_step(&step, &space, band, step.flops / count));
                let mut steps = steps.collect::<Result<Vec<Step>, RunError>>()?;
                steps.last_mut().into_iter().for_each(|last| last.flops += step.flops % count);
                Ok(steps)
            }
            None if size > limit => Err(RunError::unsupported(format!(
                "{}, operation {} ({}): a tensor has {size} bytes, and this adapter's largest storage binding has {limit}",
                self.program.name, step.operation, step.name
            ))),
            None => Ok(vec![step]),
        }
    }

    /// The size of a binding of a whole resource. With guards it includes them, so that a stray write is found instead of dropped by the adapter.
    pub(super) fn bound_size(&self, resource: Resource) -> u64 {
        match resource {
            Resource::Input(number) => binding_size(self.inputs[number].slice.size),
            Resource::Weight(slot) => self.weights[slot].size,
            Resource::Activation(allocation) => binding_size(self.allocations[allocation].size) + self.options.guard,
            Resource::Absent => binding_size(0),
        }
    }

    /// The window of a tensor that a band needs, and the tensor's start in it.
    fn window(&self, params: &Params, space: &IndexSpace, tensor: &TensorAccess, band: &Band, resource: Resource) -> (Window, usize) {
        let mut ranges = band.clone();
        if tensor.name == "x" && space.kind == (Kind::Product { taps: true }) {
            let (rows, _) = input_rows(params, &band[1]);
            // A band with all taps in the padding still needs a binding.
            let first = rows.start.min(params.get("height").saturating_sub(1));
            ranges[1] = first..rows.end.max(first + 1);
            ranges[2] = 0..params.get("width");
        }
        let offset = |end: fn(&Range<usize>) -> usize| ranges.iter().zip(&tensor.strides).map(|(range, stride)| end(range) * stride).sum::<usize>();
        let first = tensor.start + offset(|range| range.start);
        let last = tensor.start + offset(|range| range.end.saturating_sub(1)) + tensor.extent;
        let size = self.bound_size(resource);
        let from = first as u64 * tensor.width / ALIGNMENT * ALIGNMENT;
        let to = binding_size(last as u64 * tensor.width);
        // A window that reaches the end includes the guard.
        let to = if to + self.options.guard >= size { size } else { to };
        (from..to, first - (from / tensor.width) as usize)
    }

    /// The step of one band.
    fn band_step(&self, step: &Step, space: &IndexSpace, band: &Band, flops: u64) -> Result<Step, RunError> {
        let mut part = Step { flops, ..step.clone() };
        let lengths: Vec<usize> = band.iter().map(Range::len).collect();
        let count = match space.kind {
            Kind::Product { taps } => set_product_band(&mut part, space, band, taps)?,
            Kind::Pixels => {
                let params = &mut part.params;
                params.set("height", lengths[1]);
                params.set("width", lengths[2]);
                params.set("scale_start", band[0].start * constant(&SCALE_SHIFT, "SCALE_VECTORS")? * params.get("blocks"));
                lengths.iter().product::<usize>() * params.get("blocks")
            }
            Kind::Chunks => {
                let params = &mut part.params;
                let (chunk, blocks) = (params.get("chunk"), params.get("blocks"));
                let first = band[0].start * params.get("chunks") + band[1].start;
                params.set("stats_start", first * constant(&GROUP_SCALE, "STAT_VECTORS")? * blocks);
                params.set("pixels", (band[1].end * chunk).min(params.get("pixels")) - band[1].start * chunk);
                params.set("chunks", lengths[1]);
                lengths.iter().product::<usize>() * blocks
            }
            Kind::Box => {
                let params = &mut part.params;
                params.list("shape", &lengths);
                params.get("count") / space.shape.iter().product::<usize>().max(1) * lengths.iter().product::<usize>()
            }
        };
        part.params.set("count", count);
        part.workgroups = if part.per_invocation { count.div_ceil(invocations(part.kernel)) } else { count };
        for tensor in &space.tensors {
            let Some(&(_, resource)) = step.bindings.iter().find(|(name, _)| *name == tensor.name) else { continue };
            let (window, start) = self.window(&step.params, space, tensor, band, resource);
            part.params.set(&format!("{}_start", tensor.name), start);
            part.windows.push((tensor.name, window));
        }
        Ok(part)
    }
}

/// Sets the parameters of a band of a product, and returns its number of tiles.
fn set_product_band(part: &mut Step, space: &IndexSpace, band: &Band, taps: bool) -> Result<usize, RunError> {
    let (kernel, params) = (part.kernel, &mut part.params);
    let lengths = [0, 1, 2].map(|axis: usize| band[axis].len());
    let tiles = row_tiles(kernel, lengths)?;
    let count = params.get("count") / params.get("row_tiles").max(1) * tiles;
    if taps {
        let (rows, pad_top) = input_rows(params, &band[1]);
        params.set("height", rows.len());
        params.integer("pad_top", pad_top);
    }
    if kernel.flags.contains(Flags::STATS) {
        let first = band.iter().zip(&space.shape).fold(0, |first, (range, length)| first * length + range.start);
        let vectors = first / constant(kernel, "STATS_ROWS")? * constant(kernel, "STAT_VECTORS")?;
        params.set("stats_start", params.get("stats_start") + vectors * params.get("stats_blocks"));
    }
    let rows = lengths.iter().product();
    for (name, value) in [("rows", rows), ("row_tiles", tiles), ("out_height", lengths[1]), ("out_width", lengths[2])] {
        params.set(name, value);
    }
    Ok(count)
}

/// The rows of x that the taps of some rows of y read, and the rows of zeros above the first of them.
fn input_rows(params: &Params, rows: &Range<usize>) -> (Range<usize>, i32) {
    let get = |name: &str| params.get(name) as i64;
    let pad_top = i64::from(params.get("pad_top") as u32 as i32);
    let (stride, height) = (get("stride_y"), get("height"));
    let first = rows.start as i64 * stride - pad_top;
    let last = (rows.end as i64 - 1) * stride - pad_top + (get("kernel_height") - 1) * get("dilation_y");
    let from = first.clamp(0, height);
    let to = (last + 1).clamp(from, height);
    (from as usize..to as usize, (from - first) as i32)
}

impl IndexSpace {
    /// The index space of a step, with activation blocks of `block_bytes`; none if the kernel cannot be split.
    fn of(step: &Step, block_bytes: u64) -> Result<Option<Self>, RunError> {
        let params = &step.params;
        let get = |name: &str| params.get(name);
        let access = Accesses { params, block_bytes };
        let (blocks, count) = (get("blocks"), get("count"));
        Ok(match step.kernel.file {
            // With split-K, a kernel writes all rows slice by slice.
            "gemm_register" | "gemm_tile" | "gemm_cooperative" | "conv_row_strip" if !step.kernel.flags.contains(Flags::SPLIT) => {
                Some(Self::of_product(step, &access)?)
            }
            "scale_shift" => {
                let (height, width) = (get("height"), get("width"));
                let shape = vec![count / (blocks * height * width).max(1), height, width];
                let tensors = vec![access.pixels("x", blocks), access.pixels("y", blocks)];
                Some(Self { kind: Kind::Pixels, shape, granules: vec![1; 3], flops: 0, tensors })
            }
            // If the pixels of an image have one stride, as in whole tensors.
            "channel_stats" if get("width") == get("pixels") => {
                let (chunk, chunks, stride) = (get("chunk"), get("chunks"), get("x_x"));
                let shape = vec![count / (blocks * chunks).max(1), chunks];
                let x = access.tensor("x", block_bytes, vec![get("x_n"), chunk * stride], chunk.saturating_sub(1) * stride + blocks);
                Some(Self { kind: Kind::Chunks, shape, granules: vec![1; 2], flops: 0, tensors: vec![x] })
            }
            "unary" => Some(access.boxed(blocks, ["x", "y"].map(|name| access.strided(name, block_bytes, 1)).into())),
            "binary" => Some(access.boxed(blocks, ["a", "b", "y"].map(|name| access.strided(name, block_bytes, 1)).into())),
            "copy" => {
                let with = |flag| step.kernel.flags.contains(flag);
                let x_width = if with(Flags::PLAIN_IN) { 4 } else { block_bytes / BLOCK as u64 };
                let x_extent = if get("blockwise") != 0 { blocks * BLOCK } else { get("length").saturating_sub(1) * get("x_inner") + 1 };
                let y_width = if with(Flags::PLAIN_OUT) { 4 } else { block_bytes };
                Some(access.boxed(1, vec![access.strided("x", x_width, x_extent), access.strided("y", y_width, blocks)]))
            }
            _ => None,
        })
    }

    fn of_product(step: &Step, access: &Accesses<'_>) -> Result<Self, RunError> {
        let kernel = step.kernel;
        let get = |name: &str| step.params.get(name);
        let (height, width, columns, depth) = (get("out_height"), get("out_width"), get("column_blocks"), get("depth_blocks"));
        let taps = get("kernel_height") * get("kernel_width");
        let gated = kernel.constant("ACT_GEGLU").is_some_and(|gated| gated as usize == get("act"));
        let mut tensors = vec![access.pixels("x", depth), access.pixels("y", if gated { columns / 2 } else { columns })];
        if get("has_residual") != 0 {
            tensors.push(access.pixels("residual", columns));
        }
        let flops = (2 * BLOCK * BLOCK) as u64;
        let flops = flops.saturating_mul(columns as u64).saturating_mul(depth as u64).saturating_mul(taps.max(1) as u64);
        let shape = vec![get("rows") / (height * width).max(1), height, width];
        // A band must not cut a chunk of statistics.
        let lines = match kernel.flags.contains(Flags::STATS) {
            true => constant(kernel, "STATS_ROWS").map(|rows| rows / gcd(rows, width))?,
            false => 1,
        };
        let whole_lines = taps > 0 || (lines > 1 && height > 1);
        let granules = if whole_lines { vec![1, lines] } else { vec![1, lines, constant(kernel, "ROWS")?] };
        Ok(Self { kind: Kind::Product { taps: taps > 0 }, shape, granules, flops, tensors })
    }

    /// Splits a band along its axes, outermost first, into few parts that all fit; none if the smallest parts do not.
    fn split(&self, band: &Band, axis: usize, fits: &dyn Fn(&Band) -> bool) -> Option<Vec<Band>> {
        if fits(band) {
            return Some(vec![band.clone()]);
        }
        let granule = *self.granules.get(axis)?;
        let length = band[axis].len();
        let parts = |step: usize| -> Vec<Band> {
            let part = |from: usize| {
                let mut part = band.clone();
                part[axis] = from..(from + step).min(length);
                part
            };
            (0..length).step_by(step).map(part).collect()
        };
        let most = length.div_ceil(granule);
        let mut count = 2;
        while count < most {
            let parts = parts(most.div_ceil(count) * granule);
            if parts.iter().all(fits) {
                return Some(parts);
            }
            count += 1 + count / 16;
        }
        // One granule at a time, each split along the next axis if necessary.
        let mut all = Vec::new();
        for part in parts(granule) {
            all.extend(self.split(&part, axis + 1, fits)?);
        }
        Some(all)
    }
}

/// Reads how tensors are addressed from a kernel's parameters.
struct Accesses<'p> {
    params: &'p Params,
    block_bytes: u64,
}

impl Accesses<'_> {
    fn tensor(&self, name: &'static str, width: u64, strides: Vec<usize>, extent: usize) -> TensorAccess {
        TensorAccess { name, width, start: self.params.get(&format!("{name}_start")), strides, extent }
    }

    /// A tensor with strides along n, y and x.
    fn pixels(&self, name: &'static str, extent: usize) -> TensorAccess {
        let strides = ["n", "y", "x"].iter().map(|axis| self.params.get(&format!("{name}_{axis}"))).collect();
        self.tensor(name, self.block_bytes, strides, extent)
    }

    /// A tensor with strides along the axes of `shape`.
    fn strided(&self, name: &'static str, width: u64, extent: usize) -> TensorAccess {
        let strides = self.params.entries(&format!("{name}_strides")).into_iter().take(self.params.get("rank")).collect();
        self.tensor(name, width, strides, extent)
    }

    /// The axes of `shape`: all can be split, the innermost at multiples of `granule`.
    fn boxed(&self, granule: usize, tensors: Vec<TensorAccess>) -> IndexSpace {
        let shape: Vec<usize> = self.params.entries("shape").into_iter().take(self.params.get("rank")).collect();
        let granules = [vec![1; shape.len().saturating_sub(1)], vec![granule]].concat();
        IndexSpace { kind: Kind::Box, shape, granules, flops: 0, tensors }
    }
}
