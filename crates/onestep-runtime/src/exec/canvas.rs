//! A surface that shows images: a canvas of a page or worker, or a window.

use onestep_shaders::SHOW;

use super::{gpu::Gpu, image::Image, kernel};
use crate::{error::RunError, plan::Params};

/// A configured surface. Images of any size are scaled to it, nearest pixel.
pub struct Canvas {
    gpu: Gpu,
    surface: wgpu::Surface<'static>,
    configuration: wgpu::SurfaceConfiguration,
    pipeline: wgpu::RenderPipeline,
    bindings: wgpu::BindGroupLayout,
    params: wgpu::Buffer,
}

impl std::fmt::Debug for Canvas {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Canvas").field("configuration", &self.configuration).finish_non_exhaustive()
    }
}

impl Canvas {
    /// Configures a canvas or window of `width` by `height` pixels.
    ///
    /// # Errors
    /// `Unsupported` if the adapter cannot render to it; errors that the device reports.
    pub async fn new(gpu: &Gpu, target: impl Into<wgpu::SurfaceTarget<'static>>, width: u32, height: u32) -> Result<Self, RunError> {
        gpu.check()?;
        let surface =
            gpu.instance().create_surface(target).map_err(|error| RunError::unsupported(format!("the canvas cannot be rendered to: {error}")))?;
        let offered = surface.get_capabilities(gpu.wgpu_adapter());
        // The pixels are already encoded as sRGB; an sRGB format would encode them again.
        let format = offered
            .formats
            .iter()
            .copied()
            .find(|format| !format.is_srgb())
            .ok_or_else(|| RunError::unsupported("this adapter cannot show images on the canvas"))?;
        let mut configuration = surface
            .get_default_config(gpu.wgpu_adapter(), width.max(1), height.max(1))
            .ok_or_else(|| RunError::unsupported("this adapter cannot show images on the canvas"))?;
        configuration.format = format;
        configuration.usage = wgpu::TextureUsages::RENDER_ATTACHMENT;
        let (bindings, pipeline, params) = gpu
            .scoped("preparing the canvas", || {
                surface.configure(gpu.device(), &configuration);
                let stages = wgpu::ShaderStages::FRAGMENT;
                let bindings = kernel::layout(gpu.device(), &SHOW, stages);
                let layout = gpu.device().create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                    label: Some(SHOW.name),
                    bind_group_layouts: &[Some(&bindings)],
                    ..Default::default()
                });
                let module = kernel::module(gpu.device(), &SHOW);
                let pipeline = gpu.device().create_render_pipeline(&wgpu::RenderPipelineDescriptor {
                    label: Some(SHOW.name),
                    layout: Some(&layout),
                    vertex: wgpu::VertexState {
                        module: &module,
                        entry_point: SHOW.entry_points.first().copied(),
                        compilation_options: Default::default(),
                        buffers: &[],
                    },
                    primitive: wgpu::PrimitiveState::default(),
                    depth_stencil: None,
                    multisample: wgpu::MultisampleState::default(),
                    fragment: Some(wgpu::FragmentState {
                        module: &module,
                        entry_point: SHOW.entry_points.get(1).copied(),
                        compilation_options: Default::default(),
                        targets: &[Some(format.into())],
                    }),
                    multiview_mask: None,
                    cache: None,
                });
                let size = u64::from(SHOW.params_size).next_multiple_of(16);
                let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
                let params = gpu.device().create_buffer(&wgpu::BufferDescriptor { label: Some(SHOW.name), size, usage, mapped_at_creation: false });
                Ok((bindings, pipeline, params))
            })
            .await?;
        Ok(Self { gpu: gpu.clone(), surface, configuration, pipeline, bindings, params })
    }

    /// Shows the last image that was submitted.
    ///
    /// # Errors
    /// `DeviceLost`; `Internal` if the surface gives no texture even after it is configured again; errors that the device reports.
    pub async fn show(&self, image: &Image) -> Result<(), RunError> {
        self.gpu.check()?;
        let mut values = Params::new(&SHOW);
        values.list("image", &[image.width() as usize, image.height() as usize]);
        values.list("surface", &[self.configuration.width as usize, self.configuration.height as usize]);
        let values = values.finish()?;
        self.gpu
            .scoped("showing the image", || {
                self.gpu.call("show")?;
                let texture = self.texture()?;
                self.gpu.queue().write_buffer(&self.params, 0, &values);
                let group = kernel::bind(
                    self.gpu.device(),
                    &SHOW,
                    &self.bindings,
                    &[(&self.params, 0, self.params.size()), (image.pixels(), 0, image.pixels().size())],
                );
                let view = texture.texture.create_view(&wgpu::TextureViewDescriptor::default());
                let mut encoder = self.gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("show") });
                {
                    let mut pass = encoder.begin_render_pass(&wgpu::RenderPassDescriptor {
                        label: Some("show"),
                        color_attachments: &[Some(wgpu::RenderPassColorAttachment {
                            view: &view,
                            depth_slice: None,
                            resolve_target: None,
                            ops: wgpu::Operations { load: wgpu::LoadOp::Clear(wgpu::Color::BLACK), store: wgpu::StoreOp::Store },
                        })],
                        ..Default::default()
                    });
                    pass.set_pipeline(&self.pipeline);
                    pass.set_bind_group(0, &group, &[]);
                    pass.draw(0..3, 0..1);
                }
                self.gpu.queue().submit([encoder.finish()]);
                self.gpu.queue().present(texture);
                Ok(())
            })
            .await
    }

    /// The next texture of the surface, which is configured again if it has changed.
    fn texture(&self) -> Result<wgpu::SurfaceTexture, RunError> {
        use wgpu::CurrentSurfaceTexture::{Suboptimal, Success};
        if let Success(texture) | Suboptimal(texture) = self.surface.get_current_texture() {
            return Ok(texture);
        }
        self.surface.configure(self.gpu.device(), &self.configuration);
        match self.surface.get_current_texture() {
            Success(texture) | Suboptimal(texture) => Ok(texture),
            other => Err(RunError::internal(format!("the canvas gives no texture to render to: {other:?}"))),
        }
    }
}
