//! What a decoder computes as a picture: floats turned into bytes on the GPU.

use std::sync::Arc;

use onestep_shaders::{PRESENT, SENTINEL};

use super::{
    executor::Executor,
    gpu::Gpu,
    kernel::{self, Pipeline},
    readback,
    sentinel::Sentinel,
};
use crate::{error::RunError, plan::Params};

/// The picture of an output [1, 3, H, W] in -1..1.
pub struct Picture {
    gpu: Gpu,
    width: u32,
    height: u32,
    pipeline: Arc<Pipeline>,
    group: wgpu::BindGroup,
    grid: [u32; 2],
    pixels: wgpu::Buffer,
    /// How many pixels are not numbers.
    broken: wgpu::Buffer,
    sentinel: Sentinel,
}

impl std::fmt::Debug for Picture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Picture").field("width", &self.width).field("height", &self.height).finish_non_exhaustive()
    }
}

impl Picture {
    /// For an output of a decoder, whose runs it then shows.
    ///
    /// # Errors
    /// `Invalid` where the output is no picture; what the device reports.
    pub async fn new(gpu: &Gpu, decoder: &Executor, output: &str) -> Result<Self, RunError> {
        gpu.check()?;
        let (port, source) = decoder.output_part(output)?;
        let &[1, 3, height, width] = port.shape.as_slice() else {
            return Err(RunError::invalid(format!("the output {output} has the shape {:?}; a picture has [1, 3, height, width]", port.shape)));
        };
        let too_large = || RunError::unsupported(format!("a picture of {width}x{height} is too large"));
        let (width, height) = u32::try_from(width).ok().zip(u32::try_from(height).ok()).ok_or_else(too_large)?;
        let count = width.checked_mul(height).filter(|&count| count > 0).ok_or_else(too_large)?;
        let groups = count.div_ceil(PRESENT.workgroup_size[0].max(1));
        let x = groups.min(gpu.capabilities().max_workgroups).max(1);
        let mut params = Params::new(&PRESENT);
        params.set("count", count as usize);
        let params = params.finish()?;
        let (pipeline, sentinel_pipeline) = (gpu.pipeline(&PRESENT).await?, gpu.pipeline(&SENTINEL).await?);
        gpu.scoped("preparing the picture", || {
            gpu.call("picture buffers")?;
            let buffer = |usage, size: u64| {
                gpu.device().create_buffer(&wgpu::BufferDescriptor {
                    label: Some("picture"),
                    size: size.next_multiple_of(16),
                    usage,
                    mapped_at_creation: false,
                })
            };
            let uniform = buffer(wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST, params.len() as u64);
            gpu.queue().write_buffer(&uniform, 0, &params);
            let pixels = buffer(wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC, u64::from(count) * 4);
            let broken = buffer(wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST, 16);
            let sample = (source, port.slice.offset, port.slice.size);
            let parts = [(&uniform, 0, uniform.size()), sample, (&pixels, 0, pixels.size()), (&broken, 0, 16)];
            let group = kernel::bind(gpu, &PRESENT, &pipeline.bindings, &parts);
            let hash = decoder.plan().hash() ^ count;
            Ok(Self {
                gpu: gpu.clone(),
                width,
                height,
                pipeline,
                group,
                grid: [x, groups.div_ceil(x)],
                pixels,
                broken,
                sentinel: Sentinel::new(gpu, sentinel_pipeline, hash)?,
            })
        })
        .await
    }

    /// Columns of pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Rows of pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// The conversion of the decoder's last run.
    pub(crate) fn encode(&self, encoder: &mut wgpu::CommandEncoder) -> Result<(), RunError> {
        self.sentinel.next(&self.gpu)?;
        self.gpu.call("picture")?;
        encoder.clear_buffer(&self.broken, 0, None);
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: Some("picture"), timestamp_writes: None });
        pass.set_pipeline(&self.pipeline.pipeline);
        pass.set_bind_group(0, &self.group, &[]);
        let [x, y] = self.grid;
        pass.dispatch_workgroups(x, y, 1);
        self.sentinel.encode(&mut pass);
        Ok(())
    }

    /// Waits for the last picture that was submitted, with all that was submitted before it. Gives how many of its pixels hold what is no
    /// finite number, which show black.
    ///
    /// # Errors
    /// Those of [`read_rgba8`](Self::read_rgba8).
    pub async fn wait(&self) -> Result<u32, RunError> {
        Ok(self.read(&[]).await?.0)
    }

    /// As [`wait`](Self::wait), and the pixels, row by row, four bytes each: red, green, blue, 255.
    ///
    /// # Errors
    /// `Invalid` before the first submission; `DeviceLost` where it did not end; what the device reports.
    pub async fn read_rgba8(&self) -> Result<(u32, Vec<u8>), RunError> {
        let size = u64::from(self.width) * u64::from(self.height) * 4;
        let (broken, mut read) = self.read(&[(&self.pixels, 0, size)]).await?;
        Ok((broken, read.pop().unwrap_or_default()))
    }

    async fn read(&self, parts: &[(&wgpu::Buffer, u64, u64)]) -> Result<(u32, Vec<Vec<u8>>), RunError> {
        if !self.sentinel.has_run() {
            return Err(RunError::invalid("the picture has not been submitted yet"));
        }
        let mut read = readback::read(&self.gpu, &self.sentinel, &[&[(&self.broken, 0, 4)], parts].concat()).await?;
        let broken = read.remove(0);
        Ok((broken.first_chunk().map_or(0, |&bytes| u32::from_le_bytes(bytes)), read))
    }

    /// Packed pixels, for what draws them.
    pub(crate) fn pixels(&self) -> &wgpu::Buffer {
        &self.pixels
    }
}
