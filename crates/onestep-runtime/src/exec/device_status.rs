//! What a device's callbacks have reported: its loss, and errors that no error scope caught.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use crate::error::{ErrorKind, RunError};

/// The status of a device.
#[derive(Default)]
pub(super) struct DeviceStatus {
    lost: AtomicBool,
    reason: Mutex<String>,
    /// The first error that no scope caught.
    uncaught: Mutex<Option<RunError>>,
}

impl DeviceStatus {
    /// Sets the device's callbacks for loss and for uncaught errors.
    pub(super) fn listen(self: &Arc<Self>, device: &wgpu::Device) {
        device.set_device_lost_callback({
            let status = self.clone();
            move |reason, message| status.lose(format!("{reason:?}: {message}"))
        });
        device.on_uncaptured_error({
            let status = self.clone();
            Arc::new(move |error| {
                if let Ok(mut uncaught) = status.uncaught.lock() {
                    uncaught.get_or_insert(of_wgpu("the device reports", &error));
                }
            })
        });
    }

    /// Marks the device as lost.
    pub(super) fn lose(&self, reason: String) {
        if let Ok(mut known) = self.reason.lock() {
            *known = reason;
        }
        self.lost.store(true, Ordering::SeqCst);
    }

    /// True if the device is lost.
    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::SeqCst)
    }

    /// `DeviceLost` if the device is lost.
    pub(super) fn check(&self) -> Result<(), RunError> {
        if !self.is_lost() {
            return Ok(());
        }
        let reason = self.reason.lock().map(|reason| reason.clone()).unwrap_or_default();
        Err(RunError::new(ErrorKind::DeviceLost, format!("the GPU is gone ({reason}); open a new device")))
    }

    /// Takes the first uncaught error.
    pub(super) fn take_uncaught(&self) -> Option<RunError> {
        self.uncaught.lock().ok().and_then(|mut uncaught| uncaught.take())
    }
}

/// A wgpu error as ours; `what` says what was being done.
pub(super) fn of_wgpu(what: &str, error: &wgpu::Error) -> RunError {
    match error {
        wgpu::Error::OutOfMemory { .. } => RunError::new(ErrorKind::OutOfMemory, format!("{what}: the adapter's memory does not suffice")),
        wgpu::Error::Validation { description, .. } | wgpu::Error::Internal { description, .. } => {
            RunError::internal(format!("{what}: {description}"))
        }
    }
}
