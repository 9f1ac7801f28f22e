// The same value everywhere: y[…, j] = value, in units whose padding becomes zero.
//
// y: units, `length` elements along the innermost axis. Grid: one invocation per unit.
#import grid
#import unit

struct Params {
  // Units in all.
  count: u32,
  // Units along the innermost axis.
  units: u32,
  length: u32,
  value: f32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> y: array<Unit>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) invocation: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = item(invocation, groups);
  if (i >= p.count) {
    return;
  }
  y[i] = down(p.value * lanes_inside(i % p.units, p.length));
}
