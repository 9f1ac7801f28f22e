//! The completion marker: two words that the last dispatch of a run writes.
//!
//! A destroyed device reports success for work that it never did, so results are accepted only with the marker of their run.

use std::cell::Cell;
use std::sync::Arc;

use onestep_shaders::COMPLETION_MARKER;

use super::{
    gpu::Gpu,
    kernel::{self, Pipeline},
};
use crate::{
    error::{ErrorKind, RunError},
    plan::Params,
};

/// Bytes of the marker.
pub(super) const BYTES: u64 = 8;

/// The completion marker of an executor or an image.
pub(super) struct CompletionMarker {
    pipeline: Arc<Pipeline>,
    group: wgpu::BindGroup,
    params: wgpu::Buffer,
    marker: wgpu::Buffer,
    plan_hash: u32,
    /// The number of the last run; 0 before the first.
    run: Cell<u32>,
}

impl CompletionMarker {
    /// The marker for runs of the plan with that hash. Call it inside [`Gpu::scoped`].
    pub(super) fn new(gpu: &Gpu, pipeline: Arc<Pipeline>, plan_hash: u32) -> Result<Self, RunError> {
        gpu.call("completion marker")?;
        let buffer = |usage, size| {
            gpu.device().create_buffer(&wgpu::BufferDescriptor { label: Some("completion marker"), size, usage, mapped_at_creation: false })
        };
        let size = u64::from(COMPLETION_MARKER.params_size).next_multiple_of(16);
        let params = buffer(wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST, size);
        let marker = buffer(wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC, 16);
        let group = kernel::bind(gpu.device(), &COMPLETION_MARKER, &pipeline.bindings, &[(&params, 0, size), (&marker, 0, 16)]);
        Ok(Self { pipeline, group, params, marker, plan_hash, run: Cell::new(0) })
    }

    /// Numbers the run that is about to be encoded. Nothing of the run may be submitted before.
    pub(super) fn next(&self, gpu: &Gpu) -> Result<(), RunError> {
        self.run.set(self.run.get().wrapping_add(1));
        let mut params = Params::new(&COMPLETION_MARKER);
        params.set("run", self.run.get() as usize);
        params.set("plan_hash", self.plan_hash as usize);
        gpu.call("write the run's number")?;
        gpu.queue().write_buffer(&self.params, 0, &params.finish()?);
        Ok(())
    }

    /// Adds the last dispatch of a run.
    pub(super) fn encode(&self, pass: &mut wgpu::ComputePass<'_>) {
        pass.set_pipeline(&self.pipeline.pipeline);
        pass.set_bind_group(0, &self.group, &[]);
        pass.dispatch_workgroups(1, 1, 1);
    }

    /// The buffer with the marker.
    pub(super) fn buffer(&self) -> &wgpu::Buffer {
        &self.marker
    }

    /// True if a run was encoded.
    pub(super) fn has_run(&self) -> bool {
        self.run.get() > 0
    }

    /// Compares the bytes that were read back with the marker of the last run; `DeviceLost` if they differ.
    pub(super) fn check(&self, bytes: &[u8]) -> Result<(), RunError> {
        let expected = [self.run.get().to_le_bytes(), self.plan_hash.to_le_bytes()].concat();
        if bytes == expected {
            return Ok(());
        }
        Err(RunError::new(ErrorKind::DeviceLost, "the GPU reported success for a run that it did not finish; open a new device"))
    }
}
