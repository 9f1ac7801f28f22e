//! A plan on a device: buffers, pipelines and bind groups are created once, and runs are submitted any number of times.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use onestep_program::{DType, TensorRef};

use super::{
    completion_marker::CompletionMarker,
    gpu::Gpu,
    kernel::{self, Pipeline},
    readback,
};
use crate::{
    error::RunError,
    plan::{BufferId, Plan, PortSlot, Slice},
};

/// The shortest time for which a kernel is measured, in milliseconds: the clocks of browsers are coarse.
const COSTS_BATCH: f64 = 5.0;

/// A plan that is ready to run. Inputs and outputs stay on the GPU from run to run until they are overwritten.
pub struct Executor {
    gpu: Gpu,
    plan: Plan,
    buffers: Vec<(BufferId, wgpu::Buffer)>,
    /// One per dispatch.
    pipelines: Vec<Arc<Pipeline>>,
    /// One per dispatch.
    groups: Vec<wgpu::BindGroup>,
    marker: CompletionMarker,
    /// True if the prologue has run since a persistent input was written.
    prologue_done: AtomicBool,
}

impl std::fmt::Debug for Executor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Executor").field("plan", &self.plan.name).finish_non_exhaustive()
    }
}

impl Executor {
    /// Compiles the kernels of a plan with filled buffers.
    pub(super) async fn with_buffers(gpu: &Gpu, plan: &Plan, buffers: &[(BufferId, wgpu::Buffer)]) -> Result<Self, RunError> {
        let mut pipelines = Vec::with_capacity(plan.dispatches.len());
        for dispatch in &plan.dispatches {
            pipelines.push(gpu.pipeline(dispatch.kernel).await?);
        }
        let marker_pipeline = gpu.pipeline(&onestep_shaders::COMPLETION_MARKER).await?;
        let (groups, marker) = gpu
            .scoped(&format!("preparing {}", plan.name), || {
                let mut groups = Vec::with_capacity(plan.dispatches.len());
                for (dispatch, pipeline) in plan.dispatches.iter().zip(&pipelines) {
                    gpu.call("bind group")?;
                    let part = |slice: &Slice| Ok((find(buffers, slice.buffer)?, slice.offset, slice.size));
                    let parts = dispatch.bindings.iter().map(part).collect::<Result<Vec<_>, RunError>>()?;
                    groups.push(kernel::bind(gpu.device(), dispatch.kernel, &pipeline.bindings, &parts));
                }
                Ok((groups, CompletionMarker::new(gpu, marker_pipeline, plan.hash())?))
            })
            .await?;
        Ok(Self { gpu: gpu.clone(), plan: plan.clone(), buffers: buffers.to_vec(), pipelines, groups, marker, prologue_done: AtomicBool::new(false) })
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Writes all inputs, runs, and reads all outputs, by name.
    ///
    /// # Errors
    /// `Invalid` for an input that is missing, unknown or of a different number or type of elements; errors that the device reports.
    pub async fn run(&self, inputs: &[(&str, TensorRef<'_>)]) -> Result<Vec<(String, Vec<f32>)>, RunError> {
        if let Some(missing) = self.plan.inputs.iter().find(|port| !inputs.iter().any(|(name, _)| *name == port.name)) {
            return Err(RunError::invalid(format!("{} needs the input {}", self.plan.name, missing.name)));
        }
        for &(name, tensor) in inputs {
            self.write_input(name, tensor)?;
        }
        self.submit()?;
        let parts = self.plan.outputs.iter().map(|port| self.part(&port.slice)).collect::<Result<Vec<_>, RunError>>()?;
        let read = readback::read(&self.gpu, &self.marker, &parts).await?;
        Ok(self.plan.outputs.iter().zip(read).map(|(port, bytes)| (port.name.clone(), bytemuck::pod_collect_to_vec(&bytes))).collect())
    }

    /// Sets an input for the following runs.
    ///
    /// # Errors
    /// `Invalid` for an unknown name or a different number or type of elements; `DeviceLost`.
    pub fn write_input(&self, name: &str, tensor: TensorRef<'_>) -> Result<(), RunError> {
        let port = self.input(name)?;
        if tensor.dtype() != port.dtype || tensor.len() != port.elements() {
            return Err(RunError::invalid(format!(
                "the input {name} of {} is {:?} {:?}; {} elements of {:?} were given",
                self.plan.name,
                port.dtype,
                port.shape,
                tensor.len(),
                tensor.dtype()
            )));
        }
        let bytes: &[u8] = match tensor {
            TensorRef::F32(values) => bytemuck::cast_slice(values),
            TensorRef::I32(values) => bytemuck::cast_slice(values),
        };
        self.gpu.check()?;
        self.gpu.call("write input")?;
        self.input_written(name);
        if !bytes.is_empty() {
            self.gpu.queue().write_buffer(find(&self.buffers, port.slice.buffer)?, port.slice.offset, bytes);
        }
        Ok(())
    }

    /// Adds a copy of an output into an input of another executor.
    pub(super) fn encode_copy(&self, output: &str, to: &Executor, input: &str, encoder: &mut wgpu::CommandEncoder) -> Result<(), RunError> {
        let (from, into) = (self.output(output)?, to.input(input)?);
        if from.elements() != into.elements() || into.dtype != DType::F32 || self.gpu.device() != to.gpu.device() {
            return Err(RunError::invalid(format!(
                "the output {output} of {} ({:?}) does not fit the input {input} of {} ({:?} {:?})",
                self.plan.name, from.shape, to.plan.name, into.dtype, into.shape
            )));
        }
        self.gpu.call("copy output")?;
        to.input_written(input);
        if from.slice.size > 0 {
            let (source, sink) = (find(&self.buffers, from.slice.buffer)?, find(&to.buffers, into.slice.buffer)?);
            encoder.copy_buffer_to_buffer(source, from.slice.offset, sink, into.slice.offset, from.slice.size);
        }
        Ok(())
    }

    /// Submits a run with the current inputs, and returns at once.
    ///
    /// # Errors
    /// `DeviceLost`. Other errors of the device are reported when something is read.
    pub fn submit(&self) -> Result<(), RunError> {
        let mut encoder = self.gpu.encoder()?;
        self.encode(&mut encoder)?;
        self.gpu.submit(encoder)
    }

    /// Adds a run, without the prologue if its results are still valid.
    pub(super) fn encode(&self, encoder: &mut wgpu::CommandEncoder) -> Result<(), RunError> {
        let first = if self.prologue_done.swap(true, Ordering::Relaxed) { self.plan.prologue } else { 0 };
        // If encoding fails, the prologue has not run.
        self.encode_from(first, encoder).inspect_err(|_| self.prologue_done.store(false, Ordering::Relaxed))
    }

    fn encode_from(&self, first: usize, encoder: &mut wgpu::CommandEncoder) -> Result<(), RunError> {
        self.marker.next(&self.gpu)?;
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: Some(&self.plan.name), timestamp_writes: None });
        let mut current = "";
        for ((dispatch, pipeline), group) in self.plan.dispatches.iter().zip(&self.pipelines).zip(&self.groups).skip(first) {
            self.gpu.call("dispatch")?;
            if dispatch.kernel.name != current {
                pass.set_pipeline(&pipeline.pipeline);
                current = dispatch.kernel.name;
            }
            pass.set_bind_group(0, group, &[]);
            let [x, y, z] = dispatch.grid;
            pass.dispatch_workgroups(x, y, z);
        }
        self.marker.encode(&mut pass);
        Ok(())
    }

    /// The time of each kernel in a run with its prologue: its name, its number of dispatches, and their time in milliseconds by `clock`. Overwrites
    /// outputs and intermediate results.
    ///
    /// Each kernel is timed by running its dispatches alone, on whatever their buffers hold, because few adapters let a page read time stamps.
    ///
    /// # Errors
    /// Errors that the device reports.
    pub async fn costs(&self, clock: &dyn Fn() -> f64) -> Result<Vec<(&'static str, usize, f64)>, RunError> {
        self.prologue_done.store(false, Ordering::Relaxed);
        let mut costs = Vec::new();
        for (kernel, runs) in self.plan.kernels() {
            let first = self.time_alone(kernel, 1, clock).await?;
            let repeats = (COSTS_BATCH / first.max(COSTS_BATCH / 64.0)).ceil() as usize;
            let overhead = self.time_alone("", 0, clock).await?;
            let total = self.time_alone(kernel, repeats, clock).await?;
            costs.push((kernel, runs, (total - overhead).max(0.0) / repeats as f64));
        }
        Ok(costs)
    }

    /// The time of so many passes over the dispatches of one kernel, in milliseconds, including the wait for them.
    async fn time_alone(&self, kernel: &str, passes: usize, clock: &dyn Fn() -> f64) -> Result<f64, RunError> {
        self.gpu.check()?;
        let start = clock();
        let mut encoder = self.gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("onestep costs") });
        for _ in 0..passes {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: Some(kernel), timestamp_writes: None });
            for ((dispatch, pipeline), group) in self.plan.dispatches.iter().zip(&self.pipelines).zip(&self.groups) {
                if dispatch.kernel.name == kernel {
                    let [x, y, z] = dispatch.grid;
                    pass.set_pipeline(&pipeline.pipeline);
                    pass.set_bind_group(0, group, &[]);
                    pass.dispatch_workgroups(x, y, z);
                }
            }
        }
        self.gpu.queue().submit([encoder.finish()]);
        self.gpu.settle().await?;
        Ok(clock() - start)
    }

    /// The size of all buffers, in bytes.
    pub fn bytes(&self) -> u64 {
        self.buffers.iter().map(|(_, buffer)| buffer.size()).sum()
    }

    /// Reads an output of the last run that was submitted.
    ///
    /// # Errors
    /// `Invalid` for an unknown name or before the first run; `DeviceLost` if the run did not complete; errors that the device reports.
    pub async fn read_output(&self, name: &str) -> Result<Vec<f32>, RunError> {
        let port = self.output(name)?;
        if !self.marker.has_run() {
            return Err(RunError::invalid(format!("{} has not run yet", self.plan.name)));
        }
        let mut read = readback::read(&self.gpu, &self.marker, &[self.part(&port.slice)?]).await?;
        Ok(bytemuck::pod_collect_to_vec(&read.pop().unwrap_or_default()))
    }

    /// The slot and the buffer of an output.
    pub(super) fn output_part(&self, name: &str) -> Result<(&PortSlot, &wgpu::Buffer), RunError> {
        let port = self.output(name)?;
        Ok((port, find(&self.buffers, port.slice.buffer)?))
    }

    /// Invalidates the prologue's results if the input is persistent.
    fn input_written(&self, name: &str) {
        if self.plan.persistent_inputs.iter().any(|&number| self.plan.inputs[number].name == name) {
            self.prologue_done.store(false, Ordering::Relaxed);
        }
    }

    fn part(&self, slice: &Slice) -> Result<(&wgpu::Buffer, u64, u64), RunError> {
        Ok((find(&self.buffers, slice.buffer)?, slice.offset, slice.size))
    }

    fn input(&self, name: &str) -> Result<&PortSlot, RunError> {
        named(&self.plan.inputs, name)
            .ok_or_else(|| RunError::invalid(format!("{} has no input {name}; it has {}", self.plan.name, names(&self.plan.inputs))))
    }

    fn output(&self, name: &str) -> Result<&PortSlot, RunError> {
        named(&self.plan.outputs, name)
            .ok_or_else(|| RunError::invalid(format!("{} has no output {name}; it has {}", self.plan.name, names(&self.plan.outputs))))
    }
}

/// For tests: the contents of arenas and weights.
#[cfg(feature = "selftest")]
impl Executor {
    /// Fills every arena with one word.
    pub(crate) fn poison(&self, word: u32) {
        self.prologue_done.store(false, Ordering::Relaxed);
        for (id, buffer) in &self.buffers {
            if let BufferId::Arena(_) = id {
                let bytes = bytemuck::cast_slice::<u32, u8>(&vec![word; buffer.size() as usize / 4]).to_vec();
                self.gpu.queue().write_buffer(buffer, 0, &bytes);
            }
        }
    }

    /// Reads the first weight buffer. A run must have been submitted.
    pub(crate) async fn read_weights(&self) -> Result<Vec<u8>, RunError> {
        let part = (find(&self.buffers, BufferId::Weights(0))?, 0, self.plan.weight_buffers[0]);
        Ok(readback::read(&self.gpu, &self.marker, &[part]).await?.pop().unwrap_or_default())
    }

    /// Reads every arena after the last run, as words.
    pub(crate) async fn read_arenas(&self) -> Result<Vec<Vec<u32>>, RunError> {
        let parts: Vec<_> = (0..self.plan.arenas.len())
            .filter_map(|number| find(&self.buffers, BufferId::Arena(number)).ok().map(|buffer| (buffer, 0, self.plan.arenas[number])))
            .collect();
        let read = readback::read(&self.gpu, &self.marker, &parts).await?;
        Ok(read.into_iter().map(|bytes| bytemuck::pod_collect_to_vec(&bytes)).collect())
    }
}

/// The buffer of that id.
pub(super) fn find(buffers: &[(BufferId, wgpu::Buffer)], id: BufferId) -> Result<&wgpu::Buffer, RunError> {
    buffers.iter().find(|(known, _)| *known == id).map(|(_, buffer)| buffer).ok_or_else(|| RunError::internal(format!("there is no buffer {id:?}")))
}

fn named<'a>(ports: &'a [PortSlot], name: &str) -> Option<&'a PortSlot> {
    ports.iter().find(|port| port.name == name)
}

fn names(ports: &[PortSlot]) -> String {
    ports.iter().map(|port| port.name.as_str()).collect::<Vec<_>>().join(", ")
}
