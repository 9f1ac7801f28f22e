//! A model whose weights come chunk by chunk, straight into the memory of a GPU: for callers that need not hold a whole bundle.

use std::ops::Range;

use onestep_program::Outline;
use onestep_runtime::{Gpu, shaders::Kernel};

use crate::{
    backend::Backend,
    engine::{Engine, webgpu},
    error::Result,
    model::{self, Model},
    prompt::PromptReader,
    watch::Watch,
};

/// A bundle without its weights on a device. The caller hands over each weight file in the order of the manifest: first its
/// [`header`](Self::header), then all of it in chunks. Dropped, it frees the device's memory.
pub struct Loading {
    bundle: Outline,
    reader: PromptReader,
    gpu: Gpu,
    weights: onestep_runtime::Loading,
}

impl Loading {
    /// Checks that the bundle is a text-to-image model, opens a device, finds the forms of the kernels that are fastest on it,
    /// and plans the programs for it.
    ///
    /// # Errors
    /// As [`Model::open`].
    pub async fn new(bundle: Outline, watch: &mut dyn Watch) -> Result<Self> {
        let reader = model::read(&bundle)?;
        let (gpu, weights) = webgpu::WebGpu::prepare(&bundle, webgpu::request().await?, watch).await?;
        Ok(Self { bundle, reader, gpu, weights })
    }

    /// Every kernel that is going to run, for callers that can compile ahead.
    pub fn kernels(&self) -> Vec<&'static Kernel> {
        self.weights.kernels()
    }

    /// Takes the beginning of weight file `number` of the manifest, its header at least. The file that was begun last may be begun again.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidBundle`](crate::ErrorKind::InvalidBundle) as [`Model::open`], as soon as it is known.
    pub fn header(&mut self, number: usize, beginning: &[u8]) -> Result<()> {
        let header = self.bundle.header(number, beginning)?;
        Ok(self.weights.file(|name| header.get(name))?)
    }

    /// Packs bytes of the file, which lie in [`raw`](Self::raw) behind the [`CARRIED_BYTES`](webgpu::CARRIED_BYTES) before them.
    ///
    /// # Errors
    /// [`ErrorKind::DeviceLost`](crate::ErrorKind::DeviceLost) and [`ErrorKind::OutOfMemory`](crate::ErrorKind::OutOfMemory).
    pub async fn pack(&mut self, chunk: Range<u64>) -> Result<()> {
        Ok(self.weights.pack(chunk).await?)
    }

    /// Compiles the programs once all weights have come.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidBundle`](crate::ErrorKind::InvalidBundle) where weights are missing; as [`Model::open`].
    pub async fn finish(self, watch: &mut dyn Watch) -> Result<Model> {
        let engine = webgpu::WebGpu::finish(self.gpu, self.weights, watch).await?;
        Ok(Model::of(&self.bundle, self.reader, Backend::WebGpu, Engine::WebGpu(Box::new(engine))))
    }

    /// Where chunks are written.
    #[cfg(target_arch = "wasm32")]
    pub fn raw(&self) -> Option<&webgpu::GpuBuffer> {
        self.weights.staging()
    }

    /// The device, whose queue writes them.
    #[cfg(target_arch = "wasm32")]
    pub fn device(&self) -> Option<&webgpu::GpuDevice> {
        self.gpu.handle()
    }
}
