//! Loads weights into the buffers of plans. One window of a weight file at a time is copied to a staging buffer, and the kernel `pack` converts it to
//! the plans' layouts, so memory use does not grow with the size of the file.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use onestep_program::{WeightEntry, WeightView};
use onestep_shaders::{COMPLETION_MARKER, Kernel, PACK, PRESENT};

use super::{
    executor::{Executor, find},
    gpu::Gpu,
    kernel::{self, Pipeline},
};
use crate::{
    error::RunError,
    plan::{ALIGNMENT, BufferId, CARRIED_BYTES, Plan, WINDOW_BYTES},
};

/// Bytes that may be queued before waiting for the device: a browser keeps a copy of them until then.
const QUEUED_BYTES: u64 = 64 << 20;

/// Plans and their buffers while weights are being loaded. Dropping it frees the buffers of plans that no [`Executor`] has taken.
pub struct Loading {
    gpu: Gpu,
    plans: Vec<PlanBuffers>,
    /// By plan and weight: the number of elements that are loaded.
    loaded: Vec<Vec<u64>>,
    pipeline: Arc<Pipeline>,
    staging: wgpu::Buffer,
    /// The largest window, in bytes.
    max_window: u64,
    /// The tensors of the current file.
    sources: Vec<Source>,
    /// Bytes since the device was last waited for.
    queued: u64,
}

/// A plan and its buffers.
struct PlanBuffers {
    plan: Plan,
    buffers: Vec<(BufferId, wgpu::Buffer)>,
}

/// A tensor of the file, and the plan and weight that it fills.
struct Source {
    plan: usize,
    weight: usize,
    /// The tensor's first byte in the file.
    start: u64,
}

impl std::fmt::Debug for Loading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loading").field("plans", &self.plans.len()).finish_non_exhaustive()
    }
}

impl Drop for Loading {
    fn drop(&mut self) {
        self.staging.destroy();
        self.plans.iter().flat_map(|plan_buffers| &plan_buffers.buffers).for_each(|(_, buffer)| buffer.destroy());
    }
}

impl Executor {
    /// Uploads the weights of a plan and compiles its kernels. `weights` is called at least once for every tensor that the plan names.
    ///
    /// # Errors
    /// `Invalid` for a weight that is missing or differs from the program's; errors that the device reports.
    pub async fn new<'w>(gpu: &Gpu, plan: Plan, weights: &dyn Fn(&str) -> Option<WeightView<'w>>) -> Result<Self, RunError> {
        let bytes = plan.weights.iter().fold(0, |bytes: u64, slot| bytes.saturating_add((slot.elements() * slot.dtype.size()) as u64));
        let mut loading = Loading::new(gpu, vec![plan], bytes).await?;
        loading.fill(weights).await?;
        loading.executor().await
    }
}

impl Loading {
    /// Creates the buffers of plans. No weight file may have more than `largest_file` bytes.
    ///
    /// # Errors
    /// `Unsupported` for a plan that exceeds the adapter; errors that the device reports.
    pub async fn new(gpu: &Gpu, plans: Vec<Plan>, largest_file: u64) -> Result<Self, RunError> {
        Self::in_windows(gpu, plans, largest_file.min(WINDOW_BYTES)).await
    }

    /// As [`Loading::new`], for windows of at most so many bytes.
    pub(crate) async fn in_windows(gpu: &Gpu, plans: Vec<Plan>, max_window: u64) -> Result<Self, RunError> {
        gpu.check()?;
        plans.iter().try_for_each(|plan| plan.verify(gpu.capabilities()))?;
        let pipeline = gpu.pipeline(&PACK).await?;
        // One more word, because an element may end past the last word.
        let size = max_window.next_multiple_of(4) + CARRIED_BYTES + 4;
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST;
        let staging = buffer(gpu, "weight staging", "creating the staging buffer for weights", size, usage).await?;
        let loaded = plans.iter().map(|plan| vec![0; plan.weights.len()]).collect();
        let mut loading = Self { gpu: gpu.clone(), plans: Vec::new(), loaded, pipeline, staging, max_window, sources: Vec::new(), queued: 0 };
        for plan in plans {
            // Pushed before it has buffers, so that an error frees those that were created.
            loading.plans.push(PlanBuffers { plan, buffers: Vec::new() });
            let Some(plan_buffers) = loading.plans.last_mut() else { break };
            plan_buffers.create(gpu).await?;
        }
        Ok(loading)
    }

    /// The kernels that will run, each once.
    pub fn kernels(&self) -> Vec<&'static Kernel> {
        let mut kernels: Vec<&'static Kernel> = vec![&PACK, &COMPLETION_MARKER, &PRESENT];
        for dispatch in self.plans.iter().flat_map(|plan_buffers| &plan_buffers.plan.dispatches) {
            if !kernels.iter().any(|known| known.name == dispatch.kernel.name) {
                kernels.push(dispatch.kernel);
            }
        }
        kernels
    }

    /// Begins a weight file. `find` returns where the file holds a tensor; none if it does not. A file may be begun again.
    ///
    /// # Errors
    /// `Invalid` for a tensor that differs from the program's.
    pub fn file<'t>(&mut self, find: impl Fn(&str) -> Option<&'t WeightEntry>) -> Result<(), RunError> {
        self.sources.clear();
        for (plan, (plan_buffers, loaded)) in self.plans.iter().zip(&mut self.loaded).enumerate() {
            for (weight, (slot, loaded)) in plan_buffers.plan.weights.iter().zip(loaded).enumerate() {
                if let Some(tensor) = find(&slot.name) {
                    slot.check(&tensor.shape, tensor.dtype, tensor.size)?;
                    *loaded = 0;
                    self.sources.push(Source { plan, weight, start: tensor.start });
                }
            }
        }
        Ok(())
    }

    /// Packs a window (a byte range) of the file. The staging buffer must hold the last [`CARRIED_BYTES`] of the previous window, then the window.
    /// The first window begins at byte 0, every other where the previous one ended.
    ///
    /// # Errors
    /// `Invalid` for a window that is larger than [`WINDOW_BYTES`] or out of order; errors that the device reports.
    pub async fn pack(&mut self, window: Range<u64>) -> Result<(), RunError> {
        self.gpu.check()?;
        let length = window.end.saturating_sub(window.start);
        if length > self.max_window {
            return Err(RunError::invalid(format!("a window of a weight file has {length} bytes; at most {} are accepted", self.max_window)));
        }
        let mut params = Vec::new();
        let mut parts = Vec::new();
        for source in &self.sources {
            let PlanBuffers { plan, buffers } = &self.plans[source.plan];
            let slot = &plan.weights[source.weight];
            let Some(packing) = slot.packing(source.start, &window)? else { continue };
            let loaded = &mut self.loaded[source.plan][source.weight];
            if packing.elements.start > *loaded {
                return Err(RunError::invalid(format!("a part of the weight {} of {} is missing before this window", slot.name, plan.name)));
            }
            *loaded = packing.elements.end;
            if packing.words > 0 {
                let offset = params.len();
                params.extend(packing.params);
                let size = params.len() - offset;
                params.resize(params.len().next_multiple_of(ALIGNMENT as usize), 0);
                let workgroups = packing.words.div_ceil(u64::from(PACK.workgroup_size[0].max(1)));
                let sink = find(buffers, BufferId::Weights(slot.buffer))?;
                parts.push((offset as u64, size as u64, sink, slot.offset, slot.size, workgroups));
            }
        }
        if parts.is_empty() {
            return Ok(());
        }
        let (gpu, staging, pipeline) = (&self.gpu, &self.staging, &self.pipeline);
        let limit = u64::from(gpu.capabilities().max_workgroups.max(1));
        let uniform = gpu
            .scoped("packing weights", || {
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
                    for &(params_offset, size, sink, offset, bytes, workgroups) in &parts {
                        let bound = [(&uniform, params_offset, size), (staging, 0, staging.size()), (sink, offset, bytes)];
                        let group = kernel::bind(gpu.device(), &PACK, &pipeline.bindings, &bound);
                        pass.set_bind_group(0, &group, &[]);
                        let x = workgroups.min(limit);
                        pass.dispatch_workgroups(x as u32, workgroups.div_ceil(x) as u32, 1);
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

    /// Loads all weights. `weights` is called for every tensor that a plan names, and holds one of them in memory at a time.
    ///
    /// # Errors
    /// `Invalid` for a weight that is missing or differs from the program's; errors that the device reports.
    pub async fn fill<'w>(&mut self, weights: &dyn Fn(&str) -> Option<WeightView<'w>>) -> Result<(), RunError> {
        // As if all tensors were contiguous in one file.
        let mut start = 0;
        let mut names = Vec::new();
        self.sources.clear();
        for (plan, (plan_buffers, loaded)) in self.plans.iter().zip(&mut self.loaded).enumerate() {
            let Plan { weights: slots, name, .. } = &plan_buffers.plan;
            for (weight, (slot, loaded)) in slots.iter().zip(loaded).enumerate() {
                *loaded = 0;
                self.sources.push(Source { plan, weight, start });
                start += slot.elements() as u64 * slot.dtype.size() as u64;
                names.push((slot.clone(), name.clone()));
            }
        }
        let carried = CARRIED_BYTES as usize;
        let full = carried + usize::try_from(self.max_window).unwrap_or(usize::MAX - carried);
        let mut window = vec![0; carried];
        let mut start = 0;
        let mut names = names.into_iter();
        let (mut bytes, mut taken) = (Cow::Borrowed(&[][..]), 0);
        loop {
            if window.len() == full || (taken == bytes.len() && names.len() == 0) {
                let length = (window.len() - carried) as u64;
                if length == 0 {
                    return Ok(());
                }
                let tail = window[window.len() - carried..].to_vec();
                self.write(&mut window)?;
                self.pack(start..start + length).await?;
                start += length;
                window = tail;
            }
            if taken == bytes.len()
                && let Some((slot, name)) = names.next()
            {
                let view = weights(&slot.name).ok_or_else(|| RunError::invalid(format!("the weight {} of {name} is missing", slot.name)))?;
                slot.check(view.shape, view.dtype, view.bytes.len() as u64)?;
                (bytes, taken) = (view.bytes, 0);
            }
            let end = bytes.len().min(taken + full - window.len());
            window.extend_from_slice(&bytes[taken..end]);
            taken = end;
        }
    }

    /// Writes carried bytes and a window to the staging buffer.
    pub(crate) fn write(&self, window: &mut Vec<u8>) -> Result<(), RunError> {
        window.resize(window.len().next_multiple_of(4), 0);
        self.gpu.call("write weights")?;
        self.gpu.queue().write_buffer(&self.staging, 0, window);
        Ok(())
    }

    /// The executor of the next plan, in the order in which the plans were given. All of its weights must be loaded.
    ///
    /// # Errors
    /// `Invalid` if a weight is missing or no plan is left; errors that the device reports.
    pub async fn executor(&mut self) -> Result<Executor, RunError> {
        let (Some(PlanBuffers { plan, buffers }), Some(loaded)) = (self.plans.first(), self.loaded.first()) else {
            return Err(RunError::invalid("there is no plan left to execute"));
        };
        if let Some((slot, _)) = plan.weights.iter().zip(loaded).find(|(slot, loaded)| slot.elements() as u64 != **loaded) {
            return Err(RunError::invalid(format!("the weight {} of {} is missing", slot.name, plan.name)));
        }
        let executor = Executor::with_buffers(&self.gpu, plan, buffers).await?;
        self.plans.remove(0);
        self.loaded.remove(0);
        // Sources refer to plans by index.
        self.sources.clear();
        Ok(executor)
    }

    /// The staging buffer, to which a browser writes windows for [`pack`](Self::pack).
    #[cfg(target_arch = "wasm32")]
    pub fn staging(&self) -> Option<&wgpu::webgpu::GpuBuffer> {
        self.staging.as_webgpu()
    }
}

/// For tests: the initial contents of buffers.
#[cfg(feature = "selftest")]
impl Loading {
    /// Fills the weight buffers with one word.
    pub(crate) fn poison(&self, word: u32) {
        for (id, buffer) in self.plans.iter().flat_map(|plan_buffers| &plan_buffers.buffers) {
            if let BufferId::Weights(_) = id {
                self.gpu.queue().write_buffer(buffer, 0, &word.to_le_bytes().repeat(buffer.size() as usize / 4));
            }
        }
    }
}

impl PlanBuffers {
    async fn create(&mut self, gpu: &Gpu) -> Result<(), RunError> {
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
                // Tests read them.
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

/// A new buffer; `what` says what is being done, for errors.
async fn buffer(gpu: &Gpu, label: &str, what: &str, size: u64, usage: wgpu::BufferUsages) -> Result<wgpu::Buffer, RunError> {
    gpu.scoped(what, || {
        gpu.call("buffer")?;
        Ok(gpu.device().create_buffer(&wgpu::BufferDescriptor { label: Some(label), size, usage, mapped_at_creation: false }))
    })
    .await
}
