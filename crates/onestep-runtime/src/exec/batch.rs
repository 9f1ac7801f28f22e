//! Work that reaches the GPU in one submission: runs of several plans, what passes between them, the image at the end.

use super::{Executor, Gpu, Image};
use crate::error::RunError;

/// Commands in the order in which they were added; nothing runs before [`submit`](Batch::submit).
pub struct Batch {
    gpu: Gpu,
    encoder: wgpu::CommandEncoder,
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch").finish_non_exhaustive()
    }
}

impl Batch {
    /// Empty.
    ///
    /// # Errors
    /// `DeviceLost`.
    pub fn new(gpu: &Gpu) -> Result<Self, RunError> {
        gpu.check()?;
        let encoder = gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("onestep") });
        Ok(Self { gpu: gpu.clone(), encoder })
    }

    /// One run with the inputs as they are then. A batch holds one run of an executor at most: its number is written when it is added.
    ///
    /// # Errors
    /// `Internal` for faults of ours.
    pub fn run(&mut self, executor: &Executor) -> Result<(), RunError> {
        executor.encode(&mut self.encoder)
    }

    /// A copy of an output into an input of another plan.
    ///
    /// # Errors
    /// `Invalid` for unknown names, other lengths or types, or another device.
    pub fn copy(&mut self, from: &Executor, output: &str, to: &Executor, input: &str) -> Result<(), RunError> {
        from.encode_copy(output, to, input, &mut self.encoder)
    }

    /// The conversion of a decoder's run into pixels.
    ///
    /// # Errors
    /// `Internal` for faults of ours.
    pub fn image(&mut self, image: &Image) -> Result<(), RunError> {
        image.encode(&mut self.encoder)
    }

    /// Queues everything; returns at once.
    ///
    /// # Errors
    /// `Internal` for faults of ours. What the device reports is told when something is read.
    pub fn submit(self) -> Result<(), RunError> {
        self.gpu.call("submit")?;
        self.gpu.queue().submit([self.encoder.finish()]);
        Ok(())
    }
}
