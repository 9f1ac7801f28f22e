// A picture of floats as bytes: pixels[i] = round(clamp(x/2 + 1/2, 0, 1) · 255) of red, green and blue, from the lowest byte on, with alpha 255.
//
// x: f32 [1, 3, H, W] in -1..1, pixels: u32 [H·W], one packed RGBA8 each. Grid: one invocation per pixel. Halves round up.
// broken: u32, how many pixels hold what is no finite number, added to what is there. They become black. Told by the bits: an
// implementation may assume that no other numbers exist.
#import grid

struct Params {
  // H·W.
  count: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> pixels: array<u32>;
@group(0) @binding(3) var<storage, read_write> broken: atomic<u32>;

fn byte(bits: u32) -> u32 {
  return u32(floor(fma(clamp(fma(bitcast<f32>(bits), 0.5, 0.5), 0.0, 1.0), 255.0, 0.5)));
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) invocation: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = item(invocation, groups);
  if (i >= p.count) {
    return;
  }
  let bits = vec3<u32>(x[i], x[i + p.count], x[i + 2u * p.count]);
  if (any((bits & vec3<u32>(0x7f800000u)) == vec3<u32>(0x7f800000u))) {
    pixels[i] = 0xff000000u;
    atomicAdd(&broken, 1u);
    return;
  }
  pixels[i] = byte(bits.x) | (byte(bits.y) << 8u) | (byte(bits.z) << 16u) | 0xff000000u;
}
