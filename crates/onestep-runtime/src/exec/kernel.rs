//! A shader of the table as a pipeline, its bindings as the shader states them.

use onestep_shaders::{Access, Kernel};

use super::gpu::Gpu;

/// A compute pipeline with the layout of its only bind group.
pub(crate) struct Pipeline {
    pub(crate) pipeline: wgpu::ComputePipeline,
    pub(crate) bindings: wgpu::BindGroupLayout,
}

/// The layout of a kernel's bind group.
pub(crate) fn layout(gpu: &Gpu, kernel: &Kernel, visibility: wgpu::ShaderStages) -> wgpu::BindGroupLayout {
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
    gpu.device().create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(kernel.name), entries: &entries })
}

/// The bind group of a kernel: one buffer part per binding, in the order of the kernel's bindings.
pub(crate) fn bind(gpu: &Gpu, kernel: &Kernel, layout: &wgpu::BindGroupLayout, parts: &[(&wgpu::Buffer, u64, u64)]) -> wgpu::BindGroup {
    let entries: Vec<wgpu::BindGroupEntry<'_>> = kernel
        .bindings
        .iter()
        .zip(parts)
        .map(|(binding, &(buffer, offset, size))| wgpu::BindGroupEntry {
            binding: binding.index,
            resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset, size: std::num::NonZeroU64::new(size) }),
        })
        .collect();
    gpu.device().create_bind_group(&wgpu::BindGroupDescriptor { label: Some(kernel.name), layout, entries: &entries })
}

/// The text of a kernel, checked by wgpu natively and by the browser on the web.
pub(crate) fn module(gpu: &Gpu, kernel: &Kernel) -> wgpu::ShaderModule {
    gpu.device()
        .create_shader_module(wgpu::ShaderModuleDescriptor { label: Some(kernel.name), source: wgpu::ShaderSource::Wgsl(kernel.wgsl().into()) })
}

impl Pipeline {
    pub(crate) fn new(gpu: &Gpu, kernel: &Kernel) -> Self {
        let bindings = layout(gpu, kernel, wgpu::ShaderStages::COMPUTE);
        let pipeline_layout = gpu.device().create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(kernel.name),
            bind_group_layouts: &[Some(&bindings)],
            ..Default::default()
        });
        #[cfg(not(target_arch = "wasm32"))]
        let constants: &[(&str, f64)] = if kernel.native { &[("WORKGROUP", f64::from(gpu.cooperative_workgroup()))] } else { &[] };
        #[cfg(target_arch = "wasm32")]
        let constants: &[(&str, f64)] = &[];
        let pipeline = gpu.device().create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(kernel.name),
            layout: Some(&pipeline_layout),
            module: &module(gpu, kernel),
            entry_point: kernel.entry_points.first().copied(),
            compilation_options: wgpu::PipelineCompilationOptions { constants, ..Default::default() },
            cache: None,
        });
        Self { pipeline, bindings }
    }
}
