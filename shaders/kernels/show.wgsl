// A picture on a surface: one triangle over everything, each fragment taking the nearest pixel.
//
// pixels: u32 [H·W], packed RGBA8, red in the lowest byte, colours encoded as sRGB already (the surface's format must not encode again).
// In bounds: coordinates are limited to the picture.

struct Params {
  // The picture: W, H.
  picture: vec2<u32>,
  // The surface, in pixels.
  surface: vec2<u32>,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> pixels: array<u32>;

@vertex
fn corner(@builtin(vertex_index) index: u32) -> @builtin(position) vec4<f32> {
  // (-1, -1), (3, -1), (-1, 3)
  let x = f32(i32(index % 2u) * 4 - 1);
  let y = f32(i32(index / 2u) * 4 - 1);
  return vec4<f32>(x, y, 0.0, 1.0);
}

@fragment
fn colour(@builtin(position) position: vec4<f32>) -> @location(0) vec4<f32> {
  let scaled = position.xy * vec2<f32>(p.picture) / vec2<f32>(p.surface);
  let at = min(vec2<u32>(max(scaled, vec2<f32>(0.0))), p.picture - vec2<u32>(1u));
  return unpack4x8unorm(pixels[at.y * p.picture.x + at.x]);
}
