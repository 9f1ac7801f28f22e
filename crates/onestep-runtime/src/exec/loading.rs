//! Weights on their way into the buffers of plans. A window of their file at a time lies in one buffer as it is, and a kernel brings what it
//! holds into the plans' layouts: whatever the size of a file, no more of it is anywhere at once.

use std::ops::Range;
use std::sync::Arc;

use onestep_program::{WeightEntry, WeightView};
use onestep_shaders::{Kernel, PACK, PRESENT, SENTINEL};

use super::{
    executor::{Executor, find},
    gpu::Gpu,
    kernel::{self, Pipeline},
};
use crate::{
    error::RunError,
    plan::{BufferId, CARRIED_BYTES, Plan, WINDOW_BYTES},
};

/// Bytes that may be queued before the device is waited for: a browser keeps a copy of each until then.
const QUEUED_BYTES: u64 = 64 << 20;

/// Where parameters of a dispatch may start.
const SLICE: usize = 256;

/// Plans in their buffers, to which weights are given. Dropped, it frees what no [`Executor`] has taken.
pub struct Loading {
    gpu: Gpu,
    plans: Vec<Prepared>,
    /// By plan and weight: how many of its elements have come.
    reached: Vec<Vec<u64>>,
    pipeline: Arc<Pipeline>,
    raw: wgpu::Buffer,
    /// The largest window that the raw buffer holds.
    window: u64,
    /// What the file that is being read holds.
    sources: Vec<Source>,
    queued: u64,
}

/// A plan in its buffers.
struct Prepared {
    plan: Plan,
    buffers: Vec<(BufferId, wgpu::Buffer)>,
}

/// A tensor of the file and a weight that is made of it.
struct Source {
    plan: usize,
    weight: usize,
    /// The tensor's first byte.
    start: u64,
}

impl std::fmt::Debug for Loading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loading").field("plans", &self.plans.len()).finish_non_exhaustive()
    }
}

impl Drop for Loading {
    fn drop(&mut self) {
        self.raw.destroy();
        self.plans.iter().flat_map(|prepared| &prepared.buffers).for_each(|(_, buffer)| buffer.destroy());
    }
}

impl Loading {
    /// Makes the buffers of plans; no file of their weights has more than `largest_file` bytes.
    ///
    /// # Errors
    /// `Unsupported` for a plan beyond the adapter; what the device reports.
    pub async fn new(gpu: &Gpu, plans: Vec<Plan>, largest_file: u64) -> Result<Self, RunError> {
        Self::in_windows(gpu, plans, largest_file.min(WINDOW_BYTES)).await
    }

    /// As [`Loading::new`], for windows of at most that many bytes.
    pub(crate) async fn in_windows(gpu: &Gpu, plans: Vec<Plan>, window: u64) -> Result<Self, RunError> {
        gpu.check()?;
        plans.iter().try_for_each(|plan| plan.verify(gpu.capabilities()))?;
        let pipeline = gpu.pipeline(&PACK).await?;
        // A word more, where an element that starts anywhere may end.
        let size = window.next_multiple_of(4) + CARRIED_BYTES + 4;
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST;
        let raw = buffer(gpu, "weights on their way", "raw buffer", size, usage).await?;
        let reached = plans.iter().map(|plan| vec![0; plan.weights.len()]).collect();
        let mut loading = Self { gpu: gpu.clone(), plans: Vec::new(), reached, pipeline, raw, window, sources: Vec::new(), queued: 0 };
        for plan in plans {
            // In its place before it has buffers: what fails later frees those that are there.
            loading.plans.push(Prepared { plan, buffers: Vec::new() });
            let Some(prepared) = loading.plans.last_mut() else { break };
            prepared.make(gpu).await?;
        }
        Ok(loading)
    }

    /// Every kernel that is going to run, once each.
    pub fn kernels(&self) -> Vec<&'static Kernel> {
        let mut kernels: Vec<&'static Kernel> = vec![&PACK, &SENTINEL, &PRESENT];
        for dispatch in self.plans.iter().flat_map(|prepared| &prepared.plan.dispatches) {
            if !kernels.iter().any(|known| known.name == dispatch.kernel.name) {
                kernels.push(dispatch.kernel);
            }
        }
        kernels
    }

    /// Begins a file: `find` says which tensors it holds and where. A file that was begun before starts anew.
    ///
    /// # Errors
    /// `Invalid` for a tensor that is not what a program says.
    pub fn file<'t>(&mut self, find: impl Fn(&str) -> Option<&'t WeightEntry>) -> Result<(), RunError> {
        self.sources.clear();
        for (plan, (prepared, reached)) in self.plans.iter().zip(&mut self.reached).enumerate() {
            for (weight, (slot, reached)) in prepared.plan.weights.iter().zip(reached).enumerate() {
                if let Some(place) = find(&slot.name) {
                    slot.check(&place.shape, place.dtype, place.size)?;
                    *reached = 0;
                    self.sources.push(Source { plan, weight, start: place.start });
                }
            }
        }
        Ok(())
    }

    /// Packs a window of the file. Its bytes lie in the raw buffer behind the last [`CARRIED_BYTES`] of the window before; the first window of
    /// a file begins with it, every other where the one before has ended.
    ///
    /// # Errors
    /// `Invalid` for a window that is larger than [`WINDOW_BYTES`] or out of turn; `DeviceLost`; what the device reports.
    pub async fn pack(&mut self, window: Range<u64>) -> Result<(), RunError> {
        self.gpu.check()?;
        let length = window.end.saturating_sub(window.start);
        if length > self.window {
            return Err(RunError::invalid(format!("{length} bytes of a weight file at once, and {} are taken", self.window)));
        }
        let mut params = Vec::new();
        let mut parts = Vec::new();
        for source in &self.sources {
            let Prepared { plan, buffers } = &self.plans[source.plan];
            let slot = &plan.weights[source.weight];
            let Some(packing) = slot.packing(source.start, &window)? else { continue };
            let reached = &mut self.reached[source.plan][source.weight];
            if packing.elements.start > *reached {
                return Err(RunError::invalid(format!("a part of the weight {} of {} is missing", slot.name, plan.name)));
            }
            *reached = packing.elements.end;
            if packing.words > 0 {
                let offset = params.len();
                params.extend(packing.params);
                let size = params.len() - offset;
                params.resize(params.len().next_multiple_of(SLICE), 0);
                let groups = packing.words.div_ceil(u64::from(PACK.workgroup_size[0].max(1)));
                let sink = find(buffers, BufferId::Weights(slot.buffer))?;
                parts.push((offset as u64, size as u64, sink, slot.offset, slot.size, groups));
            }
        }
        if parts.is_empty() {
            return Ok(());
        }
        let (gpu, raw, pipeline) = (&self.gpu, &self.raw, &self.pipeline);
        let limit = u64::from(gpu.capabilities().max_workgroups.max(1));
        let uniform = gpu
            .scoped("bringing weights into place", || {
                gpu.call("pack parameters")?;
                let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
                let label = Some("pack");
                let uniform =
                    gpu.device().create_buffer(&wgpu::BufferDescriptor { label, size: params.len() as u64, usage, mapped_at_creation: false });
                gpu.queue().write_buffer(&uniform, 0, &params);
                let mut encoder = gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor { label });
                {
                    let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label, timestamp_writes: None });
                    pass.set_pipeline(&pipeline.pipeline);
                    for &(at, size, sink, offset, bytes, groups) in &parts {
                        let group =
                            kernel::bind(gpu, &PACK, &pipeline.bindings, &[(&uniform, at, size), (raw, 0, raw.size()), (sink, offset, bytes)]);
                        pass.set_bind_group(0, &group, &[]);
                        let x = groups.min(limit);
                        pass.dispatch_workgroups(x as u32, groups.div_ceil(x) as u32, 1);
                    }
                }
                gpu.call("pack")?;
                gpu.queue().submit([encoder.finish()]);
                Ok(uniform)
            })
            .await?;
        uniform.destroy();
        self.queued += length;
        if self.queued >= QUEUED_BYTES {
            self.queued = 0;
            self.gpu.settle().await?;
        }
        Ok(())
    }

    /// Gives all weights from memory: `weights` is asked for every tensor that a plan names, once or more.
    ///
    /// # Errors
    /// `Invalid` for a weight that is missing or not what its program says; what the device reports.
    pub async fn fill<'w>(&mut self, weights: &dyn Fn(&str) -> Option<WeightView<'w>>) -> Result<(), RunError> {
        // As if they followed each other in one file.
        let mut views = Vec::new();
        let mut start = 0;
        self.sources.clear();
        for (plan, (prepared, reached)) in self.plans.iter().zip(&mut self.reached).enumerate() {
            let Plan { weights: slots, name, .. } = &prepared.plan;
            for (weight, (slot, reached)) in slots.iter().zip(reached).enumerate() {
                let view = weights(&slot.name).ok_or_else(|| RunError::invalid(format!("the weight {} of {name} is missing", slot.name)))?;
                slot.check(view.shape, view.dtype, view.bytes.len() as u64)?;
                *reached = 0;
                self.sources.push(Source { plan, weight, start });
                start += view.bytes.len() as u64;
                views.push(view.bytes);
            }
        }
        let carried = CARRIED_BYTES as usize;
        let room = carried + usize::try_from(self.window).unwrap_or(usize::MAX - carried);
        let mut window = vec![0; carried];
        let mut at = 0;
        let mut views = views.into_iter();
        let mut rest: &[u8] = &[];
        loop {
            if window.len() == room || (rest.is_empty() && views.len() == 0) {
                let length = (window.len() - carried) as u64;
                if length == 0 {
                    return Ok(());
                }
                let kept = window[window.len() - carried..].to_vec();
                self.write(&mut window)?;
                self.pack(at..at + length).await?;
                at += length;
                window = kept;
            }
            if rest.is_empty() {
                rest = views.next().unwrap_or_default();
            }
            let (now, later) = rest.split_at(rest.len().min(room - window.len()));
            window.extend_from_slice(now);
            rest = later;
        }
    }

    /// Puts a window into the raw buffer, behind what is carried.
    pub(crate) fn write(&self, window: &mut Vec<u8>) -> Result<(), RunError> {
        window.resize(window.len().next_multiple_of(4), 0);
        self.gpu.call("write weights")?;
        self.gpu.queue().write_buffer(&self.raw, 0, window);
        Ok(())
    }

    /// The next plan, once all of its weights have come: in the order in which they were given.
    ///
    /// # Errors
    /// `Invalid` where a weight is missing or no plan is left; what the device reports.
    pub async fn executor(&mut self) -> Result<Executor, RunError> {
        let (Some(Prepared { plan, buffers }), Some(reached)) = (self.plans.first(), self.reached.first()) else {
            return Err(RunError::invalid("there is no other plan"));
        };
        if let Some((slot, _)) = plan.weights.iter().zip(reached).find(|(slot, reached)| slot.elements() as u64 != **reached) {
            return Err(RunError::invalid(format!("the weight {} of {} is missing", slot.name, plan.name)));
        }
        let executor = Executor::of(&self.gpu, plan, buffers).await?;
        self.plans.remove(0);
        self.reached.remove(0);
        // They count plans.
        self.sources.clear();
        Ok(executor)
    }

    /// Where a browser writes windows, for [`pack`](Self::pack).
    #[cfg(target_arch = "wasm32")]
    pub fn raw(&self) -> Option<&wgpu::webgpu::GpuBuffer> {
        self.raw.as_webgpu()
    }
}

/// For tests: what lay in the buffers before.
#[cfg(feature = "selftest")]
impl Loading {
    /// Fills the buffers of weights with one word.
    pub(crate) fn poison(&self, word: u32) {
        for (id, buffer) in self.plans.iter().flat_map(|prepared| &prepared.buffers) {
            if let BufferId::Weights(_) = id {
                self.gpu.queue().write_buffer(buffer, 0, &word.to_le_bytes().repeat(buffer.size() as usize / 4));
            }
        }
    }
}

impl Prepared {
    async fn make(&mut self, gpu: &Gpu) -> Result<(), RunError> {
        let plan = &self.plan;
        let what = format!("preparing {}", plan.name);
        let sizes = std::iter::once((BufferId::Params, plan.params.len() as u64))
            .chain([(BufferId::Inputs, plan.inputs_size)])
            .chain(plan.weight_buffers.iter().enumerate().map(|(number, &size)| (BufferId::Weights(number), size)))
            .chain(plan.arenas.iter().enumerate().map(|(number, &size)| (BufferId::Arena(number), size)));
        for (id, size) in sizes {
            let usage = match id {
                BufferId::Params => wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
                BufferId::Inputs => wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST,
                // Tests look into them.
                BufferId::Weights(_) if cfg!(feature = "selftest") => {
                    wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC
                }
                BufferId::Weights(_) => wgpu::BufferUsages::STORAGE,
                BufferId::Arena(_) => wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
            };
            self.buffers.push((id, buffer(gpu, &plan.name, &what, size.max(256), usage).await?));
        }
        if !plan.params.is_empty() {
            gpu.call("write parameters")?;
            gpu.queue().write_buffer(find(&self.buffers, BufferId::Params)?, 0, &plan.params);
        }
        Ok(())
    }
}

async fn buffer(gpu: &Gpu, label: &str, what: &str, size: u64, usage: wgpu::BufferUsages) -> Result<wgpu::Buffer, RunError> {
    gpu.scoped(what, || {
        gpu.call("buffer")?;
        Ok(gpu.device().create_buffer(&wgpu::BufferDescriptor { label: Some(label), size, usage, mapped_at_creation: false }))
    })
    .await
}
