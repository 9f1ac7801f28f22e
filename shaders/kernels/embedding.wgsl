// Rows of a table: y[t, d] = w[clamp(ids[t], 0, V - 1), d].
//
// w: f32 or f16 [V, D], ids: i32 [T], y: f32 [T, D]. Grid: one invocation per element of y.
// In bounds: ids outside the table read its first or last row.
#import grid

struct Params {
  // T·D.
  count: u32,
  // D.
  width: u32,
  // V; at least 1.
  rows: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> w: array<Weight>;
@group(0) @binding(2) var<storage, read> ids: array<i32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

#import weight

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) invocation: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = item(invocation, groups);
  if (i >= p.count) {
    return;
  }
  let row = u32(clamp(ids[i / p.width], 0, i32(p.rows) - 1));
  y[i] = weight(row * p.width + i % p.width);
}
