//! Generates images on a wgpu device that the application already has, and copies them to a texture of the application on the GPU.
//!
//! ```sh
//! cargo run --release -p onestep --example shared_device -- models/emoji "red apple" apple.png
//! ```
#![allow(clippy::print_stdout, reason = "this is a program for a terminal")]

use std::{env, error::Error, fs, path::Path};

use onestep::{
    GenerateOptions, Image, Model,
    program::Bundle,
    webgpu::{Gpu, wgpu},
};
use pollster::block_on;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [folder, prompt, file] = arguments.as_slice() else { return Err("expected three arguments: BUNDLE PROMPT FILE".into()) };

    // The application's device.
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
    let adapter = block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default()))?;
    // Kernels bind as much of a buffer as the adapter allows.
    let limits = wgpu::Limits { max_storage_buffer_binding_size: adapter.limits().max_storage_buffer_binding_size, ..wgpu::Limits::default() };
    let (device, queue) = block_on(adapter.request_device(&wgpu::DeviceDescriptor { required_limits: limits, ..Default::default() }))?;

    // The model shares it. The application keeps the device's callbacks, and must report its loss.
    let gpu = Gpu::shared(instance, adapter, device.clone(), queue.clone());
    device.set_device_lost_callback({
        let gpu = gpu.clone();
        move |_, why| gpu.lose(&why)
    });
    let mut model = block_on(Model::open_on(read(Path::new(folder))?, gpu, &mut ()))?;
    println!("{} on {}, {:.1} MB", model.manifest().title, model.device(), model.memory() as f64 / 1e6);

    let options = GenerateOptions { prompt: prompt.clone(), noise: 7.into(), skip_readback: true, ..GenerateOptions::default() };
    let mut image = block_on(model.generate(&options, &mut ()))?;

    let texture = device.create_texture(&wgpu::TextureDescriptor {
        label: Some("the application's texture"),
        size: wgpu::Extent3d { width: image.width, height: image.height, depth_or_array_layers: 1 },
        mip_level_count: 1,
        sample_count: 1,
        dimension: wgpu::TextureDimension::D2,
        format: wgpu::TextureFormat::Rgba8UnormSrgb,
        usage: wgpu::TextureUsages::COPY_DST | wgpu::TextureUsages::COPY_SRC | wgpu::TextureUsages::TEXTURE_BINDING,
        view_formats: &[],
    });
    let pixels = model.pixels().ok_or("the model runs on the CPU")?;
    let layout = wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(image.width * 4), rows_per_image: None };
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    encoder.copy_buffer_to_texture(wgpu::TexelCopyBufferInfo { buffer: pixels, layout }, texture.as_image_copy(), texture.size());
    queue.submit([encoder.finish()]);

    // Read back to write a file; an application would render with the texture instead.
    image.rgba = read_back(&device, &queue, &texture, &image);
    fs::write(file, model.png(&image, prompt)?)?;
    println!("{file}: {prompt:?}, {} x {} pixels", image.width, image.height);
    Ok(())
}

/// Opens the bundle in a folder; every file is compared with its hash.
fn read(folder: &Path) -> Result<Bundle, Box<dyn Error>> {
    Bundle::open(&fs::read(folder.join("manifest.json"))?, |file| Ok(fs::read(folder.join(&file.name))?))
}

fn read_back(device: &wgpu::Device, queue: &wgpu::Queue, texture: &wgpu::Texture, image: &Image) -> Vec<u8> {
    let row = image.width * 4;
    let size = u64::from(row * image.height);
    let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
    let buffer = device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false });
    let layout = wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(row), rows_per_image: None };
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    encoder.copy_texture_to_buffer(texture.as_image_copy(), wgpu::TexelCopyBufferInfo { buffer: &buffer, layout }, texture.size());
    queue.submit([encoder.finish()]);
    buffer.map_async(wgpu::MapMode::Read, .., |_| ());
    // The buffer is mapped after this.
    let _ = device.poll(wgpu::PollType::wait_indefinitely());
    buffer.get_mapped_range(..).map(|view| view.to_vec()).unwrap_or_default()
}
