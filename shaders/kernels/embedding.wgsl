// Rows of a table: y[t, d] = w[clamp(ids[t], 0, V - 1), d].
//
// w: f32 or f16 [V, D], ids: i32 [T], y: units [T, D]. Grid: one invocation per unit of y, whose padding becomes zero.
// In bounds: ids outside the table read its first or last row.
#import grid
#import unit

struct Params {
  // Units of y.
  count: u32,
  // Units of D.
  units: u32,
  // D.
  width: u32,
  // V; at least 1.
  rows: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> w: array<Weight>;
@group(0) @binding(2) var<storage, read> ids: array<i32>;
@group(0) @binding(3) var<storage, read_write> y: array<Unit>;

#import weight

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) invocation: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = item(invocation, groups);
  if (i >= p.count) {
    return;
  }
  let row = u32(clamp(ids[i / p.units], 0, i32(p.rows) - 1)) * p.width;
  let d = (i % p.units) * 4u;
  let last = p.width - 1u;
  let values = vec4<f32>(
    weight(row + d),
    weight(row + min(d + 1u, last)),
    weight(row + min(d + 2u, last)),
    weight(row + min(d + 3u, last)),
  );
  y[i] = down(values * lanes_inside(i % p.units, p.width));
}
