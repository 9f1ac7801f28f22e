//! What is too much for one dispatch, in bands: parts of the rows that a kernel writes, each with windows of the tensors.
//!
//! A kernel sees only so much of a buffer, and what computes for long without a pause stalls the screen. A band is the same kernel over fewer
//! rows: it sums the same products in the same order, and its results are equal to the bit. A window starts where adapters let it start; how
//! far behind that its first row lies is what the kernel takes as that tensor's start.

use std::ops::Range;

use super::{ALIGNMENT, Bound, Lowering, Params, Step, norm::CHUNK, whole};
use crate::error::RunError;

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// A part of what is bound, in bytes.
pub(super) type Window = Range<u64>;

/// Indices along each axis of what a kernel runs through.
type Band = Vec<Range<usize>>;

/// What a kernel runs through, the outermost axis first, and how it finds the tensors there.
struct Space {
    kind: Kind,
    shape: Vec<usize>,
    /// Along each of the axes that can be cut, the outermost first: bands start at multiples of this.
    granules: Vec<usize>,
    /// Rows of a tile.
    tile: usize,
    /// Floating-point operations for each index.
    work: u64,
    walks: Vec<Walk>,
}

/// Which parameters say what a kernel runs through.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// N, Ho, Wo of shared/gemm.wgsl; with taps, rows have neighbours and are whole.
    Product { taps: bool },
    /// N, H, W of scale_shift.
    Pixels,
    /// N and the chunks of channel_stats.
    Chunks,
    /// The axes of a box.
    Box,
}

/// How a tensor is found: everything counts what takes `width` bytes.
struct Walk {
    name: &'static str,
    width: u64,
    start: usize,
    strides: Vec<usize>,
    /// How much is touched from there on.
    reach: usize,
}

impl Lowering<'_> {
    /// A step in as few bands as the adapter's limits allow: mostly one, the step as it is.
    pub(super) fn banded(&self, step: Step) -> Result<Vec<Step>, RunError> {
        let limit = self.capabilities.max_storage_binding;
        let size = step.bound.iter().map(|&(_, bound)| self.seen(bound)).max().unwrap_or(0);
        let space = Space::of(&step, if self.options.narrow { 8 } else { 16 });
        let heavy = |band: &Band, space: &Space| {
            band.iter().fold(space.work, |work, range| work.saturating_mul(range.len() as u64)) > self.capabilities.max_work
        };
        let all: Band = space.iter().flat_map(|space| &space.shape).map(|&length| 0..length).collect();
        if size <= limit && !space.as_ref().is_some_and(|space| heavy(&all, space)) {
            return Ok(vec![step]);
        }
        let bands = space.and_then(|space| {
            let small = |band: &Band| {
                // What cannot be cut further may take its time, but no more room.
                let last = band[..space.granules.len()].iter().all(|range| range.len() <= 1);
                (last || !heavy(band, &space))
                    && step.bound.iter().all(|&(name, bound)| match space.walks.iter().find(|walk| walk.name == name) {
                        Some(walk) => {
                            let (window, _) = self.window(&step.params, &space, walk, band, bound);
                            window.end - window.start <= limit
                        }
                        None => self.seen(bound) <= limit,
                    })
            };
            let bands = space.cut(&all, 0, &small)?;
            Some((space, bands))
        });
        match bands {
            Some((space, bands)) => {
                let count = bands.len() as u64;
                let mut parts: Vec<Step> = bands.iter().map(|band| self.part(&step, &space, band, step.flops / count)).collect();
                parts.last_mut().into_iter().for_each(|last| last.flops += step.flops % count);
                Ok(parts)
            }
            None if size > limit => Err(RunError::unsupported(format!(
                "{}, operation {} ({}): a tensor has {size} bytes, and this adapter's kernels see at most {limit} of a buffer",
                self.program.name, step.operation, step.name
            ))),
            None => Ok(vec![step]),
        }
    }

    /// Bytes that a kernel sees of what is bound, if it sees all of it. With guards, kernels see those too: a write that strays there is to be
    /// found, not to be dropped by the adapter.
    pub(super) fn seen(&self, bound: Bound) -> u64 {
        match bound {
            Bound::Input(number) => whole(self.inputs[number].slice.size),
            Bound::Weight(slot) => self.weights[slot].size,
            Bound::Tenant(tenant) => whole(self.tenants[tenant].size) + self.options.guard,
            Bound::Absent => 16,
        }
    }

    /// What a band sees of a tensor, and where the kernel starts in it.
    fn window(&self, params: &Params, space: &Space, walk: &Walk, band: &Band, bound: Bound) -> (Window, usize) {
        let mut ranges = band.clone();
        if walk.name == "x" && space.kind == (Kind::Product { taps: true }) {
            let (rows, _) = taps_rows(params, &band[1]);
            // Taps in the padding alone still want something to be bound.
            let first = rows.start.min(params.get("height").saturating_sub(1));
            ranges[1] = first..rows.end.max(first + 1);
            ranges[2] = 0..params.get("width");
        }
        let at = |end: fn(&Range<usize>) -> usize| ranges.iter().zip(&walk.strides).map(|(range, stride)| end(range) * stride).sum::<usize>();
        let first = walk.start + at(|range| range.start);
        let last = walk.start + at(|range| range.end.saturating_sub(1)) + walk.reach;
        let seen = self.seen(bound);
        let from = first as u64 * walk.width / ALIGNMENT * ALIGNMENT;
        let to = whole(last as u64 * walk.width);
        // What reaches the end is seen with its guard.
        let to = if to + self.options.guard >= seen { seen } else { to };
        (from..to, first - (from / walk.width) as usize)
    }

    /// A band of a step.
    fn part(&self, step: &Step, space: &Space, band: &Band, flops: u64) -> Step {
        let mut part = Step { flops, ..step.clone() };
        let params = &mut part.params;
        let lengths: Vec<usize> = band.iter().map(Range::len).collect();
        let rows: usize = lengths.iter().product();
        let kernel = step.kernel;
        let invocations = kernel.workgroup_size[0].max(1) as usize;
        let count = match space.kind {
            Kind::Product { taps } => {
                let tiles = match kernel.constant("PIXELS") {
                    Some(strip) => lengths[0] * lengths[1] * lengths[2].div_ceil(strip as usize),
                    None => rows.div_ceil(space.tile),
                };
                let count = params.get("count") / params.get("row_tiles").max(1) * tiles;
                if taps {
                    let (inside, top) = taps_rows(params, &band[1]);
                    params.set("height", inside.len());
                    params.integer("top", top);
                }
                if kernel.defines.contains(&"STATS") {
                    let first = band.iter().zip(&space.shape).fold(0, |first, (range, length)| first * length + range.start);
                    params.set("stats_start", params.get("stats_start") + first / CHUNK * 2 * params.get("stats_units"));
                }
                for (name, value) in [("rows", rows), ("row_tiles", tiles), ("out_height", lengths[1]), ("out_width", lengths[2])] {
                    params.set(name, value);
                }
                count
            }
            Kind::Pixels => {
                params.set("height", lengths[1]);
                params.set("width", lengths[2]);
                params.set("scale_start", band[0].start * 3 * params.get("units"));
                rows * params.get("units")
            }
            Kind::Chunks => {
                let (chunk, units) = (params.get("chunk"), params.get("units"));
                params.set("stats_start", (band[0].start * params.get("chunks") + band[1].start) * 2 * units);
                params.set("pixels", (band[1].end * chunk).min(params.get("pixels")) - band[1].start * chunk);
                params.set("chunks", lengths[1]);
                rows * units
            }
            Kind::Box => {
                params.list("shape", &lengths);
                params.get("count") / space.shape.iter().product::<usize>().max(1) * rows
            }
        };
        params.set("count", count);
        // A tile of gemm_tile is a workgroup's, everything else an invocation's.
        part.groups = if kernel.constant("WORKGROUP").is_some() { count.div_ceil(invocations) } else { count };
        for walk in &space.walks {
            let Some(&(_, bound)) = step.bound.iter().find(|(name, _)| *name == walk.name) else { continue };
            let (window, start) = self.window(&step.params, space, walk, band, bound);
            part.params.set(&format!("{}_start", walk.name), start);
            part.windows.push((walk.name, window));
        }
        part
    }
}

/// The rows of x that the taps of some rows of y reach, and the zeros above the first of them.
fn taps_rows(params: &Params, rows: &Range<usize>) -> (Range<usize>, i32) {
    let of = |name: &str| params.get(name) as i64;
    let top = i64::from(params.get("top") as u32 as i32);
    let (stride, height) = (of("stride_y"), of("height"));
    let first = rows.start as i64 * stride - top;
    let last = (rows.end as i64 - 1) * stride - top + (of("kernel_height") - 1) * of("dilation_y");
    let from = first.clamp(0, height);
    let to = (last + 1).clamp(from, height);
    (from as usize..to as usize, (from - first) as i32)
}

impl Space {
    /// What a step runs through, if it is one that can be cut; a unit of activations takes `unit` bytes.
    fn of(step: &Step, unit: u64) -> Option<Self> {
        let (kernel, params) = (step.kernel, &step.params);
        let get = |name: &str| params.get(name);
        let with = |define: &str| kernel.defines.contains(&define);
        let walk = |name: &'static str, width: u64, strides: Vec<usize>, reach: usize| Walk {
            name,
            width,
            start: params.get(&format!("{name}_start")),
            strides,
            reach,
        };
        let pixels = |name: &'static str, reach: usize| {
            walk(name, unit, ["n", "y", "x"].iter().map(|axis| params.get(&format!("{name}_{axis}"))).collect(), reach)
        };
        let boxed = |name: &'static str, width: u64, reach: usize| {
            walk(name, width, params.entries(&format!("{name}_strides")).into_iter().take(get("rank")).collect(), reach)
        };
        let (units, count) = (get("units"), get("count"));
        let tile = kernel.constant("ROWS").unwrap_or(1) as usize;
        // By kind: which axes can be cut, and where.
        let (kind, shape, granules, work, walks) = match kernel.file {
            // With its k split, a kernel writes all rows slice by slice.
            "gemm_register" | "gemm_tile" | "gemm_coop" | "conv_rows" if !with("SPLIT") => {
                let (height, width, columns, depth) = (get("out_height"), get("out_width"), get("columns"), get("depth"));
                let taps = get("kernel_height") * get("kernel_width");
                let gated = kernel.constant("ACT_GEGLU").is_some_and(|gated| gated as usize == get("act"));
                let mut walks = vec![pixels("x", depth), pixels("y", if gated { columns / 2 } else { columns })];
                if get("has_residual") != 0 {
                    walks.push(pixels("residual", columns));
                }
                let work = 2 * 16 * (columns as u64).saturating_mul(depth as u64).saturating_mul(taps.max(1) as u64);
                let shape = vec![get("rows") / (height * width).max(1), height, width];
                // Statistics are of so many rows each, which a band must not part.
                let lines = if with("STATS") { CHUNK / gcd(CHUNK, width) } else { 1 };
                let granules = if taps > 0 || (lines > 1 && height > 1) { vec![1, lines] } else { vec![1, lines, tile] };
                (Kind::Product { taps: taps > 0 }, shape, granules, work, walks)
            }
            "scale_shift" => {
                let (height, width) = (get("height"), get("width"));
                let shape = vec![count / (units * height * width).max(1), height, width];
                (Kind::Pixels, shape, vec![1; 3], 0, vec![pixels("x", units), pixels("y", units)])
            }
            // Where all pixels of an image are one row, as they are in whole tensors.
            "channel_stats" if get("width") == get("pixels") => {
                let (chunk, chunks, along) = (get("chunk"), get("chunks"), get("x_x"));
                let x = walk("x", unit, vec![get("x_n"), chunk * along], chunk.saturating_sub(1) * along + units);
                (Kind::Chunks, vec![count / (units * chunks).max(1), chunks], vec![1; 2], 0, vec![x])
            }
            "unary" => (Kind::Box, Vec::new(), vec![units], 0, vec![boxed("x", unit, 1), boxed("y", unit, 1)]),
            "binary" => (Kind::Box, Vec::new(), vec![units], 0, vec![boxed("a", unit, 1), boxed("b", unit, 1), boxed("y", unit, 1)]),
            "copy" => {
                let element = if with("RAW_INPUT") { 4 } else { unit / 4 };
                let touched = get("length").saturating_sub(1) * get("x_inner") + 1;
                let touched = if get("whole") != 0 { units * 4 } else { touched };
                let sink = if with("RAW_OUTPUT") { 4 } else { unit };
                (Kind::Box, Vec::new(), vec![1], 0, vec![boxed("x", element, touched), boxed("y", sink, units)])
            }
            _ => return None,
        };
        if kind != Kind::Box {
            return Some(Self { kind, shape, granules, tile, work, walks });
        }
        // All axes of a box can be cut, the innermost in whole rows of units.
        let shape: Vec<usize> = params.entries("shape").into_iter().take(get("rank")).collect();
        let granules = [vec![1; shape.len().saturating_sub(1)], granules].concat();
        Some(Self { kind, shape, granules, tile, work, walks })
    }

    /// Cuts a band along its axes, the outermost first, into few parts that are all small; nothing where the last parts still are not.
    fn cut(&self, band: &Band, axis: usize, small: &dyn Fn(&Band) -> bool) -> Option<Vec<Band>> {
        if small(band) {
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
            if parts.iter().all(small) {
                return Some(parts);
            }
            count += 1 + count / 16;
        }
        // Each index by itself, and on along the next axis.
        let mut all = Vec::new();
        for part in parts(granule) {
            all.extend(self.cut(&part, axis + 1, small)?);
        }
        Some(all)
    }
}
