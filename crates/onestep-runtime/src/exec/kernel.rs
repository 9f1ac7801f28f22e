//! Kernels as pipelines, with the bindings that their shaders declare.

use onestep_shaders::{Access, Kernel};

/// A compute pipeline and the layout of its bind group.
pub(super) struct Pipeline {
    pub(super) pipeline: wgpu::ComputePipeline,
    pub(super) bindings: wgpu::BindGroupLayout,
}

/// The layout of a kernel's bind group.
pub(super) fn layout(device: &wgpu::Device, kernel: &Kernel, visibility: wgpu::ShaderStages) -> wgpu::BindGroupLayout {
    let entries: Vec<wgpu::BindGroupLayoutEntry> = kernel
        .bindings
        .iter()
        .map(|binding| wgpu::BindGroupLayoutEntry {
            binding: binding.index,
            visibility,
            ty: wgpu::BindingType::Buffer {
                ty: match binding.access {
                    Access::Uniform => wgpu::BufferBindingType::Uniform,
                    Access::Read => wgpu::BufferBindingType::Storage { read_only: true },
                    Access::ReadWrite => wgpu::BufferBindingType::Storage { read_only: false },
                },
                has_dynamic_offset: false,
                min_binding_size: std::num::NonZeroU64::new(u64::from(binding.smallest)),
            },
            count: None,
        })
        .collect();
    device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(kernel.name), entries: &entries })
}

/// The bind group of a kernel, from a buffer, an offset and a size for each binding, in the kernel's order.
pub(super) fn bind(device: &wgpu::Device, kernel: &Kernel, layout: &wgpu::BindGroupLayout, parts: &[(&wgpu::Buffer, u64, u64)]) -> wgpu::BindGroup {
    let entries: Vec<wgpu::BindGroupEntry<'_>> = kernel
        .bindings
        .iter()
        .zip(parts)
        .map(|(binding, &(buffer, offset, size))| wgpu::BindGroupEntry {
            binding: binding.index,
            resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset, size: std::num::NonZeroU64::new(size) }),
        })
        .collect();
    device.create_bind_group(&wgpu::BindGroupDescriptor { label: Some(kernel.name), layout, entries: &entries })
}

/// The shader module of a kernel. wgpu validates it natively, the browser on the web.
pub(super) fn module(device: &wgpu::Device, kernel: &Kernel) -> wgpu::ShaderModule {
    device.create_shader_module(wgpu::ShaderModuleDescriptor { label: Some(kernel.name), source: wgpu::ShaderSource::Wgsl(kernel.wgsl().into()) })
}

impl Pipeline {
    /// Compiles a kernel. `native_workgroup` sets the workgroup size of native kernels: four subgroups.
    pub(super) fn new(device: &wgpu::Device, kernel: &Kernel, native_workgroup: u32) -> Self {
        let bindings = layout(device, kernel, wgpu::ShaderStages::COMPUTE);
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(kernel.name),
            bind_group_layouts: &[Some(&bindings)],
            ..Default::default()
        });
        let constants: &[(&str, f64)] = if kernel.native { &[("WORKGROUP", f64::from(native_workgroup))] } else { &[] };
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(kernel.name),
            layout: Some(&pipeline_layout),
            module: &module(device, kernel),
            entry_point: kernel.entry_points.first().copied(),
            compilation_options: wgpu::PipelineCompilationOptions { constants, ..Default::default() },
            cache: None,
        });
        Self { pipeline, bindings }
    }
}
