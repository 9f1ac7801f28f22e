//! Reads bytes back from the GPU, and accepts them only with the completion marker.

use super::{
    completion_marker::{self, CompletionMarker},
    gpu::Gpu,
};
use crate::error::RunError;

/// Reads parts of buffers (buffer, offset, size) together with the completion marker.
///
/// # Errors
/// `DeviceLost` if the marker is not that of the last run; errors that the device reports.
pub(super) async fn read(gpu: &Gpu, marker: &CompletionMarker, parts: &[(&wgpu::Buffer, u64, u64)]) -> Result<Vec<Vec<u8>>, RunError> {
    gpu.check_reports().await?;
    let mut total = completion_marker::BYTES;
    let starts: Vec<u64> = parts
        .iter()
        .map(|&(_, _, size)| {
            let start = total;
            total += size.next_multiple_of(8);
            start
        })
        .collect();
    let staging = gpu
        .scoped("preparing to read back", || {
            gpu.call("staging buffer")?;
            let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
            let staging =
                gpu.device().create_buffer(&wgpu::BufferDescriptor { label: Some("readback"), size: total, usage, mapped_at_creation: false });
            gpu.call("copy to staging")?;
            let mut encoder = gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("readback") });
            encoder.copy_buffer_to_buffer(marker.buffer(), 0, &staging, 0, completion_marker::BYTES);
            for (&(buffer, offset, size), &start) in parts.iter().zip(&starts) {
                if size > 0 {
                    encoder.copy_buffer_to_buffer(buffer, offset, &staging, start, size);
                }
            }
            gpu.queue().submit([encoder.finish()]);
            Ok(staging)
        })
        .await?;
    gpu.call("map")?;
    let mapped = gpu.wait(|done| staging.slice(..).map_async(wgpu::MapMode::Read, |result| done(result.is_ok()))).await;
    gpu.check_reports().await?;
    if !mapped {
        gpu.settle().await?;
        return Err(RunError::internal("the GPU did not map its memory for reading"));
    }
    let view = staging.slice(..).get_mapped_range().map_err(|error| RunError::internal(format!("reading the mapped memory: {error}")))?;
    let bytes: &[u8] = &view;
    let chunk = |start: u64, size: u64| {
        let chunk = usize::try_from(start).ok().zip(usize::try_from(size).ok()).and_then(|(start, size)| bytes.get(start..start.checked_add(size)?));
        chunk.ok_or_else(|| RunError::internal("less memory was mapped than requested"))
    };
    if let Err(error) = marker.check(chunk(0, completion_marker::BYTES)?) {
        gpu.settle().await?;
        return Err(error);
    }
    let read = parts.iter().zip(&starts).map(|(&(_, _, size), &start)| Ok(chunk(start, size)?.to_vec())).collect();
    drop(view);
    staging.unmap();
    read
}
