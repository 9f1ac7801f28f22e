// Shows an image on a surface: one triangle covers the surface, and each fragment takes the nearest pixel.
//
// pixels: u32 [H·W], one RGBA8 each, red in the lowest byte, already encoded as sRGB, so the surface's format must not encode again.
// In bounds: coordinates are clamped to the image.

struct Params {
  // The size of the image: W, H.
  image: vec2<u32>,
  // The size of the surface, in pixels.
  surface: vec2<u32>,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> pixels: array<u32>;

@vertex
fn vertex(@builtin(vertex_index) index: u32) -> @builtin(position) vec4<f32> {
  // (-1, -1), (3, -1), (-1, 3)
  let x = f32(i32(index % 2u) * 4 - 1);
  let y = f32(i32(index / 2u) * 4 - 1);
  return vec4<f32>(x, y, 0.0, 1.0);
}

@fragment
fn fragment(@builtin(position) position: vec4<f32>) -> @location(0) vec4<f32> {
  let scaled = position.xy * vec2<f32>(p.image) / vec2<f32>(p.surface);
  let pixel = min(vec2<u32>(max(scaled, vec2<f32>(0.0))), p.image - vec2<u32>(1u));
  return unpack4x8unorm(pixels[pixel.y * p.image.x + pixel.x]);
}
