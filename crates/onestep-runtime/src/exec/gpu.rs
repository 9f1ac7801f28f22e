//! A device: choosing and opening it, its capabilities, its pipelines, its errors.

use std::fmt;
use std::sync::{Arc, Mutex};

use onestep_shaders::Kernel;

use super::{
    device_status::{DeviceStatus, of_wgpu},
    faults::Calls,
    kernel::Pipeline,
    wait::Wait,
};
use crate::{
    error::RunError,
    plan::{Capabilities, KernelVariants, MAX_FLOPS},
};

/// Which adapter to choose if there are several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preference {
    /// The fastest, usually a discrete GPU.
    #[default]
    HighPerformance,
    /// The one that uses the least power, usually an integrated GPU.
    LowPower,
    /// A software adapter, which runs on the CPU: for tests.
    Software,
}

/// Options of [`Gpu::request`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GpuOptions {
    /// The preferred adapter. Default: the fastest.
    pub prefer: Preference,
}

/// A description of an adapter, for people and for reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdapterReport {
    /// The name that the driver reports; often empty in browsers.
    pub name: String,
    /// The driver and its version.
    pub driver: String,
    /// `vulkan`, `metal`, `dx12`, `webgpu`, …
    pub backend: String,
    /// `discrete`, `integrated`, `virtual`, `software`, `other`.
    pub device_type: String,
    /// True if the adapter is a software rasteriser (SwiftShader, lavapipe), which is far slower; tell users.
    pub software: bool,
}

impl AdapterReport {
    /// A key under which measured kernel variants can be stored: a hash of the adapter, its driver and the kernels.
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

/// Names of software adapters, for browsers that report another device type.
const SOFTWARE_NAMES: [&str; 5] = ["swiftshader", "llvmpipe", "lavapipe", "softpipe", "basic render"];

/// A device and its queue. Clones share them.
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
    status: Arc<DeviceStatus>,
    /// By kernel name. Each kernel is compiled once for all plans.
    pipelines: Mutex<Vec<(&'static str, Arc<Pipeline>)>>,
    calls: Calls,
}

impl fmt::Debug for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gpu").field("report", &self.inner.report).field("capabilities", &self.capabilities).finish_non_exhaustive()
    }
}

impl Gpu {
    /// Finds an adapter and opens a device with the adapter's largest buffers and bindings.
    ///
    /// # Errors
    /// `Unsupported` if there is no adapter, or if it gives no device.
    pub async fn request(options: &GpuOptions) -> Result<Self, RunError> {
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
        let power_preference = match options.prefer {
            Preference::LowPower => wgpu::PowerPreference::LowPower,
            Preference::HighPerformance | Preference::Software => wgpu::PowerPreference::HighPerformance,
        };
        let wanted =
            wgpu::RequestAdapterOptions { power_preference, force_fallback_adapter: options.prefer == Preference::Software, ..Default::default() };
        let adapter = instance.request_adapter(&wanted).await.map_err(|error| {
            RunError::unsupported(format!("no GPU can be used here: {error}. A Vulkan, Metal or DirectX 12 driver is needed, or WebGPU in a browser"))
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
            let mut extended = description.clone();
            super::cooperative::request(&adapter, &mut extended);
            // A driver may offer an experimental feature and then refuse it; the device is opened without the feature then.
            if extended.required_features != description.required_features
                && let Ok((device, queue)) = adapter.request_device(&extended).await
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

    /// Takes over a device that the caller has opened, with its callbacks for loss and for uncaught errors.
    pub fn from_wgpu(instance: wgpu::Instance, adapter: wgpu::Adapter, device: wgpu::Device, queue: wgpu::Queue) -> Self {
        let status = Arc::new(DeviceStatus::default());
        status.listen(&device);
        Self::with_status(instance, adapter, device, queue, status)
    }

    /// Shares a device with a caller that keeps its callbacks and must call [`lose`](Self::lose) from the one for loss. Dropping the last clone frees
    /// everything that was created on the device, and nothing else.
    pub fn shared(instance: wgpu::Instance, adapter: wgpu::Adapter, device: wgpu::Device, queue: wgpu::Queue) -> Self {
        Self::with_status(instance, adapter, device, queue, Arc::new(DeviceStatus::default()))
    }

    /// Marks the device as lost, with a reason: everything that waits for it ends with `DeviceLost`.
    pub fn lose(&self, reason: &str) {
        self.inner.status.lose(reason.to_owned());
    }

    fn with_status(instance: wgpu::Instance, adapter: wgpu::Adapter, device: wgpu::Device, queue: wgpu::Queue, status: Arc<DeviceStatus>) -> Self {
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
            max_flops: MAX_FLOPS,
            alignment: u64::from(limits.min_storage_buffer_offset_alignment.max(limits.min_uniform_buffer_offset_alignment)),
            #[cfg(not(target_arch = "wasm32"))]
            cooperative: super::cooperative::supported(&adapter, device.features()),
            #[cfg(target_arch = "wasm32")]
            cooperative: Vec::new(),
            variants: KernelVariants {
                f16_weights: !names.contains("swiftshader"),
                ..if software { KernelVariants::SOFTWARE } else { KernelVariants::GPU }
            },
        };
        Self {
            capabilities,
            inner: Arc::new(Inner { instance, adapter, device, queue, report, status, pipelines: Mutex::new(Vec::new()), calls: Calls::default() }),
        }
    }

    /// The adapter.
    pub fn adapter(&self) -> &AdapterReport {
        &self.inner.report
    }

    /// What [`Plan::new`](crate::Plan::new) needs to know about the adapter.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// The same device for plans with other kernel variants, such as those that [`fastest_variants`](Self::fastest_variants) found.
    #[must_use]
    pub fn with_variants(&self, variants: KernelVariants) -> Self {
        Self { inner: self.inner.clone(), capabilities: Capabilities { variants, ..self.capabilities.clone() } }
    }

    /// True if the device is lost. A lost device stays lost; open another.
    pub fn is_lost(&self) -> bool {
        self.inner.status.is_lost()
    }

    pub(super) fn instance(&self) -> &wgpu::Instance {
        &self.inner.instance
    }

    pub(super) fn wgpu_adapter(&self) -> &wgpu::Adapter {
        &self.inner.adapter
    }

    /// The browser's device, for what wgpu does not expose: asynchronous compilation, and uploads from memory outside the WebAssembly memory.
    #[cfg(target_arch = "wasm32")]
    pub fn handle(&self) -> Option<&wgpu::webgpu::GpuDevice> {
        self.inner.device.as_webgpu()
    }

    /// The workgroup size of native kernels: four subgroups.
    fn native_workgroup(&self) -> u32 {
        #[cfg(not(target_arch = "wasm32"))]
        return super::cooperative::workgroup(&self.inner.adapter).unwrap_or(1);
        #[cfg(target_arch = "wasm32")]
        return 1;
    }

    pub(super) fn device(&self) -> &wgpu::Device {
        &self.inner.device
    }

    pub(super) fn queue(&self) -> &wgpu::Queue {
        &self.inner.queue
    }

    /// Counts a call that may fail, and returns the fault that a test planned for it.
    pub(super) fn call(&self, what: &str) -> Result<(), RunError> {
        self.inner.calls.count(&self.inner.device, what)
    }

    /// Plans a fault for the k-th call from now on, or none.
    #[cfg(feature = "faults")]
    pub fn inject(&self, fault: Option<(u64, super::faults::Fault)>) {
        self.inner.calls.inject(fault);
    }

    /// The number of calls so far.
    #[cfg(feature = "faults")]
    pub fn call_count(&self) -> u64 {
        self.inner.calls.total()
    }

    /// A new command encoder.
    pub(super) fn encoder(&self) -> Result<wgpu::CommandEncoder, RunError> {
        self.check()?;
        Ok(self.inner.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("onestep") }))
    }

    /// Submits the commands of an encoder, and returns at once.
    pub(super) fn submit(&self, encoder: wgpu::CommandEncoder) -> Result<(), RunError> {
        self.call("submit")?;
        self.inner.queue.submit([encoder.finish()]);
        Ok(())
    }

    /// A device callback as a future; `start` passes the callback to the device.
    pub(super) fn wait(&self, start: impl FnOnce(Box<dyn FnOnce(bool) + Send>)) -> Wait<'_> {
        Wait::new(&self.inner.device, &self.inner.status, start)
    }

    /// Lets the device run its callbacks, without waiting. A browser runs them without it.
    fn poll(&self) {
        // The result says only whether the queue is empty.
        let _ = self.inner.device.poll(wgpu::PollType::Poll);
    }

    /// `DeviceLost` if the device is known to be lost.
    pub(super) fn check(&self) -> Result<(), RunError> {
        self.poll();
        self.inner.status.check()
    }

    /// An error if the device is lost, or has reported an error that no scope caught.
    pub(super) async fn check_reports(&self) -> Result<(), RunError> {
        self.check()?;
        match self.inner.status.take_uncaught() {
            Some(error) => {
                self.settle().await?;
                Err(error)
            }
            None => Ok(()),
        }
    }

    /// Waits until the queue is empty, then checks for loss. A device reports the errors that its loss causes before the loss, so an error is
    /// returned only after this.
    pub(super) async fn settle(&self) -> Result<(), RunError> {
        self.check()?;
        self.wait(|done| self.inner.queue.on_submitted_work_done(|| done(true))).await;
        // The loss is reported after the work.
        self.poll();
        self.check()
    }

    /// The pipeline of a kernel; the first call compiles it.
    pub(super) async fn pipeline(&self, kernel: &'static Kernel) -> Result<Arc<Pipeline>, RunError> {
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
                Ok(Arc::new(Pipeline::new(&self.inner.device, kernel, self.native_workgroup())))
            })
            .await?;
        if let Ok(mut pipelines) = self.inner.pipelines.lock() {
            pipelines.push((kernel.name, compiled.clone()));
        }
        Ok(compiled)
    }

    /// Runs `make`, and returns the errors that the device reports for it; `what` says what it does.
    pub(super) async fn scoped<T>(&self, what: &str, make: impl FnOnce() -> Result<T, RunError>) -> Result<T, RunError> {
        let device = &self.inner.device;
        let made;
        let reports = {
            let scopes = [wgpu::ErrorFilter::Internal, wgpu::ErrorFilter::OutOfMemory, wgpu::ErrorFilter::Validation]
                .map(|filter| device.push_error_scope(filter));
            made = make();
            // The innermost scope was pushed last.
            let [internal, memory, validation] = scopes;
            (validation.pop(), memory.pop(), internal.pop())
        };
        let (validation, memory, internal) = (reports.0.await, reports.1.await, reports.2.await);
        let value = made?;
        // Out of memory first, because it also causes validation errors.
        match memory.or(validation).or(internal) {
            Some(error) => {
                self.settle().await?;
                Err(of_wgpu(what, &error))
            }
            None => {
                self.check_reports().await?;
                Ok(value)
            }
        }
    }
}
