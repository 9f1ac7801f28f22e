//! Every call that may fail passes here and is counted, so that a test can let the k-th one go wrong. Without the feature `faults`
//! nothing is left of it.

use super::gpu::Gpu;
use crate::error::RunError;

/// What goes wrong at a call.
#[cfg(feature = "faults")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The call fails.
    Fail,
    /// The adapter's memory does not suffice.
    OutOfMemory,
    /// The device is destroyed just before the call.
    LoseDevice,
}

/// How many calls there were, and which one is to go wrong.
#[cfg(feature = "faults")]
#[derive(Debug, Default)]
pub(crate) struct Calls {
    count: std::sync::atomic::AtomicU64,
    planned: std::sync::Mutex<Option<(u64, Fault)>>,
}

impl Gpu {
    /// Counts a call, and gives the planned fault.
    #[cfg(not(feature = "faults"))]
    #[inline]
    #[allow(clippy::unnecessary_wraps)]
    pub(crate) fn call(&self, _what: &str) -> Result<(), RunError> {
        Ok(())
    }

    /// Counts a call, and gives the planned fault.
    #[cfg(feature = "faults")]
    pub(crate) fn call(&self, what: &str) -> Result<(), RunError> {
        use crate::error::ErrorKind;
        use std::sync::atomic::Ordering;

        let number = self.calls().count.fetch_add(1, Ordering::SeqCst);
        let planned = self.calls().planned.lock().map(|planned| *planned).unwrap_or(None);
        match planned {
            Some((at, fault)) if at == number => match fault {
                Fault::Fail => Err(RunError::internal(format!("{what}: fault injected at call {number}"))),
                Fault::OutOfMemory => {
                    Err(RunError::new(ErrorKind::OutOfMemory, format!("{what}: the adapter's memory is injected to be full at call {number}")))
                }
                Fault::LoseDevice => {
                    self.device().destroy();
                    Ok(())
                }
            },
            _ => Ok(()),
        }
    }

    /// Lets the `at`-th call from now on go wrong; `None` ends it.
    #[cfg(feature = "faults")]
    pub fn inject(&self, fault: Option<(u64, Fault)>) {
        use std::sync::atomic::Ordering;

        let now = self.calls().count.load(Ordering::SeqCst);
        if let Ok(mut planned) = self.calls().planned.lock() {
            *planned = fault.map(|(at, fault)| (now + at, fault));
        }
    }

    /// Calls so far.
    #[cfg(feature = "faults")]
    pub fn call_count(&self) -> u64 {
        self.calls().count.load(std::sync::atomic::Ordering::SeqCst)
    }
}
