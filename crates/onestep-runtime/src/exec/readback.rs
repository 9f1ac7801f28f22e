//! Bytes from the GPU, as a future that never blocks.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use super::{gpu::Gpu, sentinel::Sentinel};
use crate::error::RunError;

/// Copies parts of buffers and the sentinel's proof out of the GPU, and gives the parts once the proof is that of the last submission.
pub(crate) async fn read(gpu: &Gpu, sentinel: &Sentinel, parts: &[(&wgpu::Buffer, u64, u64)]) -> Result<Vec<Vec<u8>>, RunError> {
    gpu.check()?;
    let mut total = super::sentinel::BYTES;
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
            let staging = gpu.device().create_buffer(&wgpu::BufferDescriptor { label: Some("readback"), size: total, usage, mapped_at_creation: false });
            gpu.call("copy to staging")?;
            let mut encoder = gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("readback") });
            encoder.copy_buffer_to_buffer(sentinel.proof(), 0, &staging, 0, super::sentinel::BYTES);
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
    let mapping = Mapping::start(gpu, &staging);
    let mapped = mapping.await;
    gpu.check()?;
    if !mapped {
        return Err(RunError::internal("the GPU refused to give its memory back"));
    }
    let view = staging.slice(..).get_mapped_range().map_err(|error| RunError::internal(format!("reading the mapped memory: {error}")))?;
    let bytes: &[u8] = &view;
    let piece = |start: u64, size: u64| {
        let piece = usize::try_from(start).ok().zip(usize::try_from(size).ok()).and_then(|(start, size)| bytes.get(start..start.checked_add(size)?));
        piece.ok_or_else(|| RunError::internal("less memory was mapped than asked for"))
    };
    sentinel.check(piece(0, super::sentinel::BYTES)?)?;
    let read = parts.iter().zip(&starts).map(|(&(_, _, size), &start)| Ok(piece(start, size)?.to_vec())).collect();
    drop(view);
    staging.unmap();
    read
}

/// Between two questions to a native device: far below a frame, far above the cost of asking.
#[cfg(not(target_arch = "wasm32"))]
const NAP: std::time::Duration = std::time::Duration::from_micros(50);

/// What the callback of a mapping leaves for the future.
#[derive(Default)]
struct State {
    result: Option<bool>,
    waker: Option<Waker>,
}

/// A buffer that is being mapped; true once it is.
struct Mapping<'a> {
    gpu: &'a Gpu,
    state: Arc<Mutex<State>>,
}

impl<'a> Mapping<'a> {
    fn start(gpu: &'a Gpu, buffer: &wgpu::Buffer) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        buffer.slice(..).map_async(wgpu::MapMode::Read, {
            let state = state.clone();
            move |result| {
                if let Ok(mut state) = state.lock() {
                    state.result = Some(result.is_ok());
                    if let Some(waker) = state.waker.take() {
                        waker.wake();
                    }
                }
            }
        });
        Self { gpu, state }
    }
}

impl Future for Mapping<'_> {
    type Output = bool;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<bool> {
        // Outside the lock: the callback may run in here.
        self.gpu.poll();
        let Ok(mut state) = self.state.lock() else { return Poll::Ready(false) };
        if let Some(result) = state.result {
            return Poll::Ready(result);
        }
        state.waker = Some(context.waker().clone());
        drop(state);
        #[cfg(not(target_arch = "wasm32"))]
        {
            // Nobody else drives a native device: ask again, after a nap that leaves the processor to a software adapter. A yield would
            // leave it to every other program, too, and for as long as they like.
            if self.gpu.is_lost() {
                return Poll::Ready(false);
            }
            std::thread::sleep(NAP);
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }
}
