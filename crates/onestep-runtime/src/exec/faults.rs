//! Fault injection. Every GPU call that may fail is counted, so that a test can make the k-th one fail. Without the feature `faults`, nothing of it
//! is compiled.

use crate::error::RunError;

/// What goes wrong at a call.
#[cfg(feature = "faults")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The call fails.
    Fail,
    /// The adapter is out of memory.
    OutOfMemory,
    /// The device is destroyed just before the call.
    LoseDevice,
}

/// Counts calls, and lets one of them fail.
#[cfg(feature = "faults")]
#[derive(Debug, Default)]
pub(super) struct Calls {
    count: std::sync::atomic::AtomicU64,
    planned: std::sync::Mutex<Option<(u64, Fault)>>,
}

/// Without the feature, no state.
#[cfg(not(feature = "faults"))]
#[derive(Debug, Default)]
pub(super) struct Calls;

#[cfg(not(feature = "faults"))]
impl Calls {
    /// Does nothing.
    #[inline]
    #[allow(clippy::unnecessary_wraps, clippy::unused_self, reason = "the signature with the feature")]
    pub(super) fn count(&self, _device: &wgpu::Device, _what: &str) -> Result<(), RunError> {
        Ok(())
    }
}

#[cfg(feature = "faults")]
impl Calls {
    /// Counts a call, and returns the fault that is planned for it.
    pub(super) fn count(&self, device: &wgpu::Device, what: &str) -> Result<(), RunError> {
        use crate::error::ErrorKind;

        let number = self.count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let planned = self.planned.lock().map(|planned| *planned).unwrap_or(None);
        match planned.filter(|(at, _)| *at == number) {
            Some((_, Fault::Fail)) => Err(RunError::internal(format!("{what}: fault injected at call {number}"))),
            Some((_, Fault::OutOfMemory)) => Err(RunError::new(ErrorKind::OutOfMemory, format!("{what}: out of memory injected at call {number}"))),
            Some((_, Fault::LoseDevice)) => {
                device.destroy();
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Plans a fault for the k-th call from now on, or none.
    pub(super) fn inject(&self, fault: Option<(u64, Fault)>) {
        let now = self.total();
        if let Ok(mut planned) = self.planned.lock() {
            *planned = fault.map(|(k, fault)| (now + k, fault));
        }
    }

    /// The number of calls so far.
    pub(super) fn total(&self) -> u64 {
        self.count.load(std::sync::atomic::Ordering::SeqCst)
    }
}
