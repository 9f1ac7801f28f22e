//! The conversion of a decoder's output to bytes on the GPU, with the non-finite check.

use std::sync::Arc;

use onestep_shaders::{COMPLETION_MARKER, PRESENT};

use super::{
    completion_marker::CompletionMarker,
    executor::Executor,
    gpu::Gpu,
    kernel::{self, Pipeline},
    readback,
};
use crate::{
    error::RunError,
    plan::{ALIGNMENT, Capabilities, Params},
};

/// The alignment of a binding of a plane, in pixels.
const PIXEL_ALIGNMENT: u32 = ALIGNMENT as u32 / 4;

/// The image of an output [1, 3, H, W] with values in -1..1.
pub struct Image {
    gpu: Gpu,
    width: u32,
    height: u32,
    pipeline: Arc<Pipeline>,
    /// The bind group and the grid of each band of pixels. There are several if a plane exceeds the largest storage binding.
    bands: Vec<(wgpu::BindGroup, [u32; 2])>,
    pixels: wgpu::Buffer,
    /// The number of non-finite pixels.
    non_finite: wgpu::Buffer,
    marker: CompletionMarker,
}

impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Image").field("width", &self.width).field("height", &self.height).finish_non_exhaustive()
    }
}

impl Image {
    /// Prepares the conversion of an output of a decoder.
    ///
    /// # Errors
    /// `Invalid` if the output is not [1, 3, H, W]; errors that the device reports.
    pub async fn new(gpu: &Gpu, decoder: &Executor, output: &str) -> Result<Self, RunError> {
        Self::within(gpu, gpu.capabilities(), decoder, output).await
    }

    /// As [`new`](Self::new), with limits that may be lower than the device's.
    pub(crate) async fn within(gpu: &Gpu, limits: &Capabilities, decoder: &Executor, output: &str) -> Result<Self, RunError> {
        gpu.check()?;
        let (port, source) = decoder.output_part(output)?;
        let &[1, 3, height, width] = port.shape.as_slice() else {
            return Err(RunError::invalid(format!(
                "the output {output} has the shape {:?}; an image must have the shape [1, 3, height, width]",
                port.shape
            )));
        };
        let too_large = || RunError::unsupported(format!("an image of {width}x{height} is too large"));
        let (width, height) = u32::try_from(width).ok().zip(u32::try_from(height).ok()).ok_or_else(too_large)?;
        let count = width.checked_mul(height).filter(|&count| count > 0).ok_or_else(too_large)?;
        // As many pixels of a plane as fit into a binding, less those between the start of a binding and that of the plane in it.
        let most = u32::try_from(limits.max_storage_binding / 4).unwrap_or(u32::MAX) / PIXEL_ALIGNMENT * PIXEL_ALIGNMENT;
        let most = most.saturating_sub(PIXEL_ALIGNMENT).max(PIXEL_ALIGNMENT);
        let (pipeline, marker_pipeline) = (gpu.pipeline(&PRESENT).await?, gpu.pipeline(&COMPLETION_MARKER).await?);
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
            let non_finite = buffer(wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST, 16);
            let mut bands = Vec::new();
            for first in (0..count).step_by(most as usize) {
                let length = most.min(count - first);
                let mut params = Params::new(&PRESENT);
                params.set("count", length as usize);
                let mut windows = Vec::new();
                for (channel, start) in ["red_start", "green_start", "blue_start"].into_iter().enumerate() {
                    let first_byte = (channel as u64 * u64::from(count) + u64::from(first)) * 4;
                    let from = first_byte / ALIGNMENT * ALIGNMENT;
                    params.set(start, ((first_byte - from) / 4) as usize);
                    windows.push((source, port.slice.offset + from, first_byte - from + u64::from(length) * 4));
                }
                let params = params.finish()?;
                let uniform = buffer(wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST, params.len() as u64);
                gpu.queue().write_buffer(&uniform, 0, &params);
                let [red, green, blue] = [windows[0], windows[1], windows[2]];
                let band = (&pixels, u64::from(first) * 4, u64::from(length) * 4);
                let parts = [(&uniform, 0, uniform.size()), red, green, blue, band, (&non_finite, 0, 16)];
                let groups = length.div_ceil(PRESENT.workgroup_size[0].max(1));
                let x = groups.min(limits.max_workgroups).max(1);
                bands.push((kernel::bind(gpu.device(), &PRESENT, &pipeline.bindings, &parts), [x, groups.div_ceil(x)]));
            }
            let hash = decoder.plan().hash() ^ count;
            let marker = CompletionMarker::new(gpu, marker_pipeline, hash)?;
            Ok(Self { gpu: gpu.clone(), width, height, pipeline, bands, pixels, non_finite, marker })
        })
        .await
    }

    /// The width in pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// The height in pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Adds the conversion of the decoder's output.
    pub(super) fn encode(&self, encoder: &mut wgpu::CommandEncoder) -> Result<(), RunError> {
        self.marker.next(&self.gpu)?;
        self.gpu.call("image")?;
        encoder.clear_buffer(&self.non_finite, 0, None);
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: Some("image"), timestamp_writes: None });
        pass.set_pipeline(&self.pipeline.pipeline);
        for (group, [x, y]) in &self.bands {
            pass.set_bind_group(0, group, &[]);
            pass.dispatch_workgroups(*x, *y, 1);
        }
        self.marker.encode(&mut pass);
        Ok(())
    }

    /// Waits for the last image that was submitted. Returns how many of its pixels are not finite; these are black.
    ///
    /// # Errors
    /// Those of [`read_rgba8`](Self::read_rgba8).
    pub async fn wait(&self) -> Result<u32, RunError> {
        Ok(self.read(&[]).await?.0)
    }

    /// As [`wait`](Self::wait), with the pixels: row by row, four bytes each (red, green, blue, 255).
    ///
    /// # Errors
    /// `Invalid` before the first submission; `DeviceLost` if the run did not complete; errors that the device reports.
    pub async fn read_rgba8(&self) -> Result<(u32, Vec<u8>), RunError> {
        let size = u64::from(self.width) * u64::from(self.height) * 4;
        let (non_finite, mut read) = self.read(&[(&self.pixels, 0, size)]).await?;
        Ok((non_finite, read.pop().unwrap_or_default()))
    }

    async fn read(&self, parts: &[(&wgpu::Buffer, u64, u64)]) -> Result<(u32, Vec<Vec<u8>>), RunError> {
        if !self.marker.has_run() {
            return Err(RunError::invalid("the image has not been submitted yet"));
        }
        let mut read = readback::read(&self.gpu, &self.marker, &[&[(&self.non_finite, 0, 4)], parts].concat()).await?;
        let non_finite = read.remove(0);
        Ok((non_finite.first_chunk().map_or(0, |&bytes| u32::from_le_bytes(bytes)), read))
    }

    /// The pixels of the last image that was submitted, on the GPU: row by row, four bytes each (red, green, blue, 255).
    pub fn pixels(&self) -> &wgpu::Buffer {
        &self.pixels
    }
}
