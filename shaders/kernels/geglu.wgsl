// The gate of a feed-forward layer: y[m, d] = x[m, d] · gelu(x[m, D + d]).
//
// x: f32 [M, 2D], y: f32 [M, D]. Grid: one invocation per element of y.
#import grid
#import math

struct Params {
  // Elements of y.
  count: u32,
  // D.
  width: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) invocation: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = item(invocation, groups);
  if (i >= p.count) {
    return;
  }
  let at = (i / p.width) * 2u * p.width + i % p.width;
  y[i] = x[at] * gelu(x[at + p.width]);
}
