//! The device: which one, what it can, and whether it is still there.

use std::fmt;
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use onestep_shaders::Kernel;

use super::{kernel::Pipeline, wait::Wait};
use crate::{
    error::{ErrorKind, RunError},
    plan::{Capabilities, Forms, MAX_WORK},
};

/// Which adapter is wanted where there are several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preference {
    /// The fast one.
    #[default]
    HighPerformance,
    /// The frugal one.
    LowPower,
    /// One that runs on the processor: for tests.
    Software,
}

/// How to choose a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GpuOptions {
    /// Which adapter.
    pub prefer: Preference,
}

/// What is known of the adapter, for people and for reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdapterReport {
    /// As the driver names it; browsers often say nothing.
    pub name: String,
    /// The driver and its version.
    pub driver: String,
    /// `vulkan`, `metal`, `dx12`, `webgpu`, …
    pub backend: String,
    /// `discrete`, `integrated`, `virtual`, `software`, `other`.
    pub device_type: String,
    /// The adapter is a processor that plays a GPU; everything is far slower, and users are to be told.
    pub software: bool,
}

impl AdapterReport {
    /// What a choice of forms holds for: this adapter with this driver, and these kernels.
    pub fn key(&self) -> String {
        let text = format!("{}|{}|{}|{}|{}", self.name, self.driver, self.backend, self.device_type, onestep_shaders::HASH);
        // FNV-1a.
        let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        format!("{hash:016x}")
    }
}

impl fmt::Display for AdapterReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.name.is_empty() { "an adapter without a name" } else { &self.name };
        write!(f, "{name} ({}, {}", self.backend, self.device_type)?;
        if !self.driver.is_empty() {
            write!(f, ", {}", self.driver)?;
        }
        write!(f, ")")
    }
}

/// Names under which processors play GPUs, for browsers that do not say so.
const SOFTWARE_NAMES: [&str; 5] = ["swiftshader", "llvmpipe", "lavapipe", "softpipe", "basic render"];

/// A device and its queue. Clones share it.
#[derive(Clone)]
pub struct Gpu {
    inner: Arc<Inner>,
    capabilities: Capabilities,
}

struct Inner {
    instance: wgpu::Instance,
    adapter: wgpu::Adapter,
    device: wgpu::Device,
    queue: wgpu::Queue,
    report: AdapterReport,
    fate: Arc<Fate>,
    /// Compiled once, whatever number of plans runs them.
    pipelines: Mutex<Vec<(&'static str, Arc<Pipeline>)>>,
    #[cfg(feature = "faults")]
    calls: super::calls::Calls,
}

/// What the device's callbacks have told.
#[derive(Default)]
struct Fate {
    lost: AtomicBool,
    why: Mutex<String>,
    /// The first error that no scope caught.
    fault: Mutex<Option<RunError>>,
}

impl Fate {
    fn listen(self: &Arc<Self>, device: &wgpu::Device) {
        device.set_device_lost_callback({
            let fate = self.clone();
            move |reason, message| fate.lose(format!("{reason:?}: {message}"))
        });
        device.on_uncaptured_error({
            let fate = self.clone();
            Arc::new(move |error| {
                if let Ok(mut fault) = fate.fault.lock() {
                    fault.get_or_insert(of_wgpu("the device reports", &error));
                }
            })
        });
    }

    fn lose(&self, reason: String) {
        if let Ok(mut why) = self.why.lock() {
            *why = reason;
        }
        self.lost.store(true, Ordering::SeqCst);
    }
}

impl fmt::Debug for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gpu").field("report", &self.inner.report).field("capabilities", &self.capabilities).finish_non_exhaustive()
    }
}

impl Gpu {
    /// Looks for an adapter and opens a device with the limits that it has.
    ///
    /// # Errors
    /// `Unsupported` where there is no adapter or it refuses a device.
    pub async fn request(options: &GpuOptions) -> Result<Self, RunError> {
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
        let power_preference = match options.prefer {
            Preference::LowPower => wgpu::PowerPreference::LowPower,
            Preference::HighPerformance | Preference::Software => wgpu::PowerPreference::HighPerformance,
        };
        let wanted =
            wgpu::RequestAdapterOptions { power_preference, force_fallback_adapter: options.prefer == Preference::Software, ..Default::default() };
        let adapter = instance.request_adapter(&wanted).await.map_err(|error| {
            RunError::unsupported(format!(
                "there is no GPU that can be used here: {error}. Natively a Vulkan, Metal or DirectX 12 driver is needed, in a browser WebGPU"
            ))
        })?;
        let offered = adapter.limits();
        let required_limits = wgpu::Limits {
            max_storage_buffer_binding_size: offered.max_storage_buffer_binding_size,
            max_buffer_size: offered.max_buffer_size,
            ..wgpu::Limits::default()
        };
        let description = wgpu::DeviceDescriptor { label: Some("onestep"), required_limits, ..Default::default() };
        #[cfg(not(target_arch = "wasm32"))]
        {
            let mut more = description.clone();
            super::cooperative::ask(&adapter, &mut more);
            // A driver that offers an experiment and then refuses it still gives the device without.
            if more.required_features != description.required_features
                && let Ok((device, queue)) = adapter.request_device(&more).await
            {
                return Ok(Self::from_wgpu(instance, adapter, device, queue));
            }
        }
        let (device, queue) = adapter
            .request_device(&description)
            .await
            .map_err(|error| RunError::unsupported(format!("the adapter {} gives no device: {error}", adapter.get_info().name)))?;
        Ok(Self::from_wgpu(instance, adapter, device, queue))
    }

    /// Takes a device that the caller has opened; its callbacks for loss and for uncaught errors become ours.
    pub fn from_wgpu(instance: wgpu::Instance, adapter: wgpu::Adapter, device: wgpu::Device, queue: wgpu::Queue) -> Self {
        let fate = Arc::new(Fate::default());
        fate.listen(&device);
        Self::with_fate(instance, adapter, device, queue, fate)
    }

    /// Shares a device with a caller who goes on using it and keeps its callbacks; from the one for its loss, [`lose`](Self::lose) is to be called.
    /// Dropped, everything that was made here is freed, and the device is as it was.
    pub fn shared(instance: wgpu::Instance, adapter: wgpu::Adapter, device: wgpu::Device, queue: wgpu::Queue) -> Self {
        Self::with_fate(instance, adapter, device, queue, Arc::new(Fate::default()))
    }

    /// Notes that the device is gone: what waits for it ends with an error.
    pub fn lose(&self, why: &str) {
        self.inner.fate.lose(why.to_owned());
    }

    fn with_fate(instance: wgpu::Instance, adapter: wgpu::Adapter, device: wgpu::Device, queue: wgpu::Queue, fate: Arc<Fate>) -> Self {
        let info = adapter.get_info();
        let names = format!("{} {} {}", info.name, info.driver, info.driver_info).to_lowercase();
        let software = info.device_type == wgpu::DeviceType::Cpu || SOFTWARE_NAMES.iter().any(|name| names.contains(name));
        let report = AdapterReport {
            name: info.name,
            driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
            backend: format!("{:?}", info.backend).to_lowercase().replace("browserwebgpu", "webgpu"),
            device_type: match info.device_type {
                _ if software => "software",
                wgpu::DeviceType::DiscreteGpu => "discrete",
                wgpu::DeviceType::IntegratedGpu => "integrated",
                wgpu::DeviceType::VirtualGpu => "virtual",
                _ => "other",
            }
            .to_owned(),
            software,
        };
        let limits = device.limits();
        let capabilities = Capabilities {
            max_storage_binding: limits.max_storage_buffer_binding_size,
            max_buffer: limits.max_buffer_size,
            max_workgroups: limits.max_compute_workgroups_per_dimension,
            max_storage_buffers: limits.max_storage_buffers_per_shader_stage,
            max_invocations: limits.max_compute_invocations_per_workgroup,
            max_work: MAX_WORK,
            alignment: u64::from(limits.min_storage_buffer_offset_alignment.max(limits.min_uniform_buffer_offset_alignment)),
            #[cfg(not(target_arch = "wasm32"))]
            cooperative: super::cooperative::of(&adapter, device.features()),
            #[cfg(target_arch = "wasm32")]
            cooperative: Vec::new(),
            forms: Forms { halves: !names.contains("swiftshader"), ..if software { Forms::SOFTWARE } else { Forms::GPU } },
        };
        Self {
            capabilities,
            inner: Arc::new(Inner {
                instance,
                adapter,
                device,
                queue,
                report,
                fate,
                pipelines: Mutex::new(Vec::new()),
                #[cfg(feature = "faults")]
                calls: super::calls::Calls::default(),
            }),
        }
    }

    /// Which adapter it is.
    pub fn adapter(&self) -> &AdapterReport {
        &self.inner.report
    }

    /// What [`Plan::new`](crate::Plan::new) wants to know.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// The same device for plans of other forms: what [`fastest_forms`](Self::fastest_forms) found, now or at an earlier time.
    #[must_use]
    pub fn with_forms(&self, forms: Forms) -> Self {
        Self { inner: self.inner.clone(), capabilities: Capabilities { forms, ..self.capabilities.clone() } }
    }

    /// Whether the device is gone. It does not come back: open another.
    pub fn is_lost(&self) -> bool {
        self.inner.fate.lost.load(Ordering::SeqCst)
    }

    pub(crate) fn instance(&self) -> &wgpu::Instance {
        &self.inner.instance
    }

    pub(crate) fn wgpu_adapter(&self) -> &wgpu::Adapter {
        &self.inner.adapter
    }

    /// The browser's own device, for what it does better than wgpu: compiling ahead, and taking bytes that are not in our memory.
    #[cfg(target_arch = "wasm32")]
    pub fn handle(&self) -> Option<&wgpu::webgpu::GpuDevice> {
        self.inner.device.as_webgpu()
    }

    /// The invocations of four subgroups, for the kernels that multiply the adapter's own matrices.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn cooperative_workgroup(&self) -> u32 {
        super::cooperative::workgroup(&self.inner.adapter).unwrap_or(1)
    }

    pub(crate) fn device(&self) -> &wgpu::Device {
        &self.inner.device
    }

    pub(crate) fn queue(&self) -> &wgpu::Queue {
        &self.inner.queue
    }

    #[cfg(feature = "faults")]
    pub(crate) fn calls(&self) -> &super::calls::Calls {
        &self.inner.calls
    }

    /// Lets the device deliver its callbacks, without waiting. A browser does so by itself.
    pub(crate) fn poll(&self) {
        // The result says only whether the queue is empty.
        let _ = self.inner.device.poll(wgpu::PollType::Poll);
    }

    /// An error once the device is known to be lost.
    pub(crate) fn check(&self) -> Result<(), RunError> {
        self.poll();
        if !self.is_lost() {
            return Ok(());
        }
        let why = self.inner.fate.why.lock().map(|why| why.clone()).unwrap_or_default();
        Err(RunError::new(ErrorKind::DeviceLost, format!("the GPU is gone ({why}); open a new device")))
    }

    /// An error once the device is lost, or has reported what no scope caught.
    pub(crate) async fn verdict(&self) -> Result<(), RunError> {
        self.check()?;
        let fault = self.inner.fate.fault.lock().ok().and_then(|mut fault| fault.take());
        match fault {
            Some(fault) => {
                self.settle().await?;
                Err(fault)
            }
            None => Ok(()),
        }
    }

    /// Waits until the queue is empty, when a loss is told at the latest; then as [`check`](Self::check). Whatever goes wrong on a lost
    /// device is reported before the loss itself.
    pub(crate) async fn settle(&self) -> Result<(), RunError> {
        self.check()?;
        Wait::new(self, |done| self.inner.queue.on_submitted_work_done(|| done(true))).await;
        // The loss is told after the work.
        self.poll();
        self.check()
    }

    /// The pipeline of a kernel, compiled when it is first asked for.
    pub(crate) async fn pipeline(&self, kernel: &'static Kernel) -> Result<Arc<Pipeline>, RunError> {
        let known = self
            .inner
            .pipelines
            .lock()
            .ok()
            .and_then(|pipelines| pipelines.iter().find(|(name, _)| *name == kernel.name).map(|(_, pipeline)| pipeline.clone()));
        if let Some(known) = known {
            return Ok(known);
        }
        let compiled = self
            .scoped(&format!("compiling the kernel {}", kernel.name), || {
                self.call("pipeline")?;
                Ok(Arc::new(Pipeline::new(self, kernel)))
            })
            .await?;
        if let Ok(mut pipelines) = self.inner.pipelines.lock() {
            pipelines.push((kernel.name, compiled.clone()));
        }
        Ok(compiled)
    }

    /// Runs `make` and gives the errors that the device reports for it.
    pub(crate) async fn scoped<T>(&self, what: &str, make: impl FnOnce() -> Result<T, RunError>) -> Result<T, RunError> {
        let device = &self.inner.device;
        let made;
        let verdicts = {
            let scopes = [wgpu::ErrorFilter::Internal, wgpu::ErrorFilter::OutOfMemory, wgpu::ErrorFilter::Validation]
                .map(|filter| device.push_error_scope(filter));
            made = make();
            // The innermost scope is the last pushed.
            let [internal, memory, validation] = scopes;
            (validation.pop(), memory.pop(), internal.pop())
        };
        let (validation, memory, internal) = (verdicts.0.await, verdicts.1.await, verdicts.2.await);
        let value = made?;
        // Out of memory first: what follows from it is reported as invalid.
        match memory.or(validation).or(internal) {
            Some(error) => {
                self.settle().await?;
                Err(of_wgpu(what, &error))
            }
            None => {
                self.verdict().await?;
                Ok(value)
            }
        }
    }
}

/// Our kinds for wgpu's.
fn of_wgpu(what: &str, error: &wgpu::Error) -> RunError {
    match error {
        wgpu::Error::OutOfMemory { .. } => RunError::new(ErrorKind::OutOfMemory, format!("{what}: the adapter's memory does not suffice")),
        wgpu::Error::Validation { description, .. } | wgpu::Error::Internal { description, .. } => {
            RunError::internal(format!("{what}: {description}"))
        }
    }
}
