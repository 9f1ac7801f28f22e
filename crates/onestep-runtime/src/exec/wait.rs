//! Waiting for the GPU as a future that never blocks.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use super::gpu::Gpu;

/// Between two questions to a native device: far below a frame, far above the cost of asking.
#[cfg(not(target_arch = "wasm32"))]
const NAP: std::time::Duration = std::time::Duration::from_micros(50);

/// What a callback leaves for the future.
#[derive(Default)]
struct State {
    result: Option<bool>,
    waker: Option<Waker>,
}

/// A callback of the device as a future: what it was called with, or false once the device is lost.
pub(crate) struct Wait<'a> {
    gpu: &'a Gpu,
    state: Arc<Mutex<State>>,
}

impl<'a> Wait<'a> {
    /// Hands `start` the callback.
    pub(crate) fn new(gpu: &'a Gpu, start: impl FnOnce(Box<dyn FnOnce(bool) + Send>)) -> Self {
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
        Self { gpu, state }
    }
}

impl Future for Wait<'_> {
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
            if self.gpu.is_lost() {
                return Poll::Ready(false);
            }
            // Nobody else drives a native device: ask again, after a nap that leaves the processor to a software adapter. A yield would
            // leave it to every other program, too, and for as long as they like.
            std::thread::sleep(NAP);
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }
}
