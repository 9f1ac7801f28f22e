//! Loads a model chunk by chunk into GPU memory, so that the caller never holds the whole bundle.

use std::ops::Range;

use onestep_program::Outline;
use onestep_runtime::{Gpu, shaders::Kernel};

use crate::{
    backend::Backend,
    callbacks::Callbacks,
    engine::{Engine, webgpu},
    error::Result,
    model::Model,
    text_inputs::TextReader,
};

/// A model while its weights are being loaded.
///
/// The caller provides each weight file in the order of the manifest: first its [`header`](Self::header), then the whole file in chunks.
pub struct ModelLoader {
    bundle: Outline,
    reader: TextReader,
    gpu: Gpu,
    weights: onestep_runtime::Loading,
}

impl ModelLoader {
    /// Checks that the bundle is a text-to-image model, opens a device, selects the fastest kernel variants, and plans the programs.
    ///
    /// # Errors
    /// As [`Model::open`].
    pub async fn new(bundle: Outline, callbacks: &mut dyn Callbacks) -> Result<Self> {
        let reader = TextReader::new(&bundle)?;
        let (gpu, weights) = webgpu::WebGpu::prepare(&bundle, webgpu::request().await?, callbacks).await?;
        Ok(Self { bundle, reader, gpu, weights })
    }

    /// All kernels that the model uses, for callers that can compile them in advance.
    pub fn kernels(&self) -> Vec<&'static Kernel> {
        self.weights.kernels()
    }

    /// Begins weight file `number` of the manifest; `beginning` holds at least its header. The latest file may be begun again.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidBundle`](crate::ErrorKind::InvalidBundle) for an invalid header, or tensors that do not fit the programs.
    pub fn header(&mut self, number: usize, beginning: &[u8]) -> Result<()> {
        let header = self.bundle.header(number, beginning)?;
        Ok(self.weights.file(|name| header.get(name))?)
    }

    /// Converts a chunk of the current file, given by its byte range, to the layout of the kernels.
    ///
    /// The caller has written the chunk to [`raw`](Self::raw), at offset [`CARRIED_BYTES`](webgpu::CARRIED_BYTES).
    ///
    /// # Errors
    /// [`ErrorKind::DeviceLost`](crate::ErrorKind::DeviceLost) and [`ErrorKind::OutOfMemory`](crate::ErrorKind::OutOfMemory).
    pub async fn pack(&mut self, chunk: Range<u64>) -> Result<()> {
        Ok(self.weights.pack(chunk).await?)
    }

    /// Compiles the programs after all weights were loaded.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidBundle`](crate::ErrorKind::InvalidBundle) if weights are missing; those of [`Model::open`].
    pub async fn finish(self, callbacks: &mut dyn Callbacks) -> Result<Model> {
        let engine = webgpu::WebGpu::finish(&self.bundle, self.gpu, self.weights, callbacks).await?;
        Ok(Model::of(&self.bundle, self.reader, Backend::WebGpu, Engine::WebGpu(Box::new(engine))))
    }

    /// The buffer that the caller writes chunks to.
    #[cfg(target_arch = "wasm32")]
    pub fn raw(&self) -> Option<&webgpu::GpuBuffer> {
        self.weights.staging()
    }

    /// The device with the queue that writes chunks.
    #[cfg(target_arch = "wasm32")]
    pub fn device(&self) -> Option<&webgpu::GpuDevice> {
        self.gpu.handle()
    }
}
