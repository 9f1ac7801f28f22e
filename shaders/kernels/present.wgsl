// Converts a float image to bytes: pixels[i] = round(clamp(x/2 + 1/2, 0, 1) · 255) of red, green and blue, from the lowest byte on, alpha 255.
// Halves round up.
//
// red, green, blue: f32, the planes of an image [1, 3, H, W] in -1..1, or parts of them; pixels: one RGBA8 per u32.
// non_finite: the non-finite check. The number of pixels with a NaN or an infinity is added to it; such pixels become black. They are detected
// by their bits, because WGSL implementations may assume that all numbers are finite.
// Grid: one invocation per pixel.
#import grid

struct Params {
  // Pixels.
  count: u32,
  // The index of the first pixel in each plane.
  red_start: u32,
  green_start: u32,
  blue_start: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> red: array<u32>;
@group(0) @binding(2) var<storage, read> green: array<u32>;
@group(0) @binding(3) var<storage, read> blue: array<u32>;
@group(0) @binding(4) var<storage, read_write> pixels: array<u32>;
@group(0) @binding(5) var<storage, read_write> non_finite: atomic<u32>;

fn byte(bits: u32) -> u32 {
  return u32(floor(fma(clamp(fma(bitcast<f32>(bits), 0.5, 0.5), 0.0, 1.0), 255.0, 0.5)));
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) invocation: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = flat_index(invocation, groups);
  if (i >= p.count) {
    return;
  }
  let bits = vec3<u32>(red[p.red_start + i], green[p.green_start + i], blue[p.blue_start + i]);
  if (any((bits & vec3<u32>(0x7f800000u)) == vec3<u32>(0x7f800000u))) {
    pixels[i] = 0xff000000u;
    atomicAdd(&non_finite, 1u);
    return;
  }
  pixels[i] = byte(bits.x) | (byte(bits.y) << 8u) | (byte(bits.z) << 16u) | 0xff000000u;
}
