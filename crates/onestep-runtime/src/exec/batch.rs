//! Several runs, copies between them and the conversion to an image in one submission.

use super::{executor::Executor, gpu::Gpu, image::Image};
use crate::error::RunError;

/// Commands that [`submit`](Batch::submit) runs in the order in which they were added.
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
    /// An empty batch.
    ///
    /// # Errors
    /// `DeviceLost`.
    pub fn new(gpu: &Gpu) -> Result<Self, RunError> {
        Ok(Self { gpu: gpu.clone(), encoder: gpu.encoder()? })
    }

    /// Adds a run with the inputs as they are then. A batch may hold one run of an executor, because the run's number is written when it is added.
    ///
    /// # Errors
    /// `Internal` for a mistake of this library.
    pub fn run(&mut self, executor: &Executor) -> Result<(), RunError> {
        executor.encode(&mut self.encoder)
    }

    /// Adds a copy of an output into an input of another executor.
    ///
    /// # Errors
    /// `Invalid` for an unknown name, a different number or type of elements, or another device.
    pub fn copy(&mut self, from: &Executor, output: &str, to: &Executor, input: &str) -> Result<(), RunError> {
        from.encode_copy(output, to, input, &mut self.encoder)
    }

    /// Adds the conversion of the decoder's output to pixels.
    ///
    /// # Errors
    /// `Internal` for a mistake of this library.
    pub fn image(&mut self, image: &Image) -> Result<(), RunError> {
        image.encode(&mut self.encoder)
    }

    /// Submits all commands, and returns at once.
    ///
    /// # Errors
    /// `Internal` for a mistake of this library. Errors of the device are reported when something is read.
    pub fn submit(self) -> Result<(), RunError> {
        self.gpu.submit(self.encoder)
    }
}
