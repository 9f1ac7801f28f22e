//! The proof that a run has ended: two words that the last dispatch of a submission writes.
//!
//! A destroyed device reports success for work that it never did, so no callback is believed without them.

use std::cell::Cell;
use std::sync::Arc;

use onestep_shaders::SENTINEL;

use super::{
    gpu::Gpu,
    kernel::{self, Pipeline},
};
use crate::{
    error::{ErrorKind, RunError},
    plan::Params,
};

/// Bytes of the proof.
pub(crate) const BYTES: u64 = 8;

/// The sentinel of an executor or an image.
pub(crate) struct Sentinel {
    pipeline: Arc<Pipeline>,
    group: wgpu::BindGroup,
    params: wgpu::Buffer,
    proof: wgpu::Buffer,
    plan: u32,
    generation: Cell<u32>,
}

impl Sentinel {
    /// For what has that hash. Inside [`Gpu::scoped`].
    pub(crate) fn new(gpu: &Gpu, pipeline: Arc<Pipeline>, plan: u32) -> Result<Self, RunError> {
        gpu.call("sentinel")?;
        let buffer =
            |usage, size| gpu.device().create_buffer(&wgpu::BufferDescriptor { label: Some("sentinel"), size, usage, mapped_at_creation: false });
        let size = u64::from(SENTINEL.params_size).next_multiple_of(16);
        let params = buffer(wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST, size);
        let proof = buffer(wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC, 16);
        let group = kernel::bind(gpu, &SENTINEL, &pipeline.bindings, &[(&params, 0, size), (&proof, 0, 16)]);
        Ok(Self { pipeline, group, params, proof, plan, generation: Cell::new(0) })
    }

    /// Numbers the run that is about to be encoded; nothing else of the run may be submitted before.
    pub(crate) fn next(&self, gpu: &Gpu) -> Result<(), RunError> {
        self.generation.set(self.generation.get().wrapping_add(1));
        let mut params = Params::new(&SENTINEL);
        params.set("generation", self.generation.get() as usize);
        params.set("plan", self.plan as usize);
        gpu.call("write the run's number")?;
        gpu.queue().write_buffer(&self.params, 0, &params.finish()?);
        Ok(())
    }

    /// The last dispatch of a run.
    pub(crate) fn encode(&self, pass: &mut wgpu::ComputePass<'_>) {
        pass.set_pipeline(&self.pipeline.pipeline);
        pass.set_bind_group(0, &self.group, &[]);
        pass.dispatch_workgroups(1, 1, 1);
    }

    /// Where the proof lies.
    pub(crate) fn proof(&self) -> &wgpu::Buffer {
        &self.proof
    }

    /// Whether any run was submitted.
    pub(crate) fn has_run(&self) -> bool {
        self.generation.get() > 0
    }

    /// Compares the words that came back with those of the last submission.
    pub(crate) fn check(&self, bytes: &[u8]) -> Result<(), RunError> {
        let expected = [self.generation.get().to_le_bytes(), self.plan.to_le_bytes()].concat();
        if bytes == expected {
            return Ok(());
        }
        Err(RunError::new(ErrorKind::DeviceLost, "the GPU reported success for a run that it did not finish; open a new device"))
    }
}
