//! What a decoder computes as an image: floats turned into bytes on the GPU.

use std::sync::Arc;

use onestep_shaders::{PRESENT, SENTINEL};

use super::{
    executor::Executor,
    gpu::Gpu,
    kernel::{self, Pipeline},
    readback,
    sentinel::Sentinel,
};
use crate::{
    error::RunError,
    plan::{ALIGNMENT, Capabilities, Params},
};

/// Pixels between two places where a part of a plane may start.
const PARTS: u32 = ALIGNMENT as u32 / 4;

/// The image of an output [1, 3, H, W] in -1..1.
pub struct Image {
    gpu: Gpu,
    width: u32,
    height: u32,
    pipeline: Arc<Pipeline>,
    /// One for each band, with its grid.
    bands: Vec<(wgpu::BindGroup, [u32; 2])>,
    pixels: wgpu::Buffer,
    /// How many pixels are not numbers.
    broken: wgpu::Buffer,
    sentinel: Sentinel,
}

impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Image").field("width", &self.width).field("height", &self.height).finish_non_exhaustive()
    }
}

impl Image {
    /// For an output of a decoder, whose runs it then shows.
    ///
    /// # Errors
    /// `Invalid` where the output is no image; what the device reports.
    pub async fn new(gpu: &Gpu, decoder: &Executor, output: &str) -> Result<Self, RunError> {
        Self::within(gpu, gpu.capabilities(), decoder, output).await
    }

    /// As [`new`](Self::new), within limits that may be less than the device's.
    pub(crate) async fn within(gpu: &Gpu, limits: &Capabilities, decoder: &Executor, output: &str) -> Result<Self, RunError> {
        gpu.check()?;
        let (port, source) = decoder.output_part(output)?;
        let &[1, 3, height, width] = port.shape.as_slice() else {
            return Err(RunError::invalid(format!("the output {output} has the shape {:?}; an image has [1, 3, height, width]", port.shape)));
        };
        let too_large = || RunError::unsupported(format!("an image of {width}x{height} is too large"));
        let (width, height) = u32::try_from(width).ok().zip(u32::try_from(height).ok()).ok_or_else(too_large)?;
        let count = width.checked_mul(height).filter(|&count| count > 0).ok_or_else(too_large)?;
        // As many pixels of a plane as kernels see, but for those between the start of a window and that of the plane in it.
        let most = u32::try_from(limits.max_storage_binding / 4).unwrap_or(u32::MAX) / PARTS * PARTS;
        let most = most.saturating_sub(PARTS).max(PARTS);
        let (pipeline, sentinel_pipeline) = (gpu.pipeline(&PRESENT).await?, gpu.pipeline(&SENTINEL).await?);
        gpu.scoped("preparing the image", || {
            gpu.call("image buffers")?;
            let buffer = |usage, size: u64| {
                gpu.device().create_buffer(&wgpu::BufferDescriptor {
                    label: Some("image"),
                    size: size.next_multiple_of(16),
                    usage,
                    mapped_at_creation: false,
                })
            };
            let pixels = buffer(wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC, u64::from(count) * 4);
            let broken = buffer(wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST, 16);
            let mut bands = Vec::new();
            for first in (0..count).step_by(most as usize) {
                let length = most.min(count - first);
                let mut params = Params::new(&PRESENT);
                params.set("count", length as usize);
                let mut windows = Vec::new();
                for (channel, start) in ["red_start", "green_start", "blue_start"].into_iter().enumerate() {
                    let at = (channel as u64 * u64::from(count) + u64::from(first)) * 4;
                    let from = at / ALIGNMENT * ALIGNMENT;
                    params.set(start, ((at - from) / 4) as usize);
                    windows.push((source, port.slice.offset + from, at - from + u64::from(length) * 4));
                }
                let params = params.finish()?;
                let uniform = buffer(wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST, params.len() as u64);
                gpu.queue().write_buffer(&uniform, 0, &params);
                let [red, green, blue] = [windows[0], windows[1], windows[2]];
                let of_band = (&pixels, u64::from(first) * 4, u64::from(length) * 4);
                let parts = [(&uniform, 0, uniform.size()), red, green, blue, of_band, (&broken, 0, 16)];
                let groups = length.div_ceil(PRESENT.workgroup_size[0].max(1));
                let x = groups.min(limits.max_workgroups).max(1);
                bands.push((kernel::bind(gpu, &PRESENT, &pipeline.bindings, &parts), [x, groups.div_ceil(x)]));
            }
            let hash = decoder.plan().hash() ^ count;
            let sentinel = Sentinel::new(gpu, sentinel_pipeline, hash)?;
            Ok(Self { gpu: gpu.clone(), width, height, pipeline, bands, pixels, broken, sentinel })
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
        self.gpu.call("image")?;
        encoder.clear_buffer(&self.broken, 0, None);
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: Some("image"), timestamp_writes: None });
        pass.set_pipeline(&self.pipeline.pipeline);
        for (group, [x, y]) in &self.bands {
            pass.set_bind_group(0, group, &[]);
            pass.dispatch_workgroups(*x, *y, 1);
        }
        self.sentinel.encode(&mut pass);
        Ok(())
    }

    /// Waits for the last image that was submitted, with all that was submitted before it. Gives how many of its pixels hold what is no
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
            return Err(RunError::invalid("the image has not been submitted yet"));
        }
        let mut read = readback::read(&self.gpu, &self.sentinel, &[&[(&self.broken, 0, 4)], parts].concat()).await?;
        let broken = read.remove(0);
        Ok((broken.first_chunk().map_or(0, |&bytes| u32::from_le_bytes(bytes)), read))
    }

    /// The pixels on the GPU, row by row without gaps, four bytes each: red, green, blue, 255. Those of the last image that was submitted.
    pub fn pixels(&self) -> &wgpu::Buffer {
        &self.pixels
    }
}
