//! Waiting for a device callback as a future that never blocks.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use super::device_status::DeviceStatus;

/// The interval between polls of a native device: far shorter than a frame, far longer than a poll takes.
#[cfg(not(target_arch = "wasm32"))]
const POLL_INTERVAL: std::time::Duration = std::time::Duration::from_micros(50);

/// Shared between the callback and the future.
#[derive(Default)]
struct State {
    result: Option<bool>,
    waker: Option<Waker>,
}

/// A callback of a device as a future: the callback's argument, or false once the device is lost.
pub(super) struct Wait<'a> {
    device: &'a wgpu::Device,
    #[cfg_attr(target_arch = "wasm32", allow(dead_code, reason = "a browser calls back on loss too"))]
    status: &'a DeviceStatus,
    state: Arc<Mutex<State>>,
}

impl<'a> Wait<'a> {
    /// Calls `start` with the callback to pass to the device.
    pub(super) fn new(device: &'a wgpu::Device, status: &'a DeviceStatus, start: impl FnOnce(Box<dyn FnOnce(bool) + Send>)) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        start(Box::new({
            let state = state.clone();
            move |result| {
                if let Ok(mut state) = state.lock() {
                    state.result = Some(result);
                    if let Some(waker) = state.waker.take() {
                        waker.wake();
                    }
                }
            }
        }));
        Self { device, status, state }
    }
}

impl Future for Wait<'_> {
    type Output = bool;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<bool> {
        // Before the state is locked, because the callback may run during this call. The result says only whether the queue is empty.
        let _ = self.device.poll(wgpu::PollType::Poll);
        let Ok(mut state) = self.state.lock() else { return Poll::Ready(false) };
        if let Some(result) = state.result {
            return Poll::Ready(result);
        }
        state.waker = Some(context.waker().clone());
        drop(state);
        #[cfg(not(target_arch = "wasm32"))]
        {
            if self.status.is_lost() {
                return Poll::Ready(false);
            }
            // Nothing else polls a native device, so the future wakes itself. It sleeps to leave the CPU to a software adapter; yielding would leave
            // it to other processes too, for an unbounded time.
            std::thread::sleep(POLL_INTERVAL);
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }
}
